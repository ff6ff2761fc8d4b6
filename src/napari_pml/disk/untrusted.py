"""What is read of files that nobody vouches for: regular ones, images of a few kinds, no more than memory holds.

All errors are ValueErrors that say what is wrong with the file; who reads it knows what it should have been.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from math import prod
from pathlib import Path
from typing import BinaryIO

import tifffile
from PIL import Image

MAX_PIXELS = 2**26
"""Of one frame: 8192 x 8192. A network's features of it take some 20 GB."""

MAX_FRAMES = 2**22
"""Of a video, some 40 hours at 30 frames per second: what is known of every frame stays in memory."""

MAX_BYTES = 2**30
"""Of what has to be in memory as a whole, such as a frame with all its channels, a chunk of an array, or weights."""

IMAGE_FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "WEBP", "GIF")
"""In Pillow's words. It goes by the content of a file and knows many more, of which PostScript runs a program."""


def open_image(source: Path | BinaryIO) -> Image.Image:
    """Open an image, of which only the header is read yet.

    Raises:
        ValueError: it is no regular file, or has too many pixels.
        OSError: it is no image of `IMAGE_FORMATS`.
    """
    if isinstance(source, Path):
        check_is_file(source)
    image = Image.open(source, formats=IMAGE_FORMATS)  # noqa: TID251 (here alone)
    try:
        check_pixels(image.height, image.width)
    except ValueError:
        image.close()
        raise
    return image


def exists(path: Path) -> bool:
    """Whether there is something at `path`; no file can have some names, such as very long ones, nor be looked for."""
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


def writable_text(text: str) -> str:
    """Return a name without what no file can hold: halves of characters, as JSON may have them."""
    return text.encode("utf-8", "replace").decode()


def check_is_file(path: Path) -> None:
    """Raise ValueError if there is something else than a regular file, such as a pipe, which could be read for ever."""
    if path.exists() and not path.is_file():
        raise ValueError("it is no regular file")


def check_own(folder: Path) -> None:
    """Raise ValueError if a folder, at any depth, holds a link, or something else than files and folders."""
    waiting = [str(folder)]
    while waiting:
        with os.scandir(waiting.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(entry.path)
                elif not entry.is_file(follow_symlinks=False):
                    raise ValueError(f"{Path(entry.path).relative_to(folder)} is a link, or no file at all")


def check_pixels(height: int, width: int) -> None:
    """Raise ValueError if a frame of so many pixels is larger than `MAX_PIXELS`."""
    if height * width > MAX_PIXELS:
        raise ValueError(f"it claims to be of {width} x {height} pixels, more than {MAX_PIXELS}")


def check_bytes(what: str, shape: Sequence[int], itemsize: int = 1) -> None:
    """Raise ValueError if an array that is read as a whole takes more than `MAX_BYTES`."""
    if (n_bytes := prod(map(int, shape)) * itemsize) > MAX_BYTES:
        raise ValueError(f"{what} would take {n_bytes / 1e9:.1f} GB, and {MAX_BYTES / 1e9:.1f} GB are the limit")


def check_pages(series: tifffile.TiffPageSeries) -> None:
    """Raise ValueError if a page of a TIFF, or a strip or tile of it, takes more than `MAX_BYTES`."""
    page, itemsize = series.keyframe, series.dtype.itemsize
    if page is None:
        return  # of other files, which are looked at when they are read
    check_bytes("one of its pages", page.shape, itemsize)
    check_bytes("one of its tiles", page.chunks, itemsize)
