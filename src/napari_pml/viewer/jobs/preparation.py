"""What is done when nobody wants anything: frames are embedded, so that later strokes need not wait for it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from napari_pml.viewer.jobs.problems import Job

if TYPE_CHECKING:
    from napari_pml import Session
    from napari_pml.viewer.jobs.work import Runner


class Preparation:
    """A job that gives way to everything else, at the latest when the frame that is under way is embedded.

    Attributes:
        progress: how many frames are embedded, and how many will be; None while nothing is prepared.
    """

    def __init__(
        self,
        runner: Runner,
        in_view: Callable[[], tuple[Session, int] | None],
        changed: Callable[[], None],
        watched: Callable[[Job], Job],
    ) -> None:
        """Begin idle.

        Args:
            runner: runs the job.
            in_view: returns the session and the frame that are looked at, if there is one.
            changed: called when `progress` has changed.
            watched: notes of a job what is in its way.
        """
        self._runner, self._in_view, self._changed, self._watched = runner, in_view, changed, watched
        self.progress: tuple[int, int] | None = None
        self._running = False

    def postpone(self) -> None:
        """Stop, and begin (again) when nothing happens for a while."""
        if self._running:
            self._runner.quit()
        self._runner.when_quiet(self._begin)

    def replaced(self) -> None:
        """Take note that another job has begun."""
        self.progress, self._running = None, False

    def _begin(self) -> None:
        found = self._in_view()
        if found is not None:
            session, t = found
            self._running = True
            self._runner.start(self._watched(partial(session.prepare, t)), self._show, self._ended)

    def _show(self, progress: tuple[int, int]) -> None:
        if self._running:  # a job that was replaced had yielded this
            self.progress = progress
            self._changed()

    def _ended(self) -> None:
        self.replaced()
        self._changed()
