"""Precompute embeddings while the user is idle."""

from __future__ import annotations

from functools import partial

from psygnal import Signal

from napari_pml.viewer.document.document import VideoDocument
from napari_pml.viewer.jobs.problems import Problems
from napari_pml.viewer.jobs.runner import Runner


class Preparation:
    """A job that yields to every other one, at the latest after the present frame.

    Attributes:
        document: whose frames are embedded, from the one in view outward; None for nobody's.
        progress: how many frames are embedded, and how many will be; None while nothing is prepared.
        changed: emitted when `progress` has changed.
    """

    changed = Signal()

    def __init__(self, runner: Runner, problems: Problems) -> None:
        """Begin idle.

        Args:
            runner: runs the job.
            problems: told of what makes it fail.
        """
        self._runner, self._problems = runner, problems
        self.document: VideoDocument | None = None
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
        session = self.document.session if self.document is not None else None
        if self.document is not None and session is not None:
            job = partial(session.prepare, self.document.frame)
            self._running = True
            self._runner.start(self._problems.watched("preparation", job), self._show, self._ended)

    def _show(self, progress: tuple[int, int]) -> None:
        if self._running:  # a job that was replaced had yielded this
            self.progress = progress
            self.changed.emit()

    def _ended(self) -> None:
        self.replaced()
        self.changed.emit()
