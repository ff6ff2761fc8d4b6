"""Video files dropped into napari become lazy image layers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

LayerTuple = tuple[Any, dict[str, Any], str]


def get_reader(path: str | list[str]) -> Callable[[str], list[LayerTuple]] | None:
    """Return the reader for one video file, or None for anything else."""
    return read_video if isinstance(path, str) and Path(path).is_file() else None


def read_video(path: str) -> list[LayerTuple]:
    """Return one image layer that decodes only the frames that are looked at."""
    from napari_pml import open_video

    data = open_video(path).as_layer_data()
    return [(data, {"name": Path(path).stem, "rgb": data.ndim == 4}, "image")]
