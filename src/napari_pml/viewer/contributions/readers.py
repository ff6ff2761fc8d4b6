"""Video files dropped into napari become lazy image layers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_pml.errors import ChoiceError
from napari_pml.store.project_record import SUFFIX

if TYPE_CHECKING:
    from napari_pml.video.video import Video

LayerTuple = tuple[Any, dict[str, Any], str]

MOST_POSITIONS = 100
"""Maximum number of layers for one file."""


def get_reader(path: str | list[str]) -> Callable[[str], list[LayerTuple]] | None:
    """Return the reader for one video file or image of OME-Zarr, or None for anything else."""
    if not isinstance(path, str):
        return None
    name = path.lower().rstrip("/\\")
    is_zarr = name.endswith(".zarr") and not name.endswith(SUFFIX)  # a project has a reader of its own
    return read_video if is_zarr or Path(path).is_file() else None


def read_video(path: str) -> list[LayerTuple]:
    """Return one image layer that decodes only the frames that are looked at; of several positions, one each.

    Raises:
        VideoError: the file is damaged or of another kind, or something else has to be chosen.
    """
    from napari_pml import open_video

    name = Path(path).name.split(".")[0]
    try:
        return [layer_of(open_video(path), name)]
    except ChoiceError as choice:
        if choice.kind != "position" or choice.n > MOST_POSITIONS:
            raise
        names = [f"{name} {position or i}" for i, position in enumerate(choice.names or choice.n * [""])]
    videos = [layer_of(open_video(path, position=i), name) for i, name in enumerate(names)]
    for _, meta, _ in videos[1:]:
        meta["visible"] = False
    return videos


def layer_of(video: Video, name: str) -> LayerTuple:
    """Return the layer that shows a video."""
    data = video.as_layer_data()
    meta: dict[str, Any] = {"name": name, "rgb": data.ndim == 4}
    if video.pixel is not None:
        meta |= {"scale": (1, *video.pixel), "units": ("pixel", video.unit, video.unit)}
    return data, meta, "image"
