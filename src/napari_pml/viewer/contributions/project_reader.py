"""A project dropped into napari becomes the video and the layers of the work on it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from napari.layers import Image
from napari.utils.notifications import show_error, show_warning

from napari_pml.errors import PmlError, ProjectError
from napari_pml.store.project_record import SUFFIX
from napari_pml.viewer.contributions.readers import LayerTuple
from napari_pml.viewer.document import autosave
from napari_pml.viewer.document.metadata import PROJECT


def get_reader(path: str | list[str]) -> Callable[[str], list[LayerTuple]] | None:
    """Return the reader for one project, or None for anything else."""
    return read_project if isinstance(path, str) and path.rstrip("/\\").endswith(SUFFIX) else None


def read_project(path: str) -> list[LayerTuple]:
    """Return the layers of a project; none, and a notification, if that is not possible."""
    from napari_pml.store.project import Project
    from napari_pml.viewer.document.drawings import restored_layers

    nothing: list[LayerTuple] = [(None,)]  # type: ignore[list-item]  # napari's way to say so
    try:
        project = Project.open(path)
    except PmlError as error:
        show_error(str(error))
        return nothing
    autosave.remember(project.path)
    try:
        video = project.open_video()
    except PmlError as error:
        show_warning(
            f"{error} Then open Plugins > Segment video, which offers to restore the work."
            if isinstance(error, ProjectError)
            else str(error)
        )
        return nothing
    finally:
        project.close()
    data = video.as_layer_data()
    image = Image(data, name=Path(video.name).stem, rgb=data.ndim == 4, metadata={PROJECT: str(project.path)})
    restored = restored_layers(image, project.annotations, project.record.drawings, project.shown_masks())
    return [layer.as_layer_data_tuple() for layer in (image, *restored)]
