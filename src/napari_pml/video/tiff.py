"""TIFF files of many frames, in all the dialects of microscopes: OME, ImageJ, LSM, MetaMorph and plain pages."""

from __future__ import annotations

import weakref
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
import zarr
from numpy.typing import NDArray

from napari_pml.disk.untrusted import check_is_file, check_pages
from napari_pml.errors import DamagedFrameError, VideoError
from napari_pml.video.arrays import TIFF_SUFFIXES, ArrayFrames, readable
from napari_pml.video.axes import Selection, choose

TIFF_LIKE = TIFF_SUFFIXES | {".btf", ".tf2", ".tf8", ".lsm", ".stk"}
"""Suffixes of files that are TIFFs."""


class TiffFrames(ArrayFrames):
    """The pages of a TIFF, read one by one."""

    def __init__(self, path: Path, selection: Selection) -> None:
        """Open a multi-page TIFF; its own names of the axes count.

        Raises:
            VideoError: it is damaged, its axes are not clear, or something has to be chosen.
        """
        with readable(path.name):
            check_is_file(path)
            with tifffile.TiffFile(path) as tiff:
                # tifffile, when it wrote page by page, noted each as an array of its own
                one_by_one = tiff.is_shaped and len(tiff.series) > 1
            tiff = tifffile.TiffFile(path, is_shaped=False if one_by_one else None)
            weakref.finalize(self, tiff.close)
            images: list[Any] = [
                s for s in tiff.series if s.keyframe is None or not s.keyframe.is_reduced
            ] or tiff.series
            names = [series.name for series in images]
        series: Any = images[choose("position", len(images), selection.position, path.name, names)]
        if len(images) > 1:  # the choice is made: no axis of the image itself is meant
            selection = Selection(selection.channel_axis, None, selection.channel, selection.plane)
        with readable(path.name):
            check_pages(series)
            self._palette = _palette(series.keyframe)
            array = zarr.open(series.aszarr(level=0, chunkmode="page"), mode="r")
        super().__init__(array, selection, path.name, series.axes, DamagedFrameError)
        if self._palette is not None:
            self.shape, self.dtype = (*self.shape[:3], 3), np.dtype(np.uint8)
        try:
            self.read(0)
        except DamagedFrameError as error:
            with readable(path.name):
                self._read_another(error)

    def read(self, t: int) -> NDArray[np.generic]:
        """Return frame `t`, 0..T-1, as (H, W, C); DamagedFrameError if it is damaged."""
        frame = super().read(t)
        return frame if self._palette is None else self._palette[frame[..., 0]]

    def _read_another(self, error: DamagedFrameError) -> None:
        """Raise VideoError if not the first frame alone is damaged: what it is compressed with may be unknown."""
        try:
            self.read(self.shape[0] // 2)
        except DamagedFrameError:
            raise VideoError(str(error)) from error


def read_page(path: Path) -> tuple[NDArray[np.generic], int]:
    """Return the only image of a TIFF as (H, W, C), and its orientation as EXIF numbers it."""
    with tifffile.TiffFile(path) as tiff:
        check_pages(tiff.series[0])
        page: Any = tiff.pages[0]
        array, palette = page.asarray(), _palette(page)
        if palette is not None:
            array = palette[array]
        elif page.axes == "SYX":
            array = np.moveaxis(array, 0, -1)
        tag = page.tags.get("Orientation")
        return array.reshape(*array.shape[:2], -1), int(tag.value) if tag is not None else 1


def page_header(path: Path) -> tuple[tuple[int, int], np.dtype[Any], int, int]:
    """Return ((height, width), type, number of channels, orientation) of the only image of a TIFF.

    Raises:
        VideoError: it holds several images.
    """
    with tifffile.TiffFile(path) as tiff:
        page: Any = tiff.pages[0]
        others: Any = tiff.pages[1:]
        if any(not other.keyframe.is_reduced for other in others):
            raise VideoError(f"{path.name} holds several images. Open it alone, or move it elsewhere.")
        tag = page.tags.get("Orientation")
        orientation = int(tag.value) if tag is not None else 1
        size = (page.imagelength, page.imagewidth)
        if _palette(page) is not None:
            return size, np.dtype(np.uint8), 3, orientation
        return size, np.dtype(page.dtype).newbyteorder("="), int(page.samplesperpixel), orientation


def _palette(page: Any) -> NDArray[np.uint8] | None:
    """Return the (N, 3) colours of a page that holds places in a palette, else None."""
    if page.photometric != tifffile.PHOTOMETRIC.PALETTE or page.colormap is None:
        return None
    colours: NDArray[np.uint8] = (page.colormap.T // 257).astype(np.uint8)
    return colours
