"""Videos that are stored as arrays: numpy, dask, Zarr, OME-Zarr.

Every class here offers `shape` (T, H, W, C), `dtype`, `fps` and `read(t) -> (H, W, C)`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from napari_pml.disk.arrays import BoundedStore
from napari_pml.disk.untrusted import check_bytes, check_pixels
from napari_pml.errors import DamagedFrameError, PmlError, VideoError
from napari_pml.video.axes import Selection, choose, understand
from napari_pml.video.frame_index import DEFAULT_FPS
from napari_pml.video.frames import Frames

TIFF_SUFFIXES = frozenset({".tif", ".tiff"})
IMAGE_SUFFIXES = TIFF_SUFFIXES | {".png", ".jpg", ".jpeg", ".bmp", ".webp"}

GROUP_DEPTH = 3
"""So deep lie the images in the groups of a plate: row, column, field."""


class ArrayFrames(Frames):
    """The frames of an array; of a lazy one only the frame that is read is computed.

    Attributes:
        pixel: (height, width) of a pixel in units of length, or None if that is not known.
        unit: of length, such as "micrometer".
    """

    pixel: tuple[float, float] | None = None
    unit = "unit"

    def __init__(
        self,
        array: Any,
        selection: Selection | None = None,
        name: str = "the array",
        axes: str | None = None,
        damaged: type[VideoError] = VideoError,
    ) -> None:
        """Find out which axis is which.

        Args:
            array: anything with `shape`, `dtype` and indexing.
            selection: what is to be seen of it.
            name: of where it comes from, to show to people.
            axes: a letter for each axis, if they are known.
            damaged: raised where a frame cannot be read.

        Raises:
            VideoError: this is not an array of numbers, is empty, or its axes are not clear.
        """
        try:
            shape = tuple(int(n) for n in array.shape)
            self.dtype = np.dtype(array.dtype)
        except (AttributeError, TypeError) as error:
            raise VideoError(
                f"A {type(array).__name__} is not a video. Give a path, or an array with shape and dtype."
            ) from error
        if self.dtype.kind not in "buif":
            raise VideoError(f"The array holds {self.dtype}; a video holds plain numbers. Convert it.")
        if 0 in shape:
            raise VideoError(f"The array has shape {shape}: there is not a single pixel in it.")
        self._array, self._name, self._damaged = array, name, damaged
        if isinstance(array, zarr.Array) and name != "the array":
            with readable(name):
                check_bytes("one of its chunks", array.chunks, self.dtype.itemsize)
        self._axes = understand(shape, axes, selection or Selection(), name)
        self.shape = self._axes.shape
        check_size(name, *self.shape[1:], self.dtype.itemsize)
        self.fps = DEFAULT_FPS

    def read(self, t: int) -> NDArray[np.generic]:
        """Return frame `t`, 0..T-1, as (H, W, C); an error if it is damaged."""
        with readable(self._name, f"Frame {t} of ", self._damaged):
            return self._axes.frame(self._array, t)


class OmeZarrFrames(ArrayFrames):
    """The largest resolution of an image of OME-Zarr, with its axes and its scale."""

    def __init__(self, group: zarr.Group, selection: Selection, name: str) -> None:
        """Open the image that a group describes.

        Raises:
            VideoError: what it says of itself is not understood.
        """
        with readable(name):
            about: Mapping[str, Any] = _multiscales(group)[0]
            largest = about["datasets"][0]
            array = group[largest["path"]]
            axes = [axis if isinstance(axis, Mapping) else {"name": axis} for axis in about.get("axes", ())]
            names = "".join(str(axis["name"])[:1].upper() for axis in axes) or None
            steps = [1.0] * len(axes)
            for transform in (
                *largest.get("coordinateTransformations", ()),
                *about.get("coordinateTransformations", ()),
            ):
                if transform["type"] == "scale":
                    steps = [step * float(factor) for step, factor in zip(steps, transform["scale"], strict=True)]
        super().__init__(array, selection, name, names, DamagedFrameError)
        if names is not None:
            units = [str(axis.get("unit", "")) for axis in axes]
            rows, time = names.index("Y"), names.find("T")
            if units[rows]:
                self.pixel, self.unit = (steps[rows], steps[names.index("X")]), units[rows]
            seconds = {"second": 1, "millisecond": 1e-3, "minute": 60}.get(units[time], 0) if time >= 0 else 0
            if seconds and steps[time] > 0:
                self.fps = 1 / (seconds * steps[time])


def open_zarr(path: Path, selection: Selection) -> ArrayFrames:
    """Open a Zarr array, version 2 or 3, or an image of OME-Zarr, for reading."""
    with readable(path.name):
        found = zarr.open(BoundedStore(path.absolute(), read_only=True), mode="r")
    if not isinstance(found, zarr.Group):
        return ArrayFrames(found, selection, path.name, damaged=DamagedFrameError)
    with readable(path.name):
        images = _images(found, GROUP_DEPTH)
    if images:
        n = choose("position", len(images), selection.position, path.name, list(images))
        return OmeZarrFrames(list(images.values())[n], selection, path.name)
    inside = ", ".join(sorted(found.array_keys())) or "none"
    raise VideoError(f"{path.name} is a group. Give the path of one of the arrays in it: {inside}.")


def _multiscales(group: zarr.Group) -> Any:
    """Return how an image of OME-Zarr, version 0.4 or 0.5, describes itself; nothing for another group."""
    attributes: dict[str, Any] = dict(group.attrs)
    return attributes.get("multiscales") or attributes.get("ome", {}).get("multiscales")


def _images(group: zarr.Group, depth: int) -> dict[str, zarr.Group]:
    """Return the images in a group by their paths: itself, several positions, or the fields of a plate."""
    if _multiscales(group):
        return {group.path: group}
    found: dict[str, zarr.Group] = {}
    for name, inside in sorted(group.groups(), key=lambda item: natural(item[0])) if depth else ():
        if name != "labels":
            found |= _images(inside, depth - 1)
    return found


def check_size(name: str, height: int, width: int, n_channels: int = 1, itemsize: int = 1) -> None:
    """Raise VideoError if frames are too large."""
    try:
        check_pixels(height, width)
        check_bytes("a frame", (height, width, n_channels), itemsize)
    except ValueError as error:
        raise VideoError(f"The frames of {name} are too large: {error}. Cut or shrink them.") from error


def natural(name: str) -> tuple[tuple[int, str], ...]:
    """Sort key that compares the numbers in a name as numbers."""
    parts = re.findall(r"\d+|\D+", name.lower())
    return tuple((int(part), "") if part.isdecimal() else (-1, part) for part in parts)


@contextmanager
def readable(name: str, part: str = "", error_type: type[VideoError] = VideoError) -> Iterator[None]:
    """Turn what a decoder says about a file into an error of ours: on damaged ones, they raise anything."""
    try:
        yield
    except PmlError:
        raise
    except Exception as error:
        raise error_type(
            f"{part}{name} cannot be read: {error}. Copy it again, or save it in another format."
        ) from error
