"""The protocol for cells: all of frame 0 are given, and every later frame is compared with true tracks.

IoU and identity tell how well the given cells are followed, see `identity`. SEG, DET and TRA are those of the Cell
Tracking Challenge (Maška et al., Nature Methods 2023), by py-ctcmetrics; they count cells that are new as well.
"""

from __future__ import annotations

import contextlib
import io
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from napari_pml.embedding.protocol import Embedder
from napari_pml.engine.session import Session
from napari_pml.errors import DatasetError
from napari_pml.evaluation.davis import DavisSequence
from napari_pml.evaluation.identity import FOUND, follow
from napari_pml.io.ctc import export_ctc
from napari_pml.io.destination import written
from napari_pml.io.export import export_folder
from napari_pml.io.save import as_masks
from napari_pml.methods.config import MethodConfig
from napari_pml.store.masks import MaskStore
from napari_pml.types import Labels
from napari_pml.video.video import open_video

LOST, LEAKED = 0.25, 1.5
"""A mask so small, or so large, as a share of the true one is lost, or has leaked."""


@dataclass(frozen=True)
class CellErrors:
    """Why cells are not found: shares of all cells on all frames, which sum to what identity lacks.

    Attributes:
        lost: next to nothing has the cell's number.
        swapped: most of what has its number lies on another cell.
        leaked: what has its number is much too large.
        boundary: the mask is in the right place, and its outline is not.
    """

    lost: float
    swapped: float
    leaked: float
    boundary: float


@dataclass(frozen=True)
class CellResult:
    """How well the cells of one video are followed.

    Attributes:
        sequence: its name.
        iou: mean IoU of the cells of frame 0 with the masks of their own numbers.
        identity: share of them whose IoU is at least a half.
        identity_last: the same on the last frame.
        errors: why the others are not.
        seg: of the Cell Tracking Challenge, over all cells; None without py-ctcmetrics.
        det: likewise.
        tra: likewise.
        seconds_per_frame: of segmenting.
    """

    sequence: str
    iou: float
    identity: float
    identity_last: float
    errors: CellErrors
    seg: float | None
    det: float | None
    tra: float | None
    seconds_per_frame: float

    def as_row(self) -> dict[str, object]:
        """Return everything as a row of a table."""
        row = asdict(self)
        return {**{k: v for k, v in row.items() if k != "errors"}, **row["errors"]}


def run_sequence(
    sequence: DavisSequence, out: Path, config: MethodConfig, embedder: str | Embedder, device: str | None
) -> CellResult:
    """Segment one video from its first mask, compare it with the truth, and write its masks into a folder of `out`.

    Raises:
        DatasetError: it has less than two frames, or the first mask shows no cell.
        PmlError: images, masks or network do not fit, or `out` cannot be written.
    """
    video = open_video(sequence.frames[0].parent)
    truth = [sequence.mask(t) for t in range(len(video))]
    if len(truth) < 2 or not truth[0].any():
        raise DatasetError(f"{sequence.name} needs two frames at least, and a mask of the first that shows cells.")
    session = Session(video, config, embedder=embedder, device=device)
    session.annotate(0, truth[0], complete=True)
    began = time.perf_counter()
    for _ in session.propagate():
        pass
    seconds = (time.perf_counter() - began) / len(truth)
    export_folder(session.masks, out / "masks" / sequence.name)
    masks = session.masks.labels[:]
    found = follow(masks, truth)
    last = len(truth) - 1
    scores = challenge_scores(session.masks, as_masks(np.stack(truth)))
    return CellResult(
        sequence.name,
        found.iou(last),
        found.identity(last),
        found.identity_on(last),
        classify(masks, truth, found.ious),
        scores.get("SEG"),
        scores.get("DET"),
        scores.get("TRA"),
        seconds,
    )


def classify(masks: Iterable[Labels], truth: list[Labels], ious: NDArray[np.float64]) -> CellErrors:
    """Return why cells of frame 0 are not found.

    Args:
        masks: one for each frame.
        truth: the same.
        ious: (T, N) see `CellIdentity`.
    """
    ids = np.unique(truth[0])[1:]
    counts = dict.fromkeys(("lost", "swapped", "leaked", "boundary"), 0)
    for t, (labels, true) in enumerate(zip(masks, truth, strict=True)):
        if t == 0:
            continue
        for cell in ids[ious[t] < FOUND].tolist():
            mask, area = labels == cell, int((true == cell).sum())
            below = np.bincount(true[mask], minlength=cell + 1)
            if mask.sum() < LOST * area:
                counts["lost"] += 1
            elif np.delete(below, [0, cell]).max(initial=0) > below[cell]:
                counts["swapped"] += 1
            elif mask.sum() > LEAKED * area:
                counts["leaked"] += 1
            else:
                counts["boundary"] += 1
    n = max(1, int((~np.isnan(ious[1:])).sum()))
    return CellErrors(**{name: count / n for name, count in counts.items()})


def challenge_scores(masks: MaskStore, truth: MaskStore) -> dict[str, float]:
    """Return SEG, DET and TRA of finished masks; nothing without py-ctcmetrics."""
    try:
        from ctc_metrics import evaluate_sequence
    except ImportError:
        return {}
    with TemporaryDirectory() as name:
        results, gold = Path(name) / "01_RES", Path(name) / "01_GT"
        export_ctc(masks, results)
        export_ctc(truth, Path(name) / "truth_RES")
        (gold / "SEG").mkdir(parents=True)
        (Path(name) / "truth_RES").rename(gold / "TRA")
        for path in sorted((gold / "TRA").glob("mask*.tif")):
            digits = path.name.removeprefix("mask")
            (gold / "SEG" / f"man_seg{digits}").write_bytes(path.read_bytes())
            path.rename(gold / "TRA" / f"man_track{digits}")
        (gold / "TRA" / "res_track.txt").rename(gold / "TRA" / "man_track.txt")
        with contextlib.redirect_stdout(io.StringIO()):  # it prints what it returns
            found = evaluate_sequence(str(results), str(gold), ["SEG", "DET", "TRA"], threads=1)
    return {name: float(found[name]) for name in ("SEG", "DET", "TRA")}


def write_table(results: list[CellResult], out: Path) -> Path:
    """Write cells.csv, a line for every video, and return its path.

    Raises:
        ExportError: it cannot be written.
    """
    path = out / "cells.csv"
    with written(path) as unfinished:
        pd.DataFrame([result.as_row() for result in results]).to_csv(unfinished, index=False)
    return path
