"""Projects of the chosen video: offer and restore earlier work, save the present work elsewhere."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from napari.layers import Image
from psygnal import Signal

from napari_pml.errors import VideoError
from napari_pml.viewer.control.controller import Controller
from napari_pml.viewer.document import autosave
from napari_pml.viewer.document.autosave import Saved
from napari_pml.viewer.document.document import VideoDocument
from napari_pml.viewer.document.drawings import restored_layers
from napari_pml.viewer.document.inputs import inputs_of
from napari_pml.viewer.document.lazy_frames import MaskFrames
from napari_pml.viewer.document.metadata import PROJECT
from napari_pml.viewer.document.prompts import video_data, video_shape
from napari_pml.viewer.jobs.runner import Runner


class Projects:
    """Restores and moves projects. Call it from the main thread; slow work is a job of its own runner.

    Attributes:
        offer: earlier work on the chosen video, or None.
        saving: whether the work is being copied to another place.
        changed: emitted when one of these has changed.
    """

    changed = Signal()

    def __init__(self, controller: Controller, runner: Runner) -> None:
        """Look after the projects of the video that `controller` has chosen; `runner` runs the slow work."""
        self._controller, self._runner = controller, runner
        self._looked_at: Image | None = None
        self.offer: Saved | None = None
        self.saving = False

    def look(self) -> None:
        """Look for earlier work, if another video was chosen since the last time."""
        document = self._controller.document
        image = document.image if document is not None else None
        if image is self._looked_at:
            return
        self._looked_at, self.offer = image, None
        if document is None or document.session is not None or PROJECT in document.image.metadata:
            return
        self._runner.start(
            partial(_earlier_work, document.image), partial(self._found, document.image), self.changed.emit
        )

    def restore(self) -> None:
        """Continue the offered work. Layers drawn since then stay, but do not count as annotations."""
        offer, document = self.offer, self._controller.document
        if offer is not None and document is not None:
            self._runner.start(partial(_read, offer), partial(self._restore, offer, document), self.changed.emit)

    def save_as(self, path: Path) -> None:
        """Copy the work to a new project at `path`, and go on there."""
        document = self._controller.document
        if document is not None and document.session is not None:
            self.saving = True
            inputs = inputs_of(self._controller.viewer.layers)
            self._runner.start(partial(_move, document, path, inputs), partial(self._moved, document), self._ended)
            self.changed.emit()

    def _found(self, image: Image, saved: Saved | None) -> None:
        if image is self._looked_at:
            self.offer = saved
            self.changed.emit()

    def _restore(self, offer: Saved, document: VideoDocument, found: tuple[Any, Any, Any]) -> None:
        controller, image = self._controller, document.image
        if document is not controller.document:
            return
        shown = controller.viewer.layers
        empty = [layer for layer in document.sources if document.sources.is_empty(layer)]
        drawn = [layer for layer in document.sources if layer not in empty]
        controller.forget(document)
        controller.jobs.config = None  # the project has its own settings
        for layer in [*empty, document.masks]:
            if layer in shown:
                shown.remove(layer)
        for layer in drawn:
            layer.visible = False
        image.metadata = image.metadata | {PROJECT: str(offer.path)}
        for layer in restored_layers(image, *found):
            controller.viewer.add_layer(layer)
        self.offer = None
        controller.choose_image(image)
        controller.draw_with("brush")

    def _moved(self, document: VideoDocument, old: Any) -> None:
        if document.masks is not None:
            document.masks.data = MaskFrames(document.live_session)
            document.masks.editable = False
        project = document.live_session.project
        assert project is not None
        autosave.remember(project.path)
        if old is not None:
            old.close()
            if old.path.parent == autosave.folder():  # all of it is in the new project
                shutil.rmtree(old.path, ignore_errors=True)

    def _ended(self) -> None:
        self.saving = False
        self.changed.emit()


def _earlier_work(image: Image) -> Iterator[Saved]:
    saved = autosave.find(video_shape(image))
    if not saved:
        return
    from napari_pml import open_video  # imports torch
    from napari_pml.store.project import is_free
    from napari_pml.video.fingerprint import changed_frame, fingerprint

    try:
        video = open_video(video_data(image), channel_axis=3 if image.rgb else None)
        content = fingerprint(video)
    except VideoError:
        return  # who begins to work on it will be told
    same = (s for s in saved if s.record.fingerprint == content)
    unchanged = (s for s in same if changed_frame(video, s.record.later, s.record.sizes) is None)
    yield from [s for s in unchanged if is_free(s.path)][:1]


def _read(offer: Saved) -> Iterator[tuple[Any, Any, Any]]:
    from napari_pml.store.project import Project

    project = Project.open(offer.path)
    project.close()  # the session opens it again
    yield project.annotations, project.record.drawings, project.shown_masks()


def _move(document: VideoDocument, path: Path, inputs: Iterable[Path]) -> Iterator[Any]:
    from napari_pml.io.destination import Inputs
    from napari_pml.store.project import Project

    Inputs(inputs).check(path)
    session = document.live_session
    old = session.project
    new = Project.create(path, session.video, document.image.source.path or (old.record.path if old else None))
    session.keep_in(new)
    yield old
