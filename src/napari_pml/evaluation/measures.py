"""Region similarity J, boundary accuracy F, and their statistics, as the DAVIS benchmark defines them.

Perazzi et al., "A benchmark dataset and evaluation methodology for video object segmentation", CVPR 2016,
section 5; for several objects Pont-Tuset et al., "The 2017 DAVIS challenge", 2017.
The published numbers of every frame are reproduced.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial import cKDTree

from napari_pml.errors import DatasetError
from napari_pml.types import Labels

BOUNDARY_TOLERANCE = 0.008
"""How far a boundary pixel may be off: a share of the image diagonal, rounded up to pixels (DAVIS 2016)."""

RECALL_THRESHOLD = 0.5
"""A frame counts as found above this (DAVIS 2016)."""


def region_similarity(mask: NDArray[np.bool_], truth: NDArray[np.bool_]) -> float:
    """Return J, intersection over union in pixels, of two (H, W) masks; 1 if both are empty."""
    union = np.count_nonzero(mask | truth)
    return np.count_nonzero(mask & truth) / union if union else 1.0


def boundary_accuracy(mask: NDArray[np.bool_], truth: NDArray[np.bool_]) -> float:
    """Return F, the harmonic mean of the precision and recall of a mask's boundary.

    Precision is the share of the mask's boundary pixels that have one of the truth's within a disk of radius
    `BOUNDARY_TOLERANCE`, recall the other way round.

    Args:
        mask: (H, W).
        truth: (H, W).

    Returns:
        F in 0..1; 1 if neither has a boundary, 0 if only one has.
    """
    found, true = _boundary(mask), _boundary(truth)
    if not len(found) or not len(true):
        return float(len(found) == len(true))
    tolerance = np.ceil(BOUNDARY_TOLERANCE * np.hypot(*truth.shape))
    precision = _share_near(found, true, tolerance)
    recall = _share_near(true, found, tolerance)
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


@dataclass(frozen=True)
class Statistics:
    """How a measure does over the frames of a video.

    Attributes:
        mean: over all frames.
        recall: share of the frames above `RECALL_THRESHOLD`.
        decay: mean of the first quarter minus mean of the last: what is lost over time.
    """

    mean: float
    recall: float
    decay: float


def summarise(values: ArrayLike) -> Statistics:
    """Return the statistics of the values of a measure, one a frame; ValueError if there are none."""
    series = np.asarray(values, dtype=np.float64)
    if not series.size:
        raise ValueError("there are no frames to summarise")
    ends = np.round(np.linspace(1, len(series), 5) + 1e-10).astype(int) - 1  # quarters overlap by one frame
    decay = series[: ends[1] + 1].mean() - series[ends[3] :].mean()
    return Statistics(float(series.mean()), float((series > RECALL_THRESHOLD).mean()), float(decay))


@dataclass(frozen=True)
class Evaluation:
    """How well the objects of one video were segmented.

    Attributes:
        object_ids: O objects of the first true mask.
        region: (O, T-2) J of every object on every frame but the first and last.
        boundary: (O, T-2) F likewise.
    """

    object_ids: tuple[int, ...]
    region: NDArray[np.float64]
    boundary: NDArray[np.float64]

    @property
    def j_mean(self) -> float:
        """Mean J over objects and frames."""
        return float(self.region.mean())

    @property
    def f_mean(self) -> float:
        """Mean F over objects and frames."""
        return float(self.boundary.mean())

    @property
    def j_and_f(self) -> float:
        """Mean of `j_mean` and `f_mean`, by which DAVIS ranks."""
        return (self.j_mean + self.f_mean) / 2


def evaluate_masks(masks: Sequence[Labels], truth: Sequence[Labels]) -> Evaluation:
    """Compare the masks of a video with the true ones.

    The first frame is given to the method and the last may be the end of the object: both are left out.

    Args:
        masks: T masks of (H, W), 0 = background; an array (T, H, W) will do.
        truth: T true masks likewise. The objects of the first one are looked for.

    Raises:
        DatasetError: the two differ in length or size, there are less than three frames, or no object.
    """
    if len(masks) != len(truth) or len(truth) < 3:
        raise DatasetError(
            f"There are {len(masks)} masks and {len(truth)} true ones; give as many of each, at least three."
        )
    object_ids = tuple(np.unique(truth[0][truth[0] > 0]).tolist())
    if not object_ids:
        raise DatasetError("The first true mask is empty; it must show the objects that are to be found.")
    region = np.empty((len(object_ids), len(truth) - 2))
    boundary = np.empty_like(region)
    for t in range(1, len(truth) - 1):
        mask, true = masks[t], truth[t]
        if mask.shape != true.shape:
            raise DatasetError(f"On frame {t} the mask is {mask.shape}, the true one {true.shape}; give one size.")
        for row, object_id in enumerate(object_ids):
            region[row, t - 1] = region_similarity(mask == object_id, true == object_id)
            boundary[row, t - 1] = boundary_accuracy(mask == object_id, true == object_id)
    return Evaluation(object_ids, region, boundary)


def _boundary(mask: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Return (N, 2) pixels that differ from their right, lower or lower right neighbour (in the image)."""
    padded = np.pad(mask, ((0, 1), (0, 1)), mode="edge")
    right, below, diagonal = padded[:-1, 1:], padded[1:, :-1], padded[1:, 1:]
    return np.argwhere((mask != right) | (mask != below) | (mask != diagonal))


def _share_near(points: NDArray[np.intp], others: NDArray[np.intp], distance: float) -> float:
    """Return the share of (N, 2) points that have one of the others at most `distance` pixels away."""
    # The next possible distance between pixels is more than 1e-6 further.
    nearest, _ = cKDTree(others).query(points, distance_upper_bound=distance + 1e-6)
    return float(np.isfinite(nearest).mean())
