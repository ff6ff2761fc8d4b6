"""What every kind of source offers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray


class Frames(Protocol):
    """A source of frames. Only shape, dtype and reading are required; what a source does not know stays as it is here.

    Attributes:
        shape: (T, H, W, C).
        dtype: of the stored intensities.
        fps: frames per second, on average.
        times: when each frame is shown, in seconds since the first; None where the source does not say.
        key_frames: the frames that can be read without decoding others, in order; None for all.
        sizes: of every frame as it is stored, in bytes; empty where frames are not compressed.
        pixel: (height, width) of a pixel in units of length, or None.
        unit: of length, such as "micrometer".
    """

    shape: tuple[int, int, int, int]
    dtype: np.dtype[Any]
    fps: float = 10.0
    times: Sequence[float] | None = None
    key_frames: Sequence[int] | None = None
    sizes: Sequence[int] = ()
    pixel: tuple[float, float] | None = None
    unit: str = "unit"

    def read(self, t: int) -> NDArray[np.generic]:
        """Return frame `t`, 0..T-1, as (H, W, C); DamagedFrameError if this one alone cannot be had."""
        ...
