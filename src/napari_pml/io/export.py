"""Masks as files: PNG with the DAVIS palette, TIFF, Zarr, an overlay video; and label images read back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import av
import numpy as np
import tifffile
import zarr
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from PIL.PngImagePlugin import PngInfo

from napari_pml.disk.untrusted import check_bytes, check_is_file, check_pages, check_pixels, open_image
from napari_pml.errors import AnnotationError
from napari_pml.io.destination import check_destination, check_length, is_png_name, png_name, written
from napari_pml.store.masks import MaskStore
from napari_pml.types import BACKGROUND, STALE, Labels, labels_in
from napari_pml.video.arrays import TIFF_SUFFIXES
from napari_pml.video.video import Video

OPACITY = 0.45
"""Of an object's colour in an overlay; its outline is opaque."""

RECORD = "segmented.json"
"""Beside masks in a folder: what they were made from, once they are all there."""

LABEL_IMAGE = "Label image: 0 is background, 1, 2, ... are objects."
"""Description inside of PNGs that no palette tells from pictures."""

SHEET_TILE = 320
"""Width of a tile of a contact sheet, in pixels."""


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
            with open_image(path) as image:
                is_png = image.format == "PNG"
                if is_png and (image.mode == "P" or image.info.get("Description") == LABEL_IMAGE):
                    return True
                if not is_png or not image.mode.startswith("I"):
                    return False
        except (OSError, ValueError):  # `open_video` will say what is wrong with it
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
        array = _palette_indices(array[..., :3], path)
    if array.ndim != 2 or not array.size or array.dtype.kind not in "bui" or array.min() < 0 or array.max() > 65535:
        raise AnnotationError(
            f"{path.name} holds {array.dtype} of shape {array.shape}; a label image is (H, W) whole numbers "
            "from 0 to 65535: 0 = background, 1, 2, ... = objects."
        )
    labels: Labels = np.asarray(array, np.uint16)
    if strokes:
        return np.where(labels == 255, np.uint16(BACKGROUND), labels) if array.dtype == np.uint8 else labels
    if array.dtype == np.uint8 and not is_indexed and set(labels_in(labels).tolist()) <= {0, 255}:
        labels = np.minimum(labels, 1)
    return labels


def export_masks(masks: MaskStore, path: Path) -> None:
    """Write all finished masks.

    Args:
        masks: of a video.
        path: a `.tif` (multi-page, compressed) or `.zarr` (one array), in which frames without a mask are 0;
            or, without the suffix of a file, a folder of PNGs `00000.png`, ... in which they are absent.

    Raises:
        ExportError: the suffix is another one, a `.zarr` exists already, the folder holds masks of a longer video, or
            the place cannot be written.
    """
    check_destination(path)
    if path.suffix.lower() == ".zarr":
        _export_zarr(masks, path)
    elif path.suffix.lower() in TIFF_SUFFIXES:
        _export_tiff(masks, path)
    else:
        export_folder(masks, path)


def export_folder(masks: MaskStore, folder: Path) -> None:
    """Write all finished masks as PNGs `00000.png`, ...

    Raises:
        ExportError: the folder holds masks of a longer video, or cannot be written.
    """
    check_length(folder, masks.shape[0])
    for t in masks.finished:
        write_mask_png(masks[t].labels, folder / png_name(t))


def overlay_palette(own: Mapping[int, Sequence[int]] = MappingProxyType({})) -> NDArray[np.uint8]:
    """Return the colour of every label in an overlay, as (65536, 3) RGB.

    Args:
        own: object -> the RGB, 0..255, that it has instead of its colour in the DAVIS palette.
    """
    davis = davis_palette()
    palette = np.concatenate([davis[:1], np.tile(davis[1:], (BACKGROUND // 255, 1))])
    for label, colour in own.items():
        palette[label] = colour
    return palette


def overlay_frame(
    rgb: NDArray[np.float32], labels: Labels, palette: NDArray[np.uint8] | None = None
) -> NDArray[np.uint8]:
    """Paint objects over a frame, translucent with an opaque outline.

    Args:
        rgb: (H, W, 3) in 0..1.
        labels: (H, W), 0 = background.
        palette: as `overlay_palette` returns it, which is what None stands for.

    Returns:
        (H, W, 3) uint8.
    """
    colours = (overlay_palette() if palette is None else palette)[labels] / np.float32(255)
    inside = (labels > 0)[..., None]
    outline = (_outline(labels) & (labels > 0))[..., None]
    opacity = np.where(outline, 1, np.where(inside, OPACITY, 0)).astype(np.float32)
    return np.rint((rgb * (1 - opacity) + colours * opacity) * 255).astype(np.uint8)


def export_overlay(video: Video, masks: MaskStore, path: Path, palette: NDArray[np.uint8] | None = None) -> None:
    """Write the video with its objects painted over it as an .mp4; frames without a mask stay as they are.

    Args:
        video: to paint over.
        masks: of its objects.
        path: of the .mp4.
        palette: as for `overlay_frame`.

    Raises:
        ExportError: the suffix is another one, or the file cannot be written.
        VideoError: a frame cannot be decoded.
    """
    check_destination(overlay=path)
    height, width = video.shape[1:]
    codec: Literal["libx264", "mpeg4"] = "libx264" if "libx264" in av.codecs_available else "mpeg4"
    with written(path) as unfinished, av.open(f"file:{unfinished.absolute()}", "w") as container:
        stream = container.add_stream(codec, rate=_rate(video.fps))
        stream.width, stream.height = width + width % 2, height + height % 2  # the codecs want even numbers
        stream.pix_fmt = "yuv420p"
        for t in range(len(video)):
            painted = np.pad(_painted(video, masks, t, palette), ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
            container.mux(stream.encode(av.VideoFrame.from_ndarray(painted, format="rgb24")))
        container.mux(stream.encode())


def contact_sheet(video: Video, masks: MaskStore, path: Path, columns: int = 4, n: int = 12) -> None:
    """Write `n` evenly spaced frames with their objects as one PNG, to see a result at a glance.

    Raises:
        ExportError: the file cannot be written.
        VideoError: a frame cannot be decoded.
    """
    times = np.unique(np.linspace(0, len(video) - 1, min(n, len(video))).round().astype(int)).tolist()
    height = max(1, round(SHEET_TILE * video.shape[1] / video.shape[2]))
    sheet = Image.new("RGB", (SHEET_TILE * min(columns, len(times)), height * -(-len(times) // columns)))
    for place, t in enumerate(times):
        tile = Image.fromarray(_painted(video, masks, t)).resize((SHEET_TILE, height))
        ImageDraw.Draw(tile).text((4, 2), str(t), fill="white", stroke_width=1, stroke_fill="black")
        sheet.paste(tile, (place % columns * SHEET_TILE, place // columns * height))
    with written(path) as unfinished:
        sheet.save(unfinished, format="PNG")


def _export_tiff(masks: MaskStore, path: Path) -> None:
    largest = max((int(masks[t].labels.max()) for t in masks.finished), default=0)
    dtype = np.uint8 if largest < 256 else np.uint16
    finished = set(masks.finished)
    empty = np.zeros(masks.shape[1:], dtype)
    pages = (masks.labels[t].astype(dtype) if t in finished else empty for t in range(masks.shape[0]))
    n_bytes = int(np.prod(masks.shape)) * np.dtype(dtype).itemsize
    with written(path) as unfinished, tifffile.TiffWriter(unfinished, bigtiff=n_bytes > 2**31) as tiff:
        tiff.write(
            pages, shape=masks.shape, dtype=dtype, photometric="minisblack",  # or an axis of 3 or 4 may become colours
            compression="zlib", metadata={"axes": "TYX"},
        )  # fmt: skip


def _export_zarr(masks: MaskStore, path: Path) -> None:
    with written(path) as unfinished:
        chunks = (1, *masks.shape[1:])
        array = zarr.create_array(str(unfinished), shape=masks.shape, chunks=chunks, dtype=np.uint16, overwrite=True)
        for t in masks.finished:
            array[t] = masks[t].labels


def _rate(fps: float) -> Fraction:
    """Return a frame rate as the quotient of small numbers, however slow it is."""
    return Fraction(fps).limit_denominator(1001) if fps >= 1 else 1 / Fraction(1 / fps).limit_denominator(1001)


def _painted(video: Video, masks: MaskStore, t: int, palette: NDArray[np.uint8] | None = None) -> NDArray[np.uint8]:
    labels = masks[t].labels if masks.revisions[t] > STALE else np.zeros(video.shape[1:], np.uint16)
    return overlay_frame(video.rgb(t), labels, palette)


def _outline(labels: Labels) -> NDArray[np.bool_]:
    """Return where a pixel within two pixels along a row or column has another label, as (H, W)."""
    padded = np.pad(labels, 2, mode="edge")
    height, width = labels.shape
    outline = np.zeros(labels.shape, bool)
    for shift in (0, 1, 3, 4):
        outline |= padded[shift : shift + height, 2:-2] != labels
        outline |= padded[2:-2, shift : shift + width] != labels
    return outline


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
