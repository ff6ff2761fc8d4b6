"""How far the segmentation of a video is, and how long the rest will take."""

from __future__ import annotations

import time
from dataclasses import dataclass, field


@dataclass
class Progress:
    """Frames done, of all frames.

    Attributes:
        total: frames of the video.
        at_start: of these, frames that were done before.
        done: frames that are done now.
        started: time.monotonic() when the work began.
    """

    total: int
    at_start: int
    done: int = field(init=False)
    started: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self.done = self.at_start

    @property
    def per_second(self) -> float | None:
        """How many frames became done in a second so far; None if it is too early to say."""
        finished = self.done - self.at_start
        return None if finished < 2 else finished / (time.monotonic() - self.started)

    @property
    def counted(self) -> str:
        """How many frames are done."""
        return f"{self.done} of {self.total} frames"

    def __str__(self) -> str:
        pace = self.per_second
        if pace is None or self.done == self.total:
            return self.counted
        minutes, seconds = divmod(round((self.total - self.done) / pace), 60)
        return f"{self.counted}, {pace:.1f} per second, {f'{minutes} min ' if minutes else ''}{seconds} s left"
