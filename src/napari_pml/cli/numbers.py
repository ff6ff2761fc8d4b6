"""The options --table and --coco of segment: masks as numbers and as annotations."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from napari_pml.types import ExportError

if TYPE_CHECKING:
    from napari_pml.masks import MaskStore
    from napari_pml.video import Video


def check_numbers(table: Path | None, coco: Path | None) -> None:
    """Refuse other suffixes than .csv for a table and .json for COCO, before any work is done."""
    for path, suffix, what in ((table, ".csv", "A table"), (coco, ".json", "COCO's format")):
        if path is not None and path.suffix.lower() != suffix:
            raise ExportError(f"{what} is written as {suffix}, not {path.suffix or 'without a suffix'}.")


def export_numbers(video: Video, masks: MaskStore, table: Path | None, coco: Path | None) -> None:
    """Write those of the two that are wanted; seconds are in the table where the video says how fast it is."""
    from napari_pml.calibration import Calibration
    from napari_pml.save import save

    calibration = Calibration(frame=1 / video.fps if video.is_timed else None)
    for path in (table, coco):
        if path is not None:
            save(path, masks, video, calibration)
