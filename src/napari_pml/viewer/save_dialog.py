"""The question where masks shall be saved, and as what."""

from __future__ import annotations

from pathlib import Path

from qtpy.QtWidgets import QFileDialog, QMessageBox, QWidget

SUFFIXES = {
    "Folder of PNG masks (*)": "",
    "TIFF stack (*.tif)": ".tif",
    "Zarr array (*.zarr)": ".zarr",
    "Video with the masks drawn over it (*.mp4)": ".mp4",
    "Table of measurements (*.csv)": ".csv",
    "COCO annotations (*.json)": ".json",
}
"""What the dialog offers, and the suffix by which `napari_pml.save` knows it."""


def ask_where(parent: QWidget | None, name: str) -> Path | None:
    """Let the person choose a file or folder to save masks in; None if they change their mind.

    A suffix that they type counts; if they type none, or another one, that of the kind they chose is added. Whether to
    replace a file of that name is asked then: the dialog has asked for the name as it was typed.

    Args:
        parent: of the dialog.
        name: to propose; its dots are replaced, since they look like the beginning of a suffix.
    """
    name = name.replace(".", "_")
    path, kind = QFileDialog.getSaveFileName(parent, "Save masks", name, ";;".join(SUFFIXES))
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
