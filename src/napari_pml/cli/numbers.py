"""The options --table and --coco of segment: masks as numbers and as annotations."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from napari_pml.store.masks import MaskStore
    from napari_pml.video.video import Video


def export_numbers(
    video: Video, masks: MaskStore, names: Mapping[int, str], table: Path | None, coco: Path | None
) -> None:
    """Write those of the two that are wanted; seconds are in the table where the video has time stamps."""
    from napari_pml.io.calibration import Calibration
    from napari_pml.io.save import save

    calibration = Calibration(times=video.times)
    for path in (table, coco):
        if path is not None:
            save(path, masks, video, calibration, names=names)
