"""Problems that make jobs fail: each is reported once, and shown until it is over."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from napari_pml.errors import PmlError

Job = Callable[[], Iterator[Any]]


class Problems:
    """One unreadable frame makes every job fail identically; it is reported once.

    Jobs run one at a time, in another thread than the one that asks for the text.
    """

    def __init__(self) -> None:
        """Begin without any."""
        self.clear()

    def clear(self) -> None:
        """Forget all problems: each is reported again."""
        self._now: dict[str, str] = {}  # kind of job -> why the last one failed; replaced, never changed
        self._told: set[str] = set()

    def __str__(self) -> str:
        """Return the present problems, a line each."""
        return "\n".join(dict.fromkeys(self._now.values()))

    def watched(self, kind: str, job: Job) -> Job:
        """Return a job that raises only errors that have not been reported yet.

        Args:
            kind: of job; its problem is over when a job of that kind runs to its end.
            job: generator function.
        """

        def run() -> Iterator[Any]:
            others = {other: why for other, why in self._now.items() if other != kind}
            try:
                yield from job()
            except Exception as error:
                why = str(error) if isinstance(error, PmlError) else f"{type(error).__name__}: {error}"
                self._now = others | {kind: why}
                if why not in self._told:
                    self._told.add(why)
                    raise
            else:
                self._now = others

        return run
