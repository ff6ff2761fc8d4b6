"""What an evaluation found: of one video and of a data set, and the files that hold it."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from napari_pml.errors import DatasetError
from napari_pml.evaluation.davis import DavisSequence
from napari_pml.evaluation.measures import Evaluation, Statistics, summarise
from napari_pml.io.destination import written
from napari_pml.methods.config import MethodConfig
from napari_pml.methods.registry import config_from


@dataclass(frozen=True)
class Setup:
    """What a result depends on: as long as two are equal, one need not compute again.

    Attributes:
        dataset: its name, with the resolution.
        config: the method and its settings.
        embedder: name or path of the network, as it was given; the fingerprint is what counts.
        fingerprint: of the network.
        device: where it runs.
        version: of napari-pml.
    """

    dataset: str
    config: MethodConfig
    embedder: str = field(compare=False)
    fingerprint: str
    device: str
    version: str


@dataclass(frozen=True)
class Score:
    """Statistics of J and F, of one object or as a mean over several; all in 0..1, decay in -1..1."""

    j: Statistics
    f: Statistics

    @property
    def j_and_f(self) -> float:
        """Mean of the mean J and the mean F, by which DAVIS ranks."""
        return (self.j.mean + self.f.mean) / 2

    def as_dict(self) -> dict[str, float]:
        """Return every figure under the name that it has in files, to four decimals."""
        j = {f"j_{name}": value for name, value in asdict(self.j).items()}
        f = {f"f_{name}": value for name, value in asdict(self.f).items()}
        return {name: round(value, 4) for name, value in {**j, **f, "j_and_f": self.j_and_f}.items()}


def mean_score(scores: Iterable[Score]) -> Score:
    """Return the mean of every figure; ValueError if there are no scores."""
    table = np.array([[*asdict(s.j).values(), *asdict(s.f).values()] for s in scores]).reshape(-1, 6)
    if not len(table):
        raise ValueError("there are no scores to average")
    means = table.mean(0).tolist()
    return Score(Statistics(*means[:3]), Statistics(*means[3:]))


@dataclass(frozen=True, eq=False)
class SequenceResult:
    """How one video was segmented.

    Attributes:
        sequence: its name.
        setup: what was evaluated.
        content: of the sequence, see `DavisSequence.content`.
        evaluation: J and F of every object and frame.
        seconds: T, each frame's time for decoding, embedding, retrieval and refinement.
        learning: seconds before the first frame, for learning what is annotated.
        device: where it ran in the end (a full GPU gives way to the CPU).
        threads: CPU threads it had.
    """

    sequence: str
    setup: Setup
    content: str
    evaluation: Evaluation
    seconds: tuple[float, ...]
    learning: float
    device: str
    threads: int

    @cached_property
    def scores(self) -> dict[int, Score]:
        """The score of every object by its id."""
        rows = zip(self.evaluation.region, self.evaluation.boundary, strict=True)
        scores = (Score(summarise(region), summarise(boundary)) for region, boundary in rows)
        return dict(zip(self.evaluation.object_ids, scores, strict=True))

    @property
    def seconds_per_frame(self) -> float:
        """Mean over all frames."""
        return sum(self.seconds) / len(self.seconds)

    def save(self, out: Path) -> None:
        """Write into the folder of an evaluation; ExportError if that cannot be done."""
        evaluation = self.evaluation
        record = {
            "sequence": self.sequence,
            "setup": {**asdict(self.setup), "config": self.setup.config.as_record()},
            "content": self.content,
            "objects": {
                str(object_id): {"J": evaluation.region[row].tolist(), "F": evaluation.boundary[row].tolist()}
                for row, object_id in enumerate(evaluation.object_ids)
            },
            "seconds": self.seconds,
            "learning": self.learning,
            "device": self.device,
            "threads": self.threads,
        }
        with written(record_path(out, self.sequence)) as unfinished:
            unfinished.write_text(json.dumps(record))

    @classmethod
    def load(cls, out: Path, sequence: str) -> SequenceResult | None:
        """Return what `save` wrote, or None if there is nothing of use."""
        try:
            record = json.loads(record_path(out, sequence).read_text())
            setup = record["setup"]
            objects = record["objects"]
            return cls(
                sequence,
                Setup(**{**setup, "config": config_from(setup["config"])}),
                record["content"],
                Evaluation(
                    tuple(int(object_id) for object_id in objects),
                    np.array([measures["J"] for measures in objects.values()]),
                    np.array([measures["F"] for measures in objects.values()]),
                ),
                tuple(record["seconds"]),
                record["learning"],
                record["device"],
                record["threads"],
            )
        except (OSError, ValueError, KeyError, TypeError, AttributeError):  # none, damaged, or of another version
            return None


@dataclass(frozen=True)
class Unscored:
    """A video without a result.

    Attributes:
        sequence: its name.
        reason: in words.
        failed: something went wrong; otherwise there is nothing in it to score.
    """

    sequence: str
    reason: str
    failed: bool


@dataclass(frozen=True, eq=False)
class DatasetResult:
    """How the videos of a dataset were segmented.

    Attributes:
        setup: what was evaluated.
        results: of every video that has one, at least one.
        unscored: the others.
        remark: what readers should know about the dataset, such as where its masks come from.
    """

    setup: Setup
    results: tuple[SequenceResult, ...]
    unscored: tuple[Unscored, ...] = ()
    remark: str = ""

    @classmethod
    def gather(cls, setup: Setup, outcomes: Iterable[SequenceResult | Unscored], remark: str = "") -> DatasetResult:
        """Sort what was found in the videos by their names.

        Raises:
            DatasetError: there is no result among it.
        """
        ordered = sorted(outcomes, key=lambda outcome: outcome.sequence)
        results = tuple(outcome for outcome in ordered if isinstance(outcome, SequenceResult))
        unscored = tuple(outcome for outcome in ordered if isinstance(outcome, Unscored))
        if not results:
            reasons = " ".join(f"{u.sequence}: {u.reason}" for u in unscored)
            raise DatasetError(f"No sequence could be scored. {reasons}")
        return cls(setup, results, unscored, remark)

    @cached_property
    def mean(self) -> Score:
        """Every object of every video counts once (DAVIS 2017; with one object a video that is DAVIS 2016)."""
        return mean_score(score for result in self.results for score in result.scores.values())

    @property
    def n_frames(self) -> int:
        """Frames of all videos."""
        return sum(len(result.seconds) for result in self.results)

    @property
    def seconds_per_frame(self) -> float:
        """Mean over the frames of all videos."""
        return sum(sum(result.seconds) for result in self.results) / self.n_frames

    @property
    def seconds_before_first_frame(self) -> float:
        """Mean over all videos of what a method takes to learn."""
        return sum(result.learning for result in self.results) / len(self.results)


def record_path(out: Path, sequence: str) -> Path:
    """Return where the result of a video lies."""
    return out / "sequences" / f"{sequence}.json"


def mask_path(out: Path, sequence: DavisSequence, t: int) -> Path:
    """Return where the mask found for frame t lies: under the name of the true one, as DAVIS's tools want it."""
    return out / "masks" / sequence.name / sequence.masks[t].name


def write_summary(found: DatasetResult, out: Path) -> None:
    """Write summary.json, and results.csv with a row for every object and a last one with the mean.

    Raises:
        ExportError: a file cannot be written.
    """
    summary = {
        "setup": asdict(found.setup),
        "remark": found.remark,
        "mean": _figures(found.mean, found.seconds_per_frame),
        "sequences": {
            result.sequence: {
                **_figures(mean_score(result.scores.values()), result.seconds_per_frame),
                "frames": len(result.seconds),
                "objects": {str(object_id): score.as_dict() for object_id, score in result.scores.items()},
            }
            for result in found.results
        },
        "skipped": {unscored.sequence: unscored.reason for unscored in found.unscored if not unscored.failed},
        "failed": {unscored.sequence: unscored.reason for unscored in found.unscored if unscored.failed},
    }
    with written(out / "summary.json") as unfinished:
        unfinished.write_text(json.dumps(summary, indent=1))
    rows: list[dict[str, Any]] = [
        {"sequence": result.sequence, "object": object_id, **_figures(score, result.seconds_per_frame)}
        for result in found.results
        for object_id, score in result.scores.items()
    ]
    rows.append({"sequence": "mean", "object": "", **_figures(found.mean, found.seconds_per_frame)})
    with written(out / "results.csv") as unfinished, unfinished.open("w", newline="") as file:
        table = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        table.writeheader()
        table.writerows(rows)


def _figures(score: Score, seconds_per_frame: float) -> dict[str, float]:
    return {**score.as_dict(), "seconds_per_frame": round(seconds_per_frame, 4)}
