"""Accuracy against work: J&F over interactions and over seconds, and what sums such curves up."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.integrate import trapezoid

from napari_pml.evaluation.robot_study import Run

SECONDS_PER_INTERACTION = 30.0
"""The area under the curve covers this much time for each interaction (DAVIS 2018 allows as much for
every object; here once for all, since the cost of retrieval does not grow with their number)."""

LOSS = 0.02
"""A round of strokes that costs more J&F than this has made the result worse."""


def at_interactions(runs: Sequence[Run], measure: str, n: int) -> NDArray[np.float64]:
    """Return what an attribute of `Interaction` was after each of n interactions, (len(runs), n).

    A run that ended earlier, because every mask was right, keeps its last value.
    """
    return np.array([[getattr(run[min(i, len(run) - 1)], measure) for i in range(n)] for run in runs])


def rounds_that_lose(runs: Sequence[Run]) -> float:
    """Return the share of all rounds but the first after which J&F is lower by more than `LOSS`."""
    steps = [b.j_and_f - a.j_and_f for run in runs for a, b in pairwise(run)]
    return float(np.mean(np.array(steps) < -LOSS)) if steps else 0.0


def at_seconds(run: Run, seconds: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return J&F after a number of seconds of computing: from 0 at the start linear between interactions.

    Args:
        run: at least one interaction.
        seconds: (N,), from 0; after the last interaction its value holds.

    Returns:
        (N,) in 0..1.
    """
    times = [0.0, *(i.seconds_in_all for i in run)]
    return np.interp(seconds, times, [0.0, *(i.j_and_f for i in run)])


def area_under_curve(run: Run, limit: float) -> float:
    """Return the mean of J&F over the first `limit` seconds, in 0..1."""
    ends = [i.seconds_in_all for i in run if i.seconds_in_all < limit]
    times = np.array([0.0, *ends, limit])
    return float(trapezoid(at_seconds(run, times), times)) / limit
