"""How each job ended, as a table that is complete at any moment."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from napari_pml.cluster.jobs import Job
from napari_pml.io.destination import written

COLUMNS = ("video", "out", "state", "frames", "seconds", "seconds_per_frame", "error")


class State(StrEnum):
    """How a job ended."""

    done = "done"
    skipped = "skipped"
    failed = "failed"


@dataclass(frozen=True)
class Outcome:
    """How one job ended.

    Attributes:
        job: which.
        state: done now, skipped since it was done before, or failed.
        frames: of the video; 0 if it failed.
        seconds: that they took, also if that was before; loading the network is not among them.
        error: why it failed, in words.
    """

    job: Job
    state: State
    frames: int = 0
    seconds: float = 0
    error: str = ""


def write_report(outcomes: Iterable[Outcome], path: Path) -> None:
    """Write a CSV with a row for every job that has ended; ExportError if that cannot be done."""
    with written(path) as unfinished, unfinished.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(COLUMNS)
        for outcome in outcomes:
            job, frames, seconds = outcome.job, outcome.frames, outcome.seconds
            figures = (frames, f"{seconds:.3f}", f"{seconds / frames:.4f}") if frames else ("", "", "")
            table.writerow((job.video, job.out, outcome.state, *figures, outcome.error))
