"""A propagation in the activity dock of napari's window."""

from __future__ import annotations

from contextlib import suppress

from napari.utils import progress
from qtpy.QtCore import QObject, QTimer

from napari_pml.viewer.jobs.progress import Progress

_INTERVAL_MS = 500


class Activity(QObject):
    """One bar, which is there while a propagation runs.

    napari processes all waiting events whenever such a bar changes. So it changes in a timer's event of its own, never
    in the middle of something else.
    """

    def __init__(self) -> None:
        super().__init__()
        self._running: Progress | None = None
        self._bar: progress | None = None
        self._timer = QTimer(self, singleShot=True, interval=_INTERVAL_MS)
        self._timer.timeout.connect(self._update)

    def show(self, running: Progress | None) -> None:
        """Show soon how far a propagation is, or that none is running."""
        self._running = running
        if (running or self._bar) and not self._timer.isActive():
            self._timer.start()

    def close(self) -> None:
        """Take the bar away at once."""
        with suppress(RuntimeError):  # when a process ends with its window open, Qt may have deleted it already
            self._timer.stop()
        if self._bar is not None:
            self._bar.close()
        self._bar = None

    def _update(self) -> None:
        running = self._running
        if running is None:
            self.close()
            return
        if self._bar is None:
            self._bar = progress(total=running.total, desc="Propagating", leave=False)
        self._bar.update(running.done - self._bar.n)
