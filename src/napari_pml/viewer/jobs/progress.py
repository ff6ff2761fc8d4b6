"""Progress of a segmentation, and the time left."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

_BARS = "▁▂▃▄▅▆▇█"
_BARS_SHOWN = 24


@dataclass
class Progress:
    """Frames done, of all frames.

    The pace is that between the frames that one job finished: what it did before the first, such as learning, and what
    earlier jobs did, says nothing about the rest.

    Attributes:
        total: frames of the video.
        done: frames that are done now.
        at_start: of these, frames that were done with the first that the job finished; None before.
        started: time.monotonic() then.
    """

    total: int
    done: int
    at_start: int | None = None
    started: float = 0

    def reached(self, done: int) -> None:
        """Note that the job has finished a frame, and how many are done now."""
        if self.at_start is None:
            self.at_start, self.started = done, time.monotonic()
        self.done = done

    @property
    def per_second(self) -> float | None:
        """Frames finished per second so far; None if it is too early to say."""
        finished = 0 if self.at_start is None else self.done - self.at_start
        return None if finished < 2 else finished / (time.monotonic() - self.started)

    @property
    def counted(self) -> str:
        """Number of finished frames as text."""
        return f"{self.done} of {self.total} frames"

    def __str__(self) -> str:
        pace = self.per_second
        if pace is None or self.done == self.total:
            return self.counted
        return f"{self.counted}, {pace:.1f} per second, {spoken((self.total - self.done) / pace)} left"


def spoken(seconds: float) -> str:
    """Return a duration in words, such as "2 min 5 s"."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


@dataclass
class Learning:
    """How far a method is in learning what is annotated; shown like `Progress`.

    Attributes:
        total: steps in all.
        done: steps taken.
        losses: one for every step that was heard of, where there are losses.
    """

    total: int
    done: int = 0
    losses: list[float] = field(default_factory=list)

    @property
    def counted(self) -> str:
        """Number of steps taken as text."""
        return f"learning, step {self.done} of {self.total}"

    def __str__(self) -> str:
        return f"{self.counted} {curve(self.losses)} {self.losses[-1]:.3f}" if self.losses else self.counted


def curve(values: Sequence[float]) -> str:
    """Draw a curve of at most 24 characters, each the mean of its share of the values; the lowest bar is 0."""
    if not values:
        return ""
    n = min(_BARS_SHOWN, len(values))
    bounds = [len(values) * i // n for i in range(n + 1)]
    means = [sum(values[a:b]) / (b - a) for a, b in pairwise(bounds)]
    top = max(means) or 1.0
    return "".join(_BARS[min(len(_BARS) - 1, int(len(_BARS) * max(0.0, mean) / top))] for mean in means)
