"""What runs jobs: a worker thread in the window, this thread in tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Protocol


class Runner(Protocol):
    """What is needed of `Background`."""

    def start(
        self, job: Callable[[], Iterator[Any]], receive: Callable[[Any], None], ended: Callable[[], None]
    ) -> None:
        """Run a job in place of the one before."""

    def quit(self) -> None:
        """Stop the job at its next yield."""

    def soon(self, callback: Callable[[], object]) -> None:
        """Call back when things have been quiet for a moment."""

    def when_quiet(self, callback: Callable[[], None]) -> None:
        """Call back after a longer moment, if no job is running then."""
