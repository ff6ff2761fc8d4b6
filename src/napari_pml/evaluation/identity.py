"""How well cells are followed: each one's IoU under its own number, and how many keep that number.

The cells of the first frame are given. On every later frame each of those that the truth still shows is compared with
the mask of its own number; a cell that divides or leaves is a cell no longer, since its daughters have other numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_pml.types import Labels

FOUND = 0.5
"""IoU from which on a cell counts as found, as in SEG of the Cell Tracking Challenge."""


@dataclass(frozen=True)
class CellIdentity:
    """How well the cells of frame 0 are followed.

    Attributes:
        ious: (T, N) float64, IoU of each cell of frame 0 with the mask of its own number; NaN from the frame on from
            which the truth does not show it.
    """

    ious: NDArray[np.float64]

    def iou(self, last: int) -> float:
        """Return the mean IoU over all cells on frames 1 to `last`."""
        return float(np.nanmean(self.ious[1 : last + 1]))

    def identity(self, last: int) -> float:
        """Return the share of cells on frames 1 to `last` whose IoU is at least `FOUND`."""
        return _share_found(self.ious[1 : last + 1])

    def identity_on(self, t: int) -> float:
        """Return the share of cells on frame `t` whose IoU is at least `FOUND`."""
        return _share_found(self.ious[t])


def follow(masks: Sequence[Labels], truth: Sequence[Labels]) -> CellIdentity:
    """Compare masks with the truth.

    Args:
        masks: T label images of one size, (H, W), 0 the background.
        truth: the same, with an object for every track; the objects on frame 0 are followed.
    """
    ids = np.unique(truth[0])[1:]
    ious = np.full((len(truth), len(ids)), np.nan)
    present = np.ones(len(ids), bool)
    for t, (found, true) in enumerate(zip(masks, truth, strict=True)):
        n_true, n_found, n_both = (
            np.bincount(labels.ravel(), minlength=65536)[ids]
            for labels in (true, found, np.where(true == found, true, 0))
        )
        present &= n_true > 0
        ious[t, present] = (n_both / np.maximum(1, n_true + n_found - n_both))[present]
    return CellIdentity(ious)


def _share_found(ious: NDArray[np.float64]) -> float:
    known = ious[~np.isnan(ious)]
    return float((known >= FOUND).mean()) if len(known) else float("nan")
