"""What frames and pixels are in the world."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Calibration:
    """How long a frame lasts and how large a pixel is, as far as that is known.

    Attributes:
        frame: seconds from one frame to the next, or None.
        pixel: (height, width) of a pixel in units of length, or None.
        unit: of length, such as "micrometer"; it names columns.
    """

    frame: float | None = None
    pixel: tuple[float, float] | None = None
    unit: str = "unit"
