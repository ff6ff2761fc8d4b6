"""Check where results may be written: never over an input, and only as a whole."""

from __future__ import annotations

import errno
import os
import shutil
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from secrets import token_hex
from tempfile import TemporaryFile

import av

from napari_pml.disk import durable
from napari_pml.disk.untrusted import exists
from napari_pml.errors import ExportError
from napari_pml.video.arrays import IMAGE_SUFFIXES, TIFF_SUFFIXES
from napari_pml.video.identity import is_zarr

FILE_SUFFIXES = frozenset({*IMAGE_SUFFIXES, ".zarr", ".mp4", ".avi", ".mov", ".csv", ".json", ".npy"})
"""Suffixes that name a file of masks; any other dot, as in mouse.1, belongs to the name of a folder."""

UNFINISHED = ".unfinished-"
"""Prefix of the names of files that are still being written."""

MAX_NAME = 255 - len(f"{UNFINISHED}12345678-")
"""Bytes of a file's name, on all usual disks, less what stands before it while it is written."""

FORGOTTEN_S = 24 * 3600
"""Seconds after which an unfinished file that was not touched counts as abandoned."""


def png_name(t: int) -> str:
    """Return the name of the PNG of frame `t` in a folder of masks."""
    return f"{t:05d}.png"


def is_folder_name(path: Path) -> bool:
    """Return whether `path` names a folder of PNGs: it has no suffix, or none of a file."""
    return path.suffix.lower() not in FILE_SUFFIXES


class Inputs:
    """Videos, masks, annotations and projects that must not be overwritten; checking thousands is as fast as one."""

    def __init__(self, paths: Iterable[Path]) -> None:
        """Remember files and folders that are read."""
        self._paths = {path.resolve(): path for path in paths}
        self._folders = {place.parent: path for place, path in self._paths.items() if is_png_name(place.name)}

    def check(self, output: Path) -> None:
        """Raise ExportError if writing to `output` would change or remove an input, see `overwritten_by`."""
        if (path := self.overwritten_by(output)) is not None:
            raise ExportError(f"{path} would be overwritten: choose another place than {output} to write to.")

    def overwritten_by(self, output: Path) -> Path | None:
        """Return the input that writing to `output` would change or remove, if any.

        It is at the same place, or is named like a mask and lies in `output`; or it is a Zarr group in which `output`
        lies, or a folder of images of which `output` would be one.
        """
        place = output.resolve()
        if found := self._paths.get(place) or self._folders.get(place):
            return found
        if place.suffix.lower() in IMAGE_SUFFIXES and place.parent in self._paths:
            return self._paths[place.parent]
        return next(
            (self._paths[folder] for folder in place.parents if folder in self._paths and is_zarr(folder)), None
        )


def check_destination(
    masks: Path | None = None,
    overlay: Path | None = None,
    table: Path | None = None,
    coco: Path | None = None,
    inputs: Iterable[Path] = (),
) -> None:
    """Refuse outputs that cannot be written, or would overwrite an input, before any work is done.

    Nothing is left there: whether a folder lets files be made is tried in the nearest one that exists.

    Args:
        masks: as for `export_masks`.
        overlay: as for `export_overlay`.
        table: for measurements.
        coco: as for `export_coco`.
        inputs: the video, files with annotations, and projects.

    Raises:
        ExportError: a suffix is not understood, a `.zarr` exists already, an input would be overwritten, a folder is
            where a file shall be written, or the system refuses.
    """
    known, outputs = Inputs(inputs), [path for path in (masks, overlay, table, coco) if path is not None]
    for output in outputs:
        known.check(output)
    if masks is not None and not is_folder_name(masks) and masks.suffix.lower() not in (*TIFF_SUFFIXES, ".zarr"):
        raise ExportError(f"Masks are written as .tif, .zarr or a folder of PNGs (no suffix), not {masks.suffix}.")
    if masks is not None and masks.suffix.lower() == ".zarr" and exists(masks):
        raise ExportError(f"{masks} exists already. Choose another name, or remove it first.")
    others = ((overlay, ".mp4", "An overlay video"), (table, ".csv", "A table"), (coco, ".json", "COCO's format"))
    for path, suffix, what in others:
        if path is not None and path.suffix.lower() != suffix:
            raise ExportError(f"{what} is written as {suffix}, not {path.suffix or 'without a suffix'}.")
    for output in outputs:
        _check_place(output)


def check_length(folder: Path, n_frames: int) -> None:
    """Refuse a folder of PNGs that holds masks of a longer video: they would stay beside the new ones.

    Raises:
        ExportError: there is a PNG of a frame beyond `n_frames`.
    """
    names = (path.name for path in folder.glob("*.[pP][nN][gG]"))
    if later := sorted(name for name in names if is_png_name(name) and int(name[:-4]) >= n_frames):
        raise ExportError(
            f"{folder / later[0]} is the mask of a frame that this video, which has {n_frames}, does not have. Choose "
            "another folder, or remove the masks in it first."
        )


@contextmanager
def written(path: Path) -> Iterator[Path]:
    """Write to a temporary name, which becomes `path` on success and is removed after an error.

    The name differs every time, so several processes may write the same file; the last one wins.
    """
    unfinished = path.with_name(f"{UNFINISHED}{token_hex(4)}-{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _clear_up(path.parent.absolute())
        yield unfinished
        durable.replace(unfinished, path)
    except (OSError, av.error.FFmpegError) as error:
        raise ExportError(f"{path} cannot be written: {error}. Choose another place.") from error
    finally:
        _remove(unfinished)


@lru_cache
def _clear_up(folder: Path) -> None:
    """Remove unfinished files of killed processes from a folder, once per process."""
    for path in folder.glob(f"{UNFINISHED}*"):
        with suppress(OSError):
            if path.stat().st_mtime < time.time() - FORGOTTEN_S:
                _remove(path)


def _remove(path: Path) -> None:
    """Remove a file or a folder, if it is there."""
    shutil.rmtree(path, ignore_errors=True)
    with suppress(OSError):
        path.unlink()


def _check_place(path: Path) -> None:
    """Raise ExportError if no file can be made at `path`, or in it if that is a folder of PNGs."""
    if not is_folder_name(path) and path.is_dir():
        raise ExportError(f"{path} is a folder, where a file shall be written. Choose another name.")
    try:
        if len(os.fsencode(path.name)) > MAX_NAME:
            raise OSError(errno.ENAMETOOLONG, "its name is too long")
        places = (path / png_name(0) if is_folder_name(path) else path).absolute().parents
        with TemporaryFile(dir=next(place for place in places if exists(place))):
            pass
    except OSError as error:
        raise ExportError(f"{path} cannot be written: {error}. Choose another place.") from error


def is_png_name(name: str) -> bool:
    """Return whether `png_name` returns this name for some frame, ignoring case."""
    stem = name[:-4]
    return stem.isascii() and stem.isdecimal() and name.lower() == png_name(int(stem))
