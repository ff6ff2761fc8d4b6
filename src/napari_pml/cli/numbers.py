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
    """Write those of the two that are wanted; the table has seconds where they are known, and damaged frames."""
    from napari_pml.io.calibration import Calibration
    from napari_pml.io.save import save

    calibration = Calibration(pixel=video.pixel, unit=video.unit, times=video.times, damaged=video.damaged)
    for path in (table, coco):
        if path is not None:
            save(path, masks, video, calibration, names=names)
