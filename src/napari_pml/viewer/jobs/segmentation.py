"""Background jobs of a video: open its session, segment the frame in view, propagate."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from psygnal import Signal

from napari_pml.viewer.document.document import VideoDocument
from napari_pml.viewer.jobs.preparation import Preparation
from napari_pml.viewer.jobs.problems import Problems
from napari_pml.viewer.jobs.progress import Learning, Progress
from napari_pml.viewer.jobs.runner import Runner

if TYPE_CHECKING:
    from napari_pml.methods.config import MethodConfig
    from napari_pml.methods.protocol import LearningProgress
    from napari_pml.types import FrameMask
    from napari_pml.viewer.document.session import SessionLike


@dataclass(frozen=True)
class _Opened:
    """Yielded by a job that has opened the session it needs."""

    session: SessionLike


class SegmentationJobs:
    """One job at a time; each new one replaces the one before.

    Attributes:
        propagating: whether the whole video is being segmented; a new stroke then only makes it start again.
        paused: whether the person stopped that before its end.
        progress: of the last propagation, and of what was segmented since.
        learning: of what is annotated, as long as the method has to; None otherwise.
        preparation: frames embedded ahead of time.
        config: the settings that were chosen, or None for the session's own.
        problems: what makes jobs fail.
        changed: emitted when the attributes may have changed.
        opened: emitted with a document whose session was opened.
        learned: emitted with a document that learned from another video, and the names of the objects there.
        network_changed: emitted with a document whose frames are embedded by another network.
        masks_changed: emitted with a document and the frame that has a new mask; None when all masks are gone.
        outpaced: emitted when a propagation ended after something was drawn that it did not see.
    """

    changed = Signal()
    opened = Signal(object)
    learned = Signal(object, object)
    network_changed = Signal(object)
    masks_changed = Signal(object, object)
    outpaced = Signal()

    def __init__(self, runner: Runner) -> None:
        """Begin idle; `runner` runs the jobs."""
        self._runner = runner
        self.propagating = self.paused = False
        self.progress: Progress | None = None
        self.learning: Learning | None = None
        self.problems = Problems()
        self.preparation = Preparation(runner, self.problems)
        self.preparation.changed.connect(self.changed.emit)
        self.config: MethodConfig | None = None
        self._opening: VideoDocument | None = None

    def open(self, document: VideoDocument) -> None:
        """Open a document's session and embed the frame in view, unless that is under way: it takes seconds."""
        if document is self._opening:
            return
        frame = document.frame

        def job() -> Iterator[_Opened]:
            session = yield from _opened_session(document)
            session.embed(frame)  # so that the first stroke need not wait for it

        def received(message: _Opened) -> None:
            document.begin_session(message.session)
            self.opened.emit(document)

        self._start(job, received, self._ended, opening=document)

    def transfer_from(self, document: VideoDocument, source: SessionLike | Path | None) -> None:
        """Let what is annotated on another video count for a document too, or nothing any more.

        Args:
            document: that learns.
            source: an open session, or the path of a project; None to forget what was learned.
        """

        def job() -> Iterator[_Opened | Mapping[int, str]]:
            from napari_pml.store.project import Project

            session = yield from _opened_session(document)
            if source is None:
                session.transfer_from()
                yield {}
            elif not isinstance(source, Path):
                session.transfer_from(source)
                yield source.project.record.names if source.project is not None else {}
            else:
                project = Project.open(source)
                try:
                    session.transfer_from(project)
                finally:
                    project.close()
                yield project.record.names

        self._start(job, self._once_open(document, partial(self.learned.emit, document)), self._ended)

    def use_network(self, document: VideoDocument, name: str, resolution: str) -> None:
        """Embed a document's video with another network, or in another resolution, the frame in view first."""
        frame = document.frame

        def job() -> Iterator[_Opened | str]:
            from napari_pml.embedding.registry import load_embedder

            session = yield from _opened_session(document)
            if name != session.embedder.name:
                session.embedder = load_embedder(name, session.device)
            session.resolution = resolution
            session.embed(frame)
            yield name

        self._start(job, self._once_open(document, lambda _: self.network_changed.emit(document)), self._ended)

    def segment(self, document: VideoDocument) -> None:
        """Segment the frame in view and, when propagating, all others."""
        session, t, whole, config = document.live_session, document.frame, self.propagating, self.config
        done = document.frames_done if config in (None, session.config) else 0  # other settings begin anew
        progress = Progress(len(session.video), done) if whole or self.progress is not None else None

        def job() -> Iterator[LearningProgress | FrameMask]:
            if config is not None:
                session.config = config
            yield from session.learn()
            if whole:
                yield from session.propagate(t)
            else:
                yield session.segment(t)

        def ended() -> None:
            outpaced = self.propagating and document.is_dirty  # drawn just before the last frame was finished
            self._ended()
            if outpaced:
                self.outpaced.emit()

        document.masks_removed = False
        self.progress = progress
        if whole:
            self.paused = False

        def received(result: LearningProgress | FrameMask) -> None:
            if document.session is session:  # or it was ended after the job had yielded this
                self._segmented(document, progress, result)

        self._start(job, received, ended)

    def settings(self, document: VideoDocument | None) -> MethodConfig | None:
        """Return the settings that a document is segmented with, as far as they are known."""
        session = document.session if document is not None else None
        return self.config or (session.config if session is not None else None)

    def clear(self, document: VideoDocument) -> None:
        """Delete a document's masks."""
        session = document.live_session

        def job() -> Iterator[None]:
            session.masks.clear()
            yield

        self.propagating, self.paused, self.progress = False, False, None
        self._start(job, lambda _: self.masks_changed.emit(document, None), self._ended)

    def soon(self, callback: Callable[[], object]) -> None:
        """Call back after a moment without further events, and postpone the preparation."""
        self.preparation.postpone()
        self._runner.soon(callback)

    def forget_problems(self) -> None:
        """Report every problem from now on as if it were new."""
        self.problems.clear()

    def pause(self) -> None:
        """Stop a propagation that will be resumed; finished frames stay."""
        self.cancel()
        self.paused = True
        self.changed.emit()

    def cancel(self) -> None:
        """Stop; finished frames stay."""
        self.stop()
        self.changed.emit()

    def stop(self) -> None:
        """Stop without emitting `changed`."""
        self.propagating = self.paused = False
        self.learning = None
        self._runner.quit()

    def _start(
        self,
        job: Callable[[], Iterator[Any]],
        receive: Callable[[Any], None],
        ended: Callable[[], None],
        opening: VideoDocument | None = None,
    ) -> None:
        self._opening, self.learning = opening, None
        self.preparation.replaced()
        self._runner.start(self.problems.watched("segmentation", job), receive, ended)
        self.changed.emit()

    def _once_open(self, document: VideoDocument, receive: Callable[[Any], object]) -> Callable[[Any], None]:
        """Return a receiver for a job that may open a session first."""

        def received(message: Any) -> None:
            if isinstance(message, _Opened):
                document.begin_session(message.session)
            else:
                receive(message)

        return received

    def _segmented(
        self, document: VideoDocument, progress: Progress | None, result: LearningProgress | FrameMask
    ) -> None:
        from napari_pml.methods.protocol import LearningProgress

        if isinstance(result, LearningProgress):
            self.learning = self.learning or Learning(result.total)
            self.learning.total, self.learning.done = result.total, result.done
            if result.loss is not None:
                self.learning.losses.append(result.loss)
        else:
            self.learning = None
            if progress is not None:
                progress.reached(document.frames_done)
            self.masks_changed.emit(document, result.t)
        self.changed.emit()

    def _ended(self) -> None:
        self._opening = self.learning = None
        self.propagating = False
        self.preparation.postpone()
        self.changed.emit()


def _opened_session(document: VideoDocument) -> Generator[_Opened, None, SessionLike]:
    """Return the document's session; yield it before if it had to be opened."""
    session = document.session
    if session is None:
        session = document.open_session()
        yield _Opened(session)
    return session
