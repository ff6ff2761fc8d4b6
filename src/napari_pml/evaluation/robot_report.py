"""What a study with the robot found: curve.csv, summary.json and curve.svg."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from napari_pml.evaluation.curve import (
    SECONDS_PER_INTERACTION,
    area_under_curve,
    at_interactions,
    at_seconds,
    rounds_that_lose,
)
from napari_pml.evaluation.curve_plot import plot_curves
from napari_pml.evaluation.robot_study import Outcome, Run, Study
from napari_pml.io.destination import written

AT_SECONDS = 60.0
"""DAVIS 2018 ranks by J&F after one minute."""


def write_report(study: Study, outcomes: Sequence[Outcome], out: Path) -> dict[str, float]:
    """Write the curve as a table and as a picture, and a summary.

    Args:
        study: that was made.
        outcomes: its outcomes, at least one not failed; means are over their runs, each run counting the same.
        out: folder for `curve.csv` (one row an interaction), `summary.json` and `curve.svg`.

    Returns:
        The means of the summary: J&F first, last, over all rounds, under the curve, and after 60 seconds; and the share
        of rounds that lose more than `LOSS`.

    Raises:
        ExportError: a file cannot be written.
    """
    runs = [run for outcome in outcomes for run in outcome.runs]
    n = study.protocol.interactions
    limit = SECONDS_PER_INTERACTION * n
    mean = _figures(runs, n, limit)
    summary = {
        "settings": dict(study.settings),
        "mean": mean,
        "time_limit_seconds": limit,
        "interactions": [
            {
                "interaction": i + 1,
                **{name: at_interactions(runs, name, n)[:, i].mean() for name in _MEASURES},
                "j_and_f_spread": at_interactions(runs, "j_and_f", n)[:, i].std(),
            }
            for i in range(n)
        ],
        "sequences": {o.sequence: _figures(o.runs, n, limit) for o in outcomes if o.runs},
        "failed": {o.sequence: str(o.error) for o in outcomes if o.error},
    }
    files = {
        "curve.csv": _table(outcomes),
        "summary.json": json.dumps(summary, indent=1),
        "curve.svg": plot_curves(runs),
    }
    for name, text in files.items():
        with written(out / name) as unfinished:
            unfinished.write_text(text, encoding="utf-8")
    return mean


_MEASURES = ("j", "f", "j_and_f", "spoilt", "seconds_to_frame", "seconds_to_video", "seconds_in_all")


def _figures(runs: Sequence[Run], n: int, limit: float) -> dict[str, float]:
    return {
        "j_and_f_first": float(np.mean([run[0].j_and_f for run in runs])),
        "j_and_f_last": float(np.mean([run[-1].j_and_f for run in runs])),
        "j_and_f_mean": float(at_interactions(runs, "j_and_f", n).mean()),
        "rounds_that_lose": rounds_that_lose(runs),
        "area_under_curve": float(np.mean([area_under_curve(run, limit) for run in runs])),
        "j_and_f_at_60_seconds": float(np.mean([at_seconds(run, np.array([AT_SECONDS])) for run in runs])),
    }


def _table(outcomes: Sequence[Outcome]) -> str:
    """Return a row for every interaction as comma-separated values."""
    text = io.StringIO()
    rows = [
        {"sequence": o.sequence, "start": run[0].frame, **asdict(i), "j_and_f": i.j_and_f}
        for o in outcomes for run in o.runs for i in run
    ]  # fmt: skip
    writer = csv.DictWriter(text, rows[0].keys(), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
