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
    def seconds_left(self) -> float | None:
        """How long the remaining frames will take at the pace so far; None if it is too early to say."""
        finished = self.done - self.at_start
        if finished < 2:
            return None
        return (time.monotonic() - self.started) / finished * (self.total - self.done)

    def __str__(self) -> str:
        text = f"{self.done} of {self.total} frames"
        left = self.seconds_left
        if left is None or self.done == self.total:
            return text
        minutes, seconds = divmod(round(left), 60)
        return f"{text}, {f'{minutes} min ' if minutes else ''}{seconds} s left"
