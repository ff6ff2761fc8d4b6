"""Label images: PNGs with the DAVIS palette written, and every kind of label image read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from napari_pml.errors import AnnotationError
from napari_pml.io.destination import is_png_name, written
from napari_pml.types import BACKGROUND, Labels
from napari_pml.video.arrays import MAX_PIXELS, TIFF_SUFFIXES

RECORD = "segmented.json"
"""Beside masks in a folder: what they were made from, once they are all there."""

LABEL_IMAGE = "Label image: 0 is background, 1, 2, ... are objects."
"""Description inside of PNGs that no palette tells from pictures."""


def davis_palette() -> NDArray[np.uint8]:
    """Return the 256 colours of PASCAL VOC and DAVIS as (256, 3) RGB: 0 is black, object i has colour i.

    The bits of the index are dealt out in turn to red, green and blue, filling each from the highest bit
    down, so that small indices get colours far apart (PASCAL VOC development kit, `VOClabelcolormap`).
    """
    index = np.arange(256)
    palette = np.zeros((256, 3), np.uint8)
    for bit in range(8):
        for channel in range(3):
            palette[:, channel] |= ((index >> channel & 1) << (7 - bit)).astype(np.uint8)
        index >>= 3
    return palette


def write_mask_png(labels: Labels, path: Path) -> None:
    """Write (H, W) labels as a PNG: indexed with the DAVIS palette, or 16-bit grey for ids beyond 255.

    A `RECORD` beside it goes if this may be one of its masks: it does not know this one.

    Raises:
        ExportError: the file cannot be written.
    """
    about = PngInfo()
    if labels.max() > 255:
        image = Image.fromarray(labels.astype(np.uint16))
        about.add_text("Description", LABEL_IMAGE)
    else:
        image = Image.fromarray(labels.astype(np.uint8))
        image.putpalette(davis_palette().tobytes())
    with written(path) as unfinished:
        if is_png_name(path.name):
            (path.parent / RECORD).unlink(missing_ok=True)
        image.save(unfinished, format="PNG", pnginfo=about)


def are_masks(images: Sequence[Path]) -> bool:
    """Whether the images of a folder are masks: PNGs with a palette, or 16-bit grey ones that `write_mask_png` wrote.

    The first header decides; but 16-bit grey without a description may be either, and then the next one is asked.
    """
    for path in images:
        try:
            with Image.open(path) as image:
                is_png = image.format == "PNG"
                if is_png and (image.mode == "P" or image.info.get("Description") == LABEL_IMAGE):
                    return True
                if not is_png or not image.mode.startswith("I"):
                    return False
        except OSError:  # `open_video` will say what is wrong with it
            return False
    return False


def read_labels(path: Path, *, strokes: bool = False) -> Labels:
    """Read a label image: an indexed, grey or coloured PNG (or other image), a TIFF, or a .npy file.

    Indices and grey values are the labels; but a grey image of nothing but 0 and 255 shows object 1. Colours
    must be those of the DAVIS palette and mean their place in it.

    Args:
        path: of the image.
        strokes: it shows strokes, on which 0 is not annotated and, in an image of 8 bits, 255 is background.

    Returns:
        (H, W) uint16.

    Raises:
        AnnotationError: there is no such file, or it is not an image of labels.
    """
    is_indexed = False
    array: NDArray[Any]
    try:
        if path.suffix.lower() == ".npy":
            array = np.lib.format.open_memmap(path, mode="r")  # never more than the file has; no pickles
        elif path.suffix.lower() in TIFF_SUFFIXES:
            array = _read_tiff(path)
        else:
            with Image.open(path) as image:
                is_indexed = image.mode == "P"
                array = np.asarray(image.convert("L") if image.mode in ("1", "LA") else image)
    except Exception as error:  # on damaged files, decoders raise anything
        raise AnnotationError(f"{path} cannot be read as a label image: {error}. Give a PNG or TIFF.") from error
    if array.ndim == 3 and array.shape[2] in (3, 4) and array.dtype == np.uint8:
        array = _palette_indices(array[..., :3], path)
    if array.ndim != 2 or not array.size or array.dtype.kind not in "bui" or array.min() < 0 or array.max() > 65535:
        raise AnnotationError(
            f"{path.name} holds {array.dtype} of shape {array.shape}; a label image is (H, W) whole numbers "
            "from 0 to 65535: 0 = background, 1, 2, ... = objects."
        )
    labels: Labels = array.astype(np.uint16)
    if strokes:
        return np.where(labels == 255, np.uint16(BACKGROUND), labels) if array.dtype == np.uint8 else labels
    if array.dtype == np.uint8 and not is_indexed and set(np.unique(labels)) <= {0, 255}:
        labels = np.minimum(labels, 1)
    return labels


def _read_tiff(path: Path) -> NDArray[np.generic]:
    """Return the first series of a TIFF, unless its header asks for more memory than an image has."""
    with tifffile.TiffFile(path) as tiff:
        shape = tiff.series[0].shape
        if np.prod(shape, dtype=float) > MAX_PIXELS:
            raise ValueError(f"it claims to be of shape {shape}")
        return np.asarray(tiff.series[0].asarray())


def _palette_indices(colours: NDArray[Any], path: Path) -> NDArray[np.uint16]:
    """Return the place of every (H, W, 3) colour in the DAVIS palette."""
    weights = np.array([65536, 256, 1])
    palette = davis_palette() @ weights
    codes = colours @ weights
    order = np.argsort(palette)
    places: NDArray[np.uint16] = order.astype(np.uint16)[np.searchsorted(palette, codes, sorter=order).clip(max=255)]
    if (palette[places] != codes).any():
        wrong = colours[palette[places] != codes][0].tolist()
        raise AnnotationError(
            f"{path.name} is a colour image with the colour {wrong}, which is not in the DAVIS palette. Save "
            "it as an indexed or grey PNG in which 0 is background and 1, 2, ... are objects."
        )
    return places
