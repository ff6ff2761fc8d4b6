"""What is in the way of the work on a video: told once, and shown until it is over."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from napari_pml.errors import PmlError

Job = Callable[[], Iterator[Any]]


class Problems:
    """Whatever a person does begins a job, and a frame that cannot be read lets all of them fail with the same words.

    Jobs run one at a time, in another thread than the one that asks for the text.
    """

    def __init__(self) -> None:
        """Begin without any."""
        self._now: dict[str, str] = {}  # kind of job -> why the last one failed; replaced, never changed
        self._told: set[str] = set()

    def __str__(self) -> str:
        """Return what is in the way now; nothing if nothing is."""
        return "\n".join(dict.fromkeys(self._now.values()))

    def watched(self, kind: str, job: Job) -> Job:
        """Return the same job, which ends in an error only if the person has not been told of it yet.

        Args:
            kind: of job; what is in the way of one kind is over when a job of that kind gets to its end.
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
