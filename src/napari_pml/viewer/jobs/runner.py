"""The interface of a job runner: a worker thread in the window, the calling thread in tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Protocol


class Runner(Protocol):
    """Runs one job at a time, as `Background` does."""

    def start(
        self, job: Callable[[], Iterator[Any]], receive: Callable[[Any], None], ended: Callable[[], None]
    ) -> None:
        """Run a job in place of the one before."""

    def quit(self) -> None:
        """Stop the job at its next yield."""

    def soon(self, callback: Callable[[], object]) -> None:
        """Call back after a moment without further calls."""

    def when_quiet(self, callback: Callable[[], None]) -> None:
        """Call back after about a second, if no job is running then."""
