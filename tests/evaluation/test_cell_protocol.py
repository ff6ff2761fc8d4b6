"""The protocol for cells, on cases computed by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from drawn_video import write_video
from napari_pml.cli import app
from napari_pml.evaluation.cell_protocol import challenge_scores, classify
from napari_pml.evaluation.identity import follow
from napari_pml.io.save import as_masks


def row(*labels):
    """Return a label image of one row, ten pixels high, whose columns hold these labels, four columns each."""
    return np.repeat(np.array(labels, np.uint16), 4)[None].repeat(10, 0)


TRUTH = [row(0, 1, 1, 0, 2, 2, 0, 3, 3), row(0, 1, 1, 0, 2, 2, 0, 3, 3), row(0, 1, 1, 0, 2, 2, 0, 4, 5)]
"""Cells 1 and 2 stay, 3 divides into 4 and 5."""


def test_iou_and_identity_of_cells_that_are_still_there():
    found = [TRUTH[0], row(0, 1, 0, 0, 2, 2, 0, 3, 3), row(0, 2, 2, 0, 2, 0, 0, 3, 3)]
    identity = follow(found, TRUTH)
    np.testing.assert_allclose(identity.ious, [[1, 1, 1], [0.5, 1, 1], [0, 0.25, np.nan]])
    assert identity.identity(2) == pytest.approx(3 / 5)
    assert identity.identity_on(2) == 0
    assert identity.iou(2) == pytest.approx((0.5 + 1 + 1 + 0 + 0.25) / 5)


def test_errors_have_four_classes():
    masks = [
        TRUTH[0],
        row(0, 0, 0, 0, 1, 1, 0, 3, 3),  # 1 lies on 2, and of 2 nothing is left
        row(1, 1, 1, 1, 1, 2, 2, 0, 0),  # 1 has leaked, the outline of 2 is wrong
    ]
    errors = classify(masks, TRUTH, follow(masks, TRUTH).ious)
    assert (errors.lost, errors.swapped, errors.leaked, errors.boundary) == (1 / 5, 1 / 5, 1 / 5, 1 / 5)


def test_scores_of_the_challenge_on_a_case_computed_by_hand():
    truth = as_masks(np.stack(TRUTH))
    assert challenge_scores(truth, truth) == {"SEG": 1, "DET": 1, "TRA": 1}
    missed = as_masks(np.stack([*TRUTH[:2], row(0, 1, 1, 0, 2, 2, 0, 4, 0)]))  # one daughter of 10 cells
    scores = challenge_scores(missed, truth)
    assert scores["SEG"] == pytest.approx(9 / 10)
    assert scores["DET"] == pytest.approx(1 - 10 / (10 * 10))  # a missed cell costs 10 of the 10 that each is worth
    assert scores["TRA"] < scores["DET"]


def test_the_command_writes_a_line_for_every_video(tmp_path):
    rng = np.random.default_rng(0)
    masks = np.zeros((3, 64, 64), np.uint16)
    for t in range(3):
        masks[t, 10 + t : 30 + t, 10:30], masks[t, 36:56, 30 + t : 50 + t] = 1, 2
    frames = np.where(masks[..., None] > 0, 200, 60) + rng.integers(-20, 20, (3, 64, 64, 1))
    write_video(tmp_path, "two", frames.repeat(3, -1).astype(np.uint8), masks)
    out = tmp_path / "out"
    arguments = ["evaluate", str(tmp_path), "--out", str(out), "--protocol", "cells", "--method", "cells"]
    result = CliRunner().invoke(app, [*arguments, "--device", "cpu"])
    assert result.exit_code == 0, result.output
    table = pd.read_csv(out / "cells.csv")
    assert table["sequence"].tolist() == ["two"]
    assert table["identity"][0] == 1
    assert table["tra"][0] == 1
    assert len(list((out / "masks" / "two").glob("*.png"))) == 3
