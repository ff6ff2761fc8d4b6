"""Masks as files: a folder of PNGs, a TIFF or a Zarr array."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tifffile
import zarr

from napari_pml.io.destination import check_destination, check_length, png_name, written
from napari_pml.io.label_images import write_mask_png
from napari_pml.store.masks import MaskStore
from napari_pml.video.arrays import TIFF_SUFFIXES


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
