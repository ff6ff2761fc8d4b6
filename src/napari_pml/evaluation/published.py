"""Figures that papers report for the semi-supervised protocol, to stand beside ours."""

from __future__ import annotations

from dataclasses import dataclass

from napari_pml.evaluation.measures import Statistics
from napari_pml.evaluation.results import Score

UNKNOWN = float("nan")
"""A figure that the paper does not report."""

PUBLISHED_ON = "the 20 validation sequences of DAVIS 2016, 854 x 480"
"""What `PUBLISHED` was measured on."""


@dataclass(frozen=True)
class Published:
    """One method's figures.

    Attributes:
        method: its name.
        score: in 0..1, `UNKNOWN` where not reported.
        seconds_per_frame: as reported, on a GPU of its time.
        source: the paper.
    """

    method: str
    score: Score
    seconds_per_frame: float
    source: str


PUBLISHED = (
    Published(
        "PML",
        Score(Statistics(0.755, 0.896, 0.085), Statistics(0.793, 0.934, 0.078)),
        0.275,
        "Chen, Pont-Tuset, Montes, Van Gool, CVPR 2018, arXiv:1804.03131",
    ),
    Published(
        "FEELVOS",
        Score(Statistics(0.811, UNKNOWN, UNKNOWN), Statistics(0.822, UNKNOWN, UNKNOWN)),
        0.45,
        "Voigtlaender et al., CVPR 2019, arXiv:1902.09513",
    ),
    Published(
        "OSVOS",
        Score(Statistics(0.798, 0.936, 0.149), Statistics(0.806, 0.926, 0.150)),
        9.0,
        "Caelles et al., CVPR 2017, arXiv:1611.05198",
    ),
)
"""DAVIS-2016 validation, from the first mask."""
