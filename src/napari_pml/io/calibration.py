"""The physical size of pixels and the time of frames."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Calibration:
    """When a frame was taken and how large a pixel is, as far as that is known.

    Attributes:
        frame: seconds from one frame to the next, or None.
        pixel: (height, width) of a pixel in units of length, or None.
        unit: of length, such as "micrometer"; it names columns.
        times: of every frame, in seconds since the first, where they are known one by one, which need not be evenly
            spaced; `frame` does not count then.
        damaged: frames that could not be decoded, so that a neighbour was taken for them.
    """

    frame: float | None = None
    pixel: tuple[float, float] | None = None
    unit: str = "unit"
    times: Sequence[float] | None = None
    damaged: Collection[int] = ()

    def time_of(self, t: int) -> float | None:
        """Return the seconds from the first frame to frame `t`, or None if that is not known."""
        if self.times is not None:
            return self.times[t]
        return None if self.frame is None else t * self.frame
