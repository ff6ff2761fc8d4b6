"""Videos that are stored as arrays or single images: numpy, dask, Zarr, TIFF, folders of images.

Every class here offers `shape` (T, H, W, C), `dtype`, `fps` and `read(t) -> (H, W, C)`.
"""

from __future__ import annotations

import re
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
import zarr
from numpy.typing import NDArray

from napari_pml.disk.arrays import BoundedStore
from napari_pml.disk.untrusted import check_bytes, check_is_file, check_pages, check_pixels, open_image
from napari_pml.errors import PmlError, VideoError
from napari_pml.video.compressed import DEFAULT_FPS

TIFF_SUFFIXES = frozenset({".tif", ".tiff"})
IMAGE_SUFFIXES = TIFF_SUFFIXES | {".png", ".jpg", ".jpeg", ".bmp", ".webp"}

ARRAY_MODES = frozenset({"L", "RGB", "RGBA", "I;16", "I;16B", "I", "F"})
"""Kinds of images, in Pillow's words, that are read as they are; others, such as palettes, become RGB."""


class ArrayFrames:
    """The frames of an array; of a lazy one only the frame that is read is computed."""

    def __init__(self, array: Any, channel_axis: int | None = None, name: str = "the array") -> None:
        """Find out which axis is which.

        Args:
            array: anything with `shape`, `dtype` and indexing.
            channel_axis: the axis that holds channels; None: the last of four, where it is 3 or 4 long.
            name: of where it comes from, to show to people.

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
        self._array, self._name = array, name
        self._channels = _find_channels(shape, channel_axis)
        n_frames, height, width = (n for axis, n in enumerate(shape) if axis != self._channels)
        n_channels = 1 if self._channels is None else shape[self._channels]
        try:
            check_pixels(height, width)
            check_bytes("a frame", (height, width, n_channels), self.dtype.itemsize)
        except ValueError as error:
            raise VideoError(f"The frames of {name} are too large: {error}. Cut or shrink them.") from error
        self.shape = (n_frames, height, width, n_channels)
        self.fps = DEFAULT_FPS

    def read(self, t: int) -> NDArray[np.generic]:
        """Return frame `t`, 0..T-1, as (H, W, C); VideoError if it is damaged."""
        with readable(self._name, f"Frame {t} of "):
            if self._channels is None:
                return np.asarray(self._array[t])[..., None]
            if self._channels == 0:
                return np.moveaxis(np.asarray(self._array[:, t]), 0, -1)
            return np.moveaxis(np.asarray(self._array[t]), self._channels - 1, -1)


class TiffFrames(ArrayFrames):
    """The pages of a TIFF, read one by one."""

    def __init__(self, path: Path, channel_axis: int | None = None) -> None:
        """Open a multi-page TIFF; where `channel_axis` is None, its own names of the axes count.

        Raises:
            VideoError: it is damaged, uses a compression that is not installed, or its axes are not clear.
        """
        with readable(path.name):
            check_is_file(path)
            with tifffile.TiffFile(path) as tiff:
                one_by_one = len(tiff.series) > 1  # tifffile noted each page as an array of its own
            tiff = tifffile.TiffFile(path, is_shaped=False if one_by_one else None)
            weakref.finalize(self, tiff.close)
            series = tiff.series[0]
            check_pages(series)
            array = zarr.open(series.aszarr(level=0, chunkmode="page"), mode="r")
        if channel_axis is None and series.ndim == 4:
            channel_axis = next((axis for axis, name in enumerate(series.axes) if name in "SC"), None)
        super().__init__(array, channel_axis, path.name)
        self.read(0)


class ImageFolder:
    """Images of one size, in the natural order of their names: frame2 before frame10."""

    def __init__(self, path: Path) -> None:
        """Look at the headers of all images.

        Raises:
            VideoError: there are no images, one cannot be read, or they differ in size.
        """
        visible = (p for p in path.iterdir() if not p.name.startswith("."))
        found = [p for p in visible if p.suffix.lower() in IMAGE_SUFFIXES]
        if not found:
            raise VideoError(f"The folder {path} holds no images: png, jpg, tif, bmp or webp.")
        self._paths = sorted(found, key=natural_order)
        sizes, modes = zip(*map(_image_header, self._paths), strict=True)
        for image, size in zip(self._paths, sizes, strict=True):
            if size != sizes[0]:
                raise VideoError(
                    f"{image.name} is {size[0]} x {size[1]} pixels, but {self._paths[0].name} is "
                    f"{sizes[0][0]} x {sizes[0][1]}. All images of a video must have one size: resize it."
                )
        self._mode = modes[0] if len(set(modes)) == 1 and modes[0] in ARRAY_MODES else "RGB"
        first = self.read(0)
        self.shape = (len(found), first.shape[0], first.shape[1], first.shape[2])
        self.dtype = first.dtype
        self.fps = DEFAULT_FPS

    def read(self, t: int) -> NDArray[np.generic]:
        """Return frame `t`, 0..T-1, as (H, W, C); VideoError if the image is damaged."""
        with readable(self._paths[t].name), open_image(self._paths[t]) as image:
            frame = np.asarray(image if image.mode == self._mode else image.convert(self._mode))
        return frame.reshape(*frame.shape[:2], -1)


def is_zarr(path: Path) -> bool:
    """Whether there is a Zarr array or group at `path`."""
    return any((path / name).exists() for name in ("zarr.json", ".zarray", ".zgroup"))


def open_zarr(path: Path, channel_axis: int | None) -> ArrayFrames:
    """Open a Zarr array, version 2 or 3, for reading."""
    with readable(path.name):
        array = zarr.open(BoundedStore(path.absolute(), read_only=True), mode="r")
        if isinstance(array, zarr.Array):
            check_bytes("one of its chunks", array.chunks, array.dtype.itemsize)
    if isinstance(array, zarr.Group):
        inside = ", ".join(sorted(array.array_keys())) or "none"
        raise VideoError(f"{path.name} is a group. Give the path of one of the arrays in it: {inside}.")
    return ArrayFrames(array, channel_axis, path.name)


def _find_channels(shape: Sequence[int], channel_axis: int | None) -> int | None:
    """Return the axis of an array that holds channels, or None if it has none."""
    if channel_axis is not None:
        if len(shape) == 4 and -4 <= channel_axis < 4:
            return channel_axis % 4
        raise VideoError(
            f"With channel_axis, an array must have the three axes T, Y, X and that one (0..3); it is "
            f"{channel_axis} for shape {tuple(shape)}."
        )
    if len(shape) == 4 and shape[3] in (3, 4):
        return 3
    if len(shape) == 3 and shape[2] not in (3, 4):
        return None
    if len(shape) <= 3:
        advice = "This is one image: stack all frames along a new first axis."
    elif len(shape) == 4:
        advice = "Say which axis holds channels (channel_axis), or choose one z-slice, such as array[:, 0]."
    else:
        advice = "Choose one position or one z-slice, such as array[:, 0]."
    raise VideoError(
        "Understood are (T, Y, X) for grey and (T, Y, X, 3) or (T, Y, X, 4) for colour; "
        f"got shape {tuple(shape)}. {advice}"
    )


def natural_order(path: Path) -> tuple[tuple[int, str], ...]:
    """Sort key that compares the numbers in a name as numbers."""
    parts = re.findall(r"\d+|\D+", path.name.lower())
    return tuple((int(part), "") if part.isdecimal() else (-1, part) for part in parts)


def _image_header(path: Path) -> tuple[tuple[int, int], str]:
    """Return ((width, height), mode) of an image without decoding it."""
    with readable(path.name), open_image(path) as image:
        if getattr(image, "n_frames", 1) > 1:
            raise VideoError(f"{path.name} holds several images. Open it alone, or move it elsewhere.")
        return image.size, image.mode


@contextmanager
def readable(name: str, part: str = "") -> Iterator[None]:
    """Turn what a decoder says about a file into a VideoError: on damaged ones, they raise anything."""
    try:
        yield
    except PmlError:
        raise
    except Exception as error:
        raise VideoError(
            f"{part}{name} cannot be read: {error}. Copy it again, or save it in another format."
        ) from error
