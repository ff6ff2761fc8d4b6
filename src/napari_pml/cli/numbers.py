"""The options --table and --coco of segment: masks as numbers and as annotations."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from napari_pml.masks import MaskStore
    from napari_pml.video import Video


def export_numbers(
    video: Video, masks: MaskStore, names: Mapping[int, str], table: Path | None, coco: Path | None
) -> None:
    """Write those of the two that are wanted; the table tells seconds where the video has time stamps, and damaged frames."""
    from napari_pml.calibration import Calibration
    from napari_pml.save import save

    calibration = Calibration(times=video.times, damaged=video.damaged)
    for path in (table, coco):
        if path is not None:
            save(path, masks, video, calibration, names=names)
