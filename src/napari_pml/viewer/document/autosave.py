"""Automatic saving: a project for every video, in the user's data folder."""

from __future__ import annotations

import os
import re
import shutil
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from napari.layers import Image
from napari.utils.notifications import show_warning
from platformdirs import user_data_path

from napari_pml.errors import PmlError
from napari_pml.store.project_record import SUFFIX, ProjectRecord
from napari_pml.viewer.document.metadata import PROJECT

if TYPE_CHECKING:
    from napari_pml.store.project import Project
    from napari_pml.video.video import Video

_ELSEWHERE = "elsewhere.txt"  # in the folder: the paths of projects that lie in other places, one a line


@dataclass(frozen=True)
class Saved:
    """A project that may be restored.

    Attributes:
        path: of its folder.
        record: what it holds.
        date: when something was last changed in it.
    """

    path: Path
    record: ProjectRecord
    date: datetime


def folder() -> Path:
    """Return the folder of automatically saved projects."""
    return user_data_path("napari-pml", appauthor=False) / "projects"


def find(shape: tuple[int, int, int]) -> list[Saved]:
    """Return the projects with annotations of videos of shape (T, H, W), the latest first."""
    found = [saved for saved in _all() if saved.record.shape == shape and saved.record.frames]
    return sorted(found, key=lambda saved: saved.date, reverse=True)


def remember(path: Path) -> None:
    """Remember a project in another place, so that it is offered when its video is opened."""
    with suppress(OSError):
        folder().mkdir(parents=True, exist_ok=True)
        with (folder() / _ELSEWHERE).open("a", encoding="utf-8") as places:
            places.write(f"{path}\n")


def project_for(image: Image, video: Video) -> Project | None:
    """Open the project that an image layer came from, or make one; a job for the background.

    Returns:
        The project, or None if the disk refuses; the person has then been told.
    """
    from napari_pml.store.project import Project  # imports torch

    path = image.metadata.get(PROJECT)
    if path is not None:
        try:
            project = Project.open(path)
            project.check(video)
            return project
        except PmlError as error:
            show_warning(f"{error} What you do from now on is saved in a new project.")
    try:
        _remove_empty()
        title = re.sub(r"[^\w .-]", " ", image.name)[:80]  # what every file system takes
        name = f"{title} {datetime.now():%Y-%m-%d %H-%M-%S.%f} {os.getpid()}{SUFFIX}"
        return Project.create(folder() / name, video, image.source.path)
    except PmlError as error:
        show_warning(f"Your work is not being saved. {error}")
        return None


def _all() -> list[Saved]:
    places = folder() / _ELSEWHERE
    elsewhere = places.read_text(encoding="utf-8").splitlines() if places.is_file() else []
    found = []  # names with a dot are of projects in the making
    for path in [*folder().glob("[!.]*"), *map(Path, dict.fromkeys(elsewhere))]:
        try:
            record = ProjectRecord.read(path)
            changed = (path / "zarr.json").stat().st_mtime
        except (PmlError, OSError):
            continue  # unfinished, damaged or gone
        found.append(Saved(path, record, datetime.fromtimestamp(changed)))
    return found


def _remove_empty() -> None:
    """Remove projects of videos that were opened but never annotated."""
    from napari_pml.store.project import is_free

    for saved in _all():
        if not saved.record.frames and saved.path.parent == folder() and is_free(saved.path):
            shutil.rmtree(saved.path, ignore_errors=True)
