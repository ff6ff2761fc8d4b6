"""The question where masks shall be saved, and as what."""

from __future__ import annotations

from itertools import chain, count
from pathlib import Path

from napari.layers import Layer
from qtpy.QtWidgets import QFileDialog, QMessageBox, QWidget

SUFFIXES = {
    "Folder of PNG masks (*)": "",
    "TIFF stack (*.tif)": ".tif",
    "Zarr array (*.zarr)": ".zarr",
    "Video with the masks drawn over it (*.mp4)": ".mp4",
    "Table of measurements (*.csv)": ".csv",
    "COCO annotations (*.json)": ".json",
}
"""What the dialog offers, and the suffix by which `napari_pml.io.save` knows it."""


def folder_of(layer: Layer) -> Path:
    """Return where the file or folder lies from which a layer was read; the person's own folder if there is none."""
    return Path(layer.source.path).absolute().parent if layer.source.path else Path.home()


def ask_where(parent: QWidget | None, folder: Path, name: str) -> Path | None:
    """Let the person choose a file or folder to save masks in; None if they change their mind.

    A suffix that they type counts; if they type none, or another one, that of the kind they chose is added. Whether to
    replace a file of that name is asked then: the dialog has asked for the name as it was typed.

    Args:
        parent: of the dialog.
        folder: in which the dialog begins.
        name: to propose; its dots are replaced, since they look like the beginning of a suffix. A number follows if
            there is such a folder: the dialog would walk into it, and save nothing.
    """
    name = name.replace(".", "_")
    names = chain([name], (f"{name} {n}" for n in count(2)))
    proposed = next(place for place in (folder / n for n in names) if not place.is_dir())
    path, kind = QFileDialog.getSaveFileName(parent, "Save masks", str(proposed), ";;".join(SUFFIXES))
    if not path:
        return None
    if Path(path).suffix.lower() in {*SUFFIXES.values(), ".tiff"} - {""}:
        return Path(path)
    place = Path(path + SUFFIXES[kind])
    replaces = str(place) != path and place.is_file()
    question = f"{place.name} exists already. Do you want to replace it?"
    if replaces and QMessageBox.question(parent, "Save masks", question) != QMessageBox.StandardButton.Yes:
        return None
    return place
