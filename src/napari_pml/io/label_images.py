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

from napari_pml.disk.untrusted import check_bytes, check_is_file, check_pages, check_pixels, open_image
from napari_pml.errors import AnnotationError
from napari_pml.io.destination import is_png_name, written
from napari_pml.types import BACKGROUND, Labels
from napari_pml.video.arrays import TIFF_SUFFIXES

RECORD = "segmented.json"
"""Name of the file beside finished masks that records what they were made from."""

LABEL_IMAGE = "Label image: 0 is background, 1, 2, ... are objects."
"""Description in the metadata of PNGs that have no palette to tell them from pictures."""


FEW_LABELS, FEW_BORDERS = 32, 0.05
"""In images with another palette than that of DAVIS: maximum number of labels, and of changes of label along a row."""


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
    """Whether the images of a folder are masks: PNGs with a palette of labels, or 16-bit grey ones of `write_mask_png`.

    The first one decides; but 16-bit grey without a description may be either, and then the next one is asked.
    """
    for path in images:
        try:
            with open_image(path) as image:
                is_png = image.format == "PNG"
                if is_png and image.mode == "P":
                    return _shows_labels(image)
                if is_png and image.info.get("Description") == LABEL_IMAGE:
                    return True
                if not is_png or not image.mode.startswith("I"):
                    return False
        except OSError:  # `open_video` will say what is wrong with it
            return False
    return False


def _shows_labels(image: Image.Image) -> bool:
    """Whether an image with a palette shows labels, rather than a picture of few colours.

    Labels have the colours of DAVIS, or are few, lie in large areas, and 0 is black.
    """
    indices = np.asarray(image)
    palette = np.array(image.getpalette("RGB")).reshape(-1, 3)
    used = np.unique(indices)
    if used.max() >= len(palette) or (palette[used] == davis_palette()[used]).all():
        return True
    borders = (indices[:, 1:] != indices[:, :-1]).mean() if indices.shape[1] > 1 else 0
    return len(used) <= FEW_LABELS and borders < FEW_BORDERS and not palette[0].any()


def read_labels(path: Path, *, strokes: bool = False) -> Labels:
    """Read a label image: an indexed, grey or coloured PNG (or other image), a TIFF, or a .npy file.

    Indices and grey values are the labels; but an image of nothing but 0 and white, whatever its type, shows object 1.
    Colours must be those of the DAVIS palette and mean their place in it. Fractions that are whole numbers are taken.

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
        check_is_file(path)
        if path.suffix.lower() == ".npy":
            array = np.lib.format.open_memmap(path, mode="r")  # never more than the file has; no pickles
            check_pixels(*array.shape[:2] if array.ndim > 1 else (1, array.size))
        elif path.suffix.lower() in TIFF_SUFFIXES:
            array = _read_tiff(path)
        else:
            with open_image(path) as image:
                is_indexed = image.mode == "P"
                array = np.asarray(image.convert("L") if image.mode in ("1", "LA") else image)
    except Exception as error:  # on damaged files, decoders raise anything
        raise AnnotationError(f"{path} cannot be read as a label image: {error}. Give a PNG or TIFF.") from error
    if array.ndim == 3 and array.shape[2] in (3, 4) and array.dtype == np.uint8:
        colours = array[..., :3]
        is_binary = (colours == colours[..., :1]).all() and np.isin(colours, (0, 255)).all()
        array = colours[..., 0] if is_binary else _palette_indices(colours, path)
    if array.dtype.kind == "f" and array.size and (array == np.floor(array)).all() and abs(array).max() < 2**31:
        array = array.astype(np.int64)
    if array.ndim != 2 or not array.size or array.dtype.kind not in "bui" or array.min() < 0 or array.max() > 65535:
        raise AnnotationError(
            f"{path.name} holds {array.dtype} of shape {array.shape}; a label image is (H, W) whole numbers "
            "from 0 to 65535: 0 = background, 1, 2, ... = objects."
        )
    labels: Labels = array.astype(np.uint16)
    if strokes:
        return np.where(labels == 255, np.uint16(BACKGROUND), labels) if array.dtype == np.uint8 else labels
    white = {np.uint8: (255,), np.uint16: (65535,)}.get(array.dtype.type, (255, 65535))
    if not is_indexed and labels.max() in white and np.isin(labels, (0, labels.max())).all():
        labels = np.minimum(labels, 1)
    return labels


def _read_tiff(path: Path) -> NDArray[np.generic]:
    """Return the first series of a TIFF, unless its header asks for more memory than an image has."""
    with tifffile.TiffFile(path) as tiff:
        series = tiff.series[0]
        check_bytes(f"what claims to be of shape {series.shape}", series.shape, series.dtype.itemsize)
        check_pages(series)
        return np.asarray(series.asarray())


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
