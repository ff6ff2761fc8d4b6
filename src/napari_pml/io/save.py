"""Save masks in any supported format; the suffix of the file name decides which."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_pml.errors import ExportError
from napari_pml.grid import grid_shape
from napari_pml.io.calibration import Calibration
from napari_pml.io.coco import export_coco
from napari_pml.io.ctc import export_ctc, is_ctc_name
from napari_pml.io.destination import Inputs
from napari_pml.io.export import export_masks
from napari_pml.io.measure import export_table, measure
from napari_pml.io.overlay import export_overlay
from napari_pml.store.masks import MaskStore
from napari_pml.types import BACKGROUND, CONFIDENCE_STRIDE, FrameMask
from napari_pml.video.video import Video


def save(
    path: Path,
    masks: MaskStore,
    video: Video | None,
    calibration: Calibration,
    inputs: Iterable[Path] = (),
    names: Mapping[int, str] = MappingProxyType({}),
    palette: NDArray[np.uint8] | None = None,
) -> None:
    """Write all finished masks in the format of `path`'s suffix, including masks that are outdated.

    (`masks.since(session.annotations.revision)` has those of the present annotations alone.)

    Args:
        path: no suffix of a file for a folder of PNGs, or, where its name ends with _RES, for one by the rules of the
            Cell Tracking Challenge, .tif, .zarr, .mp4 (drawn over the video), .json (COCO), .csv
            (measurements).
        masks: of a video.
        video: the video itself, which only an .mp4 needs.
        calibration: what is known of its frames and pixels, for a .csv.
        inputs: files and folders that nothing may be written over, such as those of the video.
        names: object -> its name, if it has one, for a .csv and a .json.
        palette: colours of objects in an .mp4, see `overlay_palette`; by default the DAVIS palette.

    Raises:
        ExportError: an input would be overwritten, no mask is finished, there is no video, the suffix is another one,
            or the place cannot be written.
        VideoError: a frame cannot be decoded.
    """
    Inputs(inputs).check(path)
    suffix = path.suffix.lower()
    if not masks.finished:
        raise ExportError("There are no masks to save yet. Paint a stroke, and propagate.")
    if suffix == ".csv":
        export_table(measure(masks, calibration, names), path)
    elif suffix == ".json":
        export_coco(masks, path, names)
    elif suffix == ".mp4":
        if video is None:
            raise ExportError(
                "There is no image layer of the same size as the masks to draw them over. Open the video."
            )
        export_overlay(video, masks, path, palette)
    elif is_ctc_name(path):
        export_ctc(masks, path)
    else:
        export_masks(masks, path)


def as_masks(labels: Any) -> MaskStore:
    """Return labels from elsewhere as finished masks with full confidence, compressed in memory.

    Args:
        labels: (T, H, W) or (H, W) whole numbers, any array that can be indexed; one frame is read at a time.

    Raises:
        ExportError: the shape is another one, or a label is not in 0..65534.
    """
    shape = tuple(int(n) for n in labels.shape)
    if len(shape) not in (2, 3):
        raise ExportError(f"Masks of a video have three axes (time, rows, columns); these labels have shape {shape}.")
    frames = labels if len(shape) == 3 else [labels]
    grid = grid_shape(shape[-2], shape[-1], CONFIDENCE_STRIDE)
    masks = MaskStore((len(frames), shape[-2], shape[-1]), grid)
    for t in range(len(frames)):
        frame = np.asarray(frames[t])
        if frame.size and not 0 <= frame.min() <= frame.max() < BACKGROUND:
            raise ExportError(
                f"Frame {t} holds labels from {frame.min()} to {frame.max()}; masks have 0 for the background and "
                f"objects from 1 to {BACKGROUND - 1}. Renumber them first."
            )
        masks.put(FrameMask(t, frame.astype(np.uint16), np.ones(grid, np.float32), revision=1))
    return masks
