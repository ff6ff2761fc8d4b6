"""Between two annotated frames: masks that spread from either side become one."""

from __future__ import annotations

import zlib
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from napari_pml.types import CONFIDENCE_STRIDE, FrameMask


class PackedMasks:
    """Masks of many frames in little memory."""

    def __init__(self) -> None:
        self._masks: dict[int, tuple[FrameMask, bytes]] = {}

    def put(self, mask: FrameMask) -> None:
        """Keep a mask."""
        empty = replace(mask, labels=np.empty(mask.labels.shape, np.uint16)[:0])
        self._masks[mask.t] = empty, zlib.compress(mask.labels.tobytes(), 1)

    def pop(self, t: int) -> FrameMask | None:
        """Return the mask of frame t and forget it; None if there is none."""
        found = self._masks.pop(t, None)
        if found is None:
            return None
        mask, packed = found
        return replace(mask, labels=np.frombuffer(zlib.decompress(packed), np.uint16).reshape(-1, mask.labels.shape[1]))


def blend(mask: FrameMask, other: FrameMask, share: float) -> FrameMask:
    """Unite two masks of one frame: where they differ, the one counts that is surer and comes from nearer.

    Args:
        mask: whose frame and revision the result has.
        other: found from the other side.
        share: how much `mask` counts, 0 to 1; the other counts the rest.

    Returns:
        A mask whose confidence is the mean of both where they agree; where they differ, it is what the two leave of it.
    """
    ours, theirs = share * mask.confidence, (1 - share) * other.confidence
    differ = mask.labels != other.labels
    if not differ.any():
        return replace(mask, confidence=ours + theirs)
    height, width = mask.labels.shape
    yields = np.repeat(np.repeat(theirs > ours, CONFIDENCE_STRIDE, 0), CONFIDENCE_STRIDE, 1)[:height, :width]
    return replace(
        mask,
        labels=np.where(differ & yields, other.labels, mask.labels),
        confidence=np.where(_any_in_cells(differ, ours.shape), np.maximum(ours, theirs), ours + theirs),
    )


def _any_in_cells(pixels: NDArray[np.bool_], grid: tuple[int, ...]) -> NDArray[np.bool_]:
    """Return in which cells of (h, w) any of the (H, W) pixels is set."""
    found = np.zeros(grid, bool)
    rows, columns = np.nonzero(pixels)
    found[rows // CONFIDENCE_STRIDE, columns // CONFIDENCE_STRIDE] = True
    return found
