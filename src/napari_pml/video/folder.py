"""Folders of images: every image is a frame, with the values that it has, as upright as every viewer shows it."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from napari_pml.disk.untrusted import check_is_file, open_image
from napari_pml.errors import DamagedFrameError, VideoError
from napari_pml.video.arrays import IMAGE_SUFFIXES, check_size, natural, readable
from napari_pml.video.frame_index import DEFAULT_FPS
from napari_pml.video.frames import Frames
from napari_pml.video.tiff import TIFF_LIKE, page_header, read_page

MODES = {"1": "L", "L": "L", "LA": "L", "I;16": "I;16", "I;16B": "I;16B", "I": "I", "F": "F", "RGBA": "RGBA"}
"""Kinds of images, in Pillow's words, and what they are read as; all others, such as palettes, are read as RGB."""

DTYPES = {"I;16": np.uint16, "I;16B": np.uint16, "I": np.int32, "F": np.float32}
"""Of what they are read as; of all others it is uint8."""

ORIENTATION = 0x0112
"""EXIF's tag for how a camera was held, 1 to 8."""

MASK_ENDINGS = ("_cp_masks", "_masks", "_mask", "_cp_outlines", "_outlines", "_flows", "_labels", "_label", "_seg")
"""What Cellpose and others add to the name of an image to name what they made of it."""


@dataclass(frozen=True)
class Header:
    """What an image is before it is decoded: size (H, W) as shown, type, and number of channels."""

    size: tuple[int, int]
    dtype: np.dtype[Any]
    n_channels: int


class ImageFolder(Frames):
    """Images of one size, in the natural order of their names: frame2 before frame10.

    Where depths differ, all have the type that holds all their values; where only some are in colour, all are.
    """

    def __init__(self, path: Path) -> None:
        """Look at the headers of all images.

        Raises:
            VideoError: there are no images, one is of another kind than its name says, or they differ in size.

        Warns:
            UserWarning: masks that lie beside their images are left out.
        """
        found = images_in(path)
        self._paths = frames_of(found)
        if not self._paths:
            raise VideoError(f"The folder {path} holds no images: png, jpg, tif, bmp or webp.")
        if len(found) > len(self._paths):
            masks = next(p.name for p in found if p not in set(self._paths))
            warnings.warn(
                f"{len(found) - len(self._paths)} images of {path.name}, such as {masks}, are masks of others by their "
                "names. They are no frames of the video.",
                stacklevel=5,
            )
        headers = [header_of(image) for image in self._paths]
        for image, header in zip(self._paths, headers, strict=True):
            if header.size != headers[0].size:
                (height, width), first = header.size, headers[0].size
                raise VideoError(
                    f"{image.name} is {width} x {height} pixels, but {self._paths[0].name} is {first[1]} x {first[0]}. "
                    "All images of a video must have one size: resize it."
                )
        kinds = {header.n_channels for header in headers}
        n_channels = kinds.pop() if len(kinds) == 1 else 3
        self.dtype = np.result_type(*{header.dtype for header in headers})
        self.shape = (len(headers), *headers[0].size, n_channels)
        check_size(path.name, *headers[0].size)
        self.fps = DEFAULT_FPS

    def read(self, t: int) -> NDArray[np.generic]:
        """Return frame `t`, 0..T-1, as (H, W, C); DamagedFrameError if the image is damaged."""
        path = self._paths[t]
        if not path.exists():
            raise VideoError(f"{path} is not there any more. Open the folder again.")
        with readable(path.name, error_type=DamagedFrameError):
            frame = read_image(path)
            if frame.shape[2] == 1 and self.shape[3] > 1:
                frame = np.repeat(frame, 3, axis=2)
            return frame[..., : self.shape[3]].astype(self.dtype, copy=False).reshape(self.shape[1:])


def images_in(folder: Path) -> list[Path]:
    """Return the images in a folder, in their natural order; file managers leave hidden ones behind."""
    shown = (p for p in folder.iterdir() if not p.name.startswith("."))
    return sorted((p for p in shown if p.suffix.lower() in IMAGE_SUFFIXES | TIFF_LIKE), key=natural_order)


def frames_of(images: Iterable[Path]) -> list[Path]:
    """Return the images that are no masks of others among them, by their names."""
    images = list(images)
    stems = {path.stem for path in images}
    return [path for path in images if not any(_image_of(path.stem, end) in stems for end in MASK_ENDINGS)]


def _image_of(stem: str, ending: str) -> str | None:
    """Return the name of the image whose mask has this name, None if it has another ending."""
    return stem.removesuffix(ending) if stem.lower().endswith(ending) else None


def natural_order(path: Path) -> tuple[tuple[int, str], ...]:
    """Sort key that compares the numbers in a path's name as numbers."""
    return natural(path.name)


def header_of(path: Path) -> Header:
    """Return what an image is, without decoding it.

    Raises:
        VideoError: it cannot be read, or the file holds several.
    """
    with readable(path.name):
        check_is_file(path)
        if path.suffix.lower() in TIFF_LIKE:
            size, dtype, n_channels, orientation = page_header(path)
        else:
            deep = _deep_png_channels(path)
            with open_image(path) as image:
                if getattr(image, "n_frames", 1) > 1:
                    raise VideoError(f"{path.name} holds several images. Open it alone, or move it elsewhere.")
                mode, orientation = MODES.get(image.mode, "RGB"), _orientation(image)
                size = (image.height, image.width)
            dtype = np.dtype(np.uint16 if deep else DTYPES.get(mode, np.uint8))
            n_channels = deep or {"RGB": 3, "RGBA": 4}.get(mode, 1)
        return Header(size[::-1] if orientation >= 5 else size, dtype, n_channels)


def read_image(path: Path) -> NDArray[np.generic]:
    """Return an image as (H, W, C), upright."""
    check_is_file(path)
    if path.suffix.lower() in TIFF_LIKE:
        return upright(*read_page(path))
    with open_image(path) as image:
        orientation = _orientation(image)
        if _deep_png_channels(path):  # of which Pillow keeps the high bytes only
            array: NDArray[np.generic] = imagecodecs.png_decode(path.read_bytes())
        else:
            mode = MODES.get(image.mode, "RGB")
            array = np.asarray(image if image.mode == mode else image.convert(mode))
    return upright(array.reshape(*array.shape[:2], -1), orientation)


def upright(array: NDArray[np.generic], orientation: int) -> NDArray[np.generic]:
    """Turn and mirror (H, W, C) as EXIF's orientation asks; CIPA DC-008, section 4.6.4."""
    if orientation >= 5:
        array = array.swapaxes(0, 1)
    rows = -1 if orientation in (3, 4, 7, 8) else 1
    columns = -1 if orientation in (2, 3, 6, 7) else 1
    return array[::rows, ::columns]


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(ORIENTATION, 1))
    except Exception:  # damaged EXIF, which says nothing of the pixels
        return 1


def _deep_png_channels(path: Path) -> int:
    """Return how many channels a PNG has that are 16 bits deep and more than one, else 0."""
    with path.open("rb") as stream:
        start = stream.read(26)
    if start[:8] != b"\x89PNG\r\n\x1a\n" or start[24] != 16:
        return 0
    return {2: 3, 6: 4}.get(start[25], 0)  # 4 is grey with alpha, which Pillow reads as RGBA of 8 bits
