"""What is computed: a session is opened, the frame in view segmented, the whole video propagated."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from napari_pml.viewer.document.track import Track, session_in
from napari_pml.viewer.jobs.preparation import Preparation
from napari_pml.viewer.jobs.problems import Problems
from napari_pml.viewer.jobs.progress import Learning, Progress

if TYPE_CHECKING:
    from napari_pml import FrameMask, Session
    from napari_pml.methods.config import MethodConfig
    from napari_pml.methods.protocol import LearningProgress


class Runner(Protocol):
    """What is needed of `Background`."""

    def start(
        self, job: Callable[[], Iterator[Any]], receive: Callable[[Any], None], ended: Callable[[], None]
    ) -> None:
        """Run a job in place of the one before."""

    def quit(self) -> None:
        """Stop the job at its next yield."""

    def soon(self, callback: Callable[[], None]) -> None:
        """Call back when things have been quiet for a moment."""

    def when_quiet(self, callback: Callable[[], None]) -> None:
        """Call back after a longer moment, if no job is running then."""


class Work:
    """One job at a time; each new one replaces the one before.

    Attributes:
        propagating: whether the whole video is being segmented; a new stroke then only makes it start again.
        paused: whether the person stopped that before its end.
        progress: of the last propagation, and of what was segmented since.
        learning: of what is annotated, as long as the method has to; None otherwise.
        preparation: what is done when nobody wants anything.
        config: the settings that were chosen, or None for the session's own.
        problems: what is in the way.
    """

    def __init__(
        self,
        runner: Runner,
        arrived: Callable[[Track, int | None], None],
        changed: Callable[[], None],
        go_on: Callable[[], None],
        in_view: Callable[[], tuple[Session, int] | None],
    ) -> None:
        """Begin idle.

        Args:
            runner: runs the jobs.
            arrived: called when frame t of a track has a new mask, or with None when all masks are gone.
            changed: called when the attributes may have changed.
            go_on: called when a propagation ended after something was drawn that it did not hear about.
            in_view: returns the session and the frame that are looked at, if there is one.
        """
        self._runner, self._arrived, self._changed, self._go_on = runner, arrived, changed, go_on
        self.propagating = self.paused = False
        self.progress: Progress | None = None
        self.learning: Learning | None = None
        self.preparation = Preparation(runner, in_view, changed, lambda job: self.problems.watched("preparation", job))
        self.problems = Problems()
        self.config: MethodConfig | None = None
        self._opening: Track | None = None

    def open(self, track: Track, t: int, then: Callable[[], None]) -> None:
        """Make a track's session and embed the frame in view, unless that is under way: it takes seconds."""
        if track is self._opening:
            return

        def received(session: Any) -> None:
            track.session = session
            track.dress()  # its project knows colours
            then()

        self._start(partial(track.open_session, t), received, self._ended, opening=track)

    def learn_from(self, track: Track, path: Path | None, then: Callable[[Mapping[int, str]], None]) -> None:
        """Let what is annotated in a project count for a track's video too, or nothing any more.

        Args:
            track: has a session.
            path: of the project of another video; None to forget it.
            then: called with the names of the objects there.
        """
        session = track.session

        def job() -> Iterator[Mapping[int, str]]:
            from napari_pml.store.project import Project

            if path is None:
                session.learn_from()
                yield {}
            elif (other := session_in(path)) is not None:
                session.learn_from(other)
                yield other.project.record.names
            else:
                project = Project.open(path)
                try:
                    session.learn_from(project)
                finally:
                    project.close()
                yield project.record.names

        self._start(job, then, self._ended)

    def use_network(self, track: Track, name: str, t: int, then: Callable[[], None]) -> None:
        """Embed a track's video with another network from now on, frame `t` first; see `load_embedder`."""
        session = track.session

        def job() -> Iterator[None]:
            from napari_pml.embedding.embedder import load_embedder

            session.embedder = load_embedder(name, session.device)
            _ = session.embeddings[t]
            yield

        self._start(job, lambda _: then(), self._ended)

    def segment(self, track: Track, t: int) -> None:
        """Segment the frame in view and, when propagating, all others."""
        session, whole, config = track.session, self.propagating, self.config
        done = track.frames_done if config in (None, session.config) else 0  # other settings begin anew
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
            unheard = self.propagating and track.has_news  # drawn just before the last frame was finished
            self._ended()
            if unheard:
                self._go_on()

        track.masks_removed = False
        self.progress = progress
        if whole:
            self.paused = False
        self._start(job, lambda result: self._received(track, progress, result), ended)

    def settings(self, track: Track | None) -> MethodConfig | None:
        """Return what a track is segmented with, as far as that is known."""
        return self.config or (track.session.config if track is not None and track.session is not None else None)

    def clear(self, track: Track) -> None:
        """Throw a track's masks away."""
        session = track.session

        def job() -> Iterator[None]:
            session.masks.clear()
            yield

        self.propagating, self.paused, self.progress = False, False, None
        self._start(job, lambda _: self._arrived(track, None), self._ended)

    def soon(self, callback: Callable[[], None]) -> None:
        """Call back when things have been quiet for a moment: something has happened that may want work."""
        self.preparation.postpone()
        self._runner.soon(callback)

    def forget_problems(self) -> None:
        """Tell the person of everything that is in the way from now on, as if they had never heard of it."""
        self.problems = Problems()

    def pause(self) -> None:
        """Stop a propagation that will be resumed; finished frames stay."""
        self.cancel()
        self.paused = True
        self._changed()

    def cancel(self) -> None:
        """Stop; finished frames stay."""
        self.stop()
        self._changed()

    def stop(self) -> None:
        """Stop where nobody is left to see it."""
        self.propagating = self.paused = False
        self.learning = None
        self._runner.quit()

    def _start(
        self,
        job: Callable[[], Iterator[Any]],
        receive: Callable[[Any], None],
        ended: Callable[[], None],
        opening: Track | None = None,
    ) -> None:
        self._opening, self.learning = opening, None
        self.preparation.replaced()
        self._runner.start(self.problems.watched("work", job), receive, ended)
        self._changed()

    def _received(self, track: Track, progress: Progress | None, result: LearningProgress | FrameMask) -> None:
        from napari_pml.methods.protocol import LearningProgress

        if isinstance(result, LearningProgress):
            self.learning = self.learning or Learning(result.total)
            self.learning.total, self.learning.done = result.total, result.done
            if result.loss is not None:
                self.learning.losses.append(result.loss)
        else:
            self.learning = None
            if progress is not None:
                progress.reached(track.frames_done)
            self._arrived(track, result.t)
        self._changed()

    def _ended(self) -> None:
        self._opening = self.learning = None
        self.propagating = False
        self.preparation.postpone()
        self._changed()
