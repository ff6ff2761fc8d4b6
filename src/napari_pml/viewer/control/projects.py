"""The projects of the chosen video: earlier work is offered and restored, the present work moved elsewhere."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from napari.layers import Image

from napari_pml.errors import VideoError
from napari_pml.viewer.control.controller import Controller
from napari_pml.viewer.document import autosave
from napari_pml.viewer.document.autosave import Saved
from napari_pml.viewer.document.drawings import restored_layers
from napari_pml.viewer.document.inputs import inputs_of
from napari_pml.viewer.document.lazy_frames import MaskFrames
from napari_pml.viewer.document.prompts import video_data, video_shape
from napari_pml.viewer.document.track import Track
from napari_pml.viewer.jobs.work import Runner


class Projects:
    """What a person can do with projects; called in the main thread, slow work is a job for a runner of its own.

    Attributes:
        offer: earlier work on the chosen video, or None.
        saving: whether the work is being copied to another place.
    """

    def __init__(self, controller: Controller, runner: Runner, changed: Callable[[], None]) -> None:
        """Look after the projects of the video that `controller` has chosen; say so when anything has `changed`."""
        self._controller, self._runner, self._changed = controller, runner, changed
        self._looked_at: Image | None = None
        self.offer: Saved | None = None
        self.saving = False

    def look(self) -> None:
        """Look for earlier work, if another video was chosen since the last time."""
        track = self._controller.track
        image = track.image if track is not None else None
        if image is self._looked_at:
            return
        self._looked_at, self.offer = image, None
        if track is None or track.session is not None or autosave.PROJECT in track.image.metadata:
            return
        self._runner.start(partial(_earlier_work, track.image), partial(self._found, track.image), self._changed)

    def restore(self) -> None:
        """Go on with the work that is offered; what was drawn since stays, as layers that do not count."""
        offer, track = self.offer, self._controller.track
        if offer is not None and track is not None:
            self._runner.start(partial(_read, offer), partial(self._restore, offer, track), self._changed)

    def save_as(self, path: Path) -> None:
        """Copy the work to a new project at `path`, and go on there."""
        track = self._controller.track
        if track is not None and track.session is not None:
            self.saving = True
            inputs = inputs_of(self._controller.viewer.layers)
            self._runner.start(partial(_move, track, path, inputs), partial(self._moved, track), self._ended)
            self._changed()

    def _found(self, image: Image, saved: Saved | None) -> None:
        if image is self._looked_at:
            self.offer = saved
            self._changed()

    def _restore(self, offer: Saved, track: Track, found: tuple[Any, Any, Any]) -> None:
        controller, image = self._controller, track.image
        if track is not controller.track:
            return
        shown = controller.viewer.layers
        empty = [layer for layer in track.sources if track.is_empty(layer)]
        drawn = [layer for layer in track.sources if layer not in empty]
        controller.forget(track)
        controller.work.config = None  # the project has its own settings
        for layer in [*empty, track.masks]:
            if layer in shown:
                shown.remove(layer)
        for layer in drawn:
            layer.visible = False
        image.metadata = image.metadata | {autosave.PROJECT: str(offer.path)}
        for layer in restored_layers(image, *found):
            controller.viewer.add_layer(layer)
        self.offer = None
        controller.choose_image(image)
        controller.draw_with("brush")

    def _moved(self, track: Track, old: Any) -> None:
        if track.masks is not None:
            track.masks.data = MaskFrames(track.session)
            track.masks.editable = False
        autosave.remember(track.session.project.path)
        if old is not None:
            old.close()
            if old.path.parent == autosave.folder():  # all of it is in the new project
                shutil.rmtree(old.path, ignore_errors=True)

    def _ended(self) -> None:
        self.saving = False
        self._changed()


def _earlier_work(image: Image) -> Iterator[Saved]:
    saved = autosave.find(video_shape(image))
    if not saved:
        return
    from napari_pml import open_video  # imports torch
    from napari_pml.store.project import changed_frame, fingerprint, is_free

    try:
        video = open_video(video_data(image), channel_axis=3 if image.rgb else None)
        content = fingerprint(video)
    except VideoError:
        return  # who begins to work on it will be told
    of_this = (s for s in saved if s.record.fingerprint == content and changed_frame(video, s.record) is None)
    yield from [s for s in of_this if is_free(s.path)][:1]


def _read(offer: Saved) -> Iterator[tuple[Any, Any, Any]]:
    from napari_pml.store.project import Project

    project = Project.open(offer.path)
    project.close()  # the session opens it again
    yield project.annotations, project.record.drawings, project.shown_masks()


def _move(track: Track, path: Path, inputs: Iterable[Path]) -> Iterator[Any]:
    from napari_pml.io.destination import Inputs
    from napari_pml.store.project import Project

    Inputs(inputs).check(path)
    session = track.session
    old = session.project
    new = Project.create(path, session.video, track.image.source.path or (old and old.record.path))
    session.keep_in(new)
    yield old
