"""A propagation in the activity dock of napari's window."""

from __future__ import annotations

from napari.utils import progress

from napari_pml.viewer.progress import Progress


class Activity:
    """One bar, which is there while a propagation runs."""

    def __init__(self) -> None:
        self._bar: progress | None = None

    def show(self, running: Progress | None) -> None:
        """Show how far a propagation is, or that none is running."""
        if running is None:
            if self._bar is not None:
                self._bar.close()
            self._bar = None
            return
        if self._bar is None:
            self._bar = progress(total=running.total, desc="Propagating", leave=False)
        self._bar.update(running.done - self._bar.n)
