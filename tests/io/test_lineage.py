"""Descent as masks tell it, and the Cell Tracking Challenge's folder; every case is computed by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import tifffile

from napari_pml.errors import ExportError
from napari_pml.io.calibration import Calibration
from napari_pml.io.ctc import export_ctc
from napari_pml.io.lineage import Track, find_parents, find_tracks
from napari_pml.io.measure import measure, summary
from napari_pml.store.masks import MaskStore
from napari_pml.types import FrameMask

SIZE = 24, 32


def frame(t: int, **squares: tuple[int, int]) -> FrameMask:
    """Return a mask of 4 x 4 squares: o7=(row, column) is object 7."""
    labels = np.zeros(SIZE, np.uint16)
    for name, (row, column) in squares.items():
        labels[row : row + 4, column : column + 4] = int(name[1:])
    return FrameMask(t, labels, np.ones((3, 4), np.float32), revision=1)


DIVISION = [
    frame(0, o1=(4, 4), o2=(16, 20)),
    frame(1, o1=(4, 4), o2=(16, 20)),
    frame(2, o3=(2, 4), o4=(7, 4), o2=(16, 20)),
    frame(3, o3=(1, 4), o4=(9, 4)),
    frame(4, o3=(1, 4), o4=(9, 4), o2=(16, 20)),
]
"""Object 1 divides into 3 and 4, object 2 is away on frame 3."""


def test_two_that_begin_where_one_ends_are_its_daughters():
    assert find_parents(DIVISION) == {3: 1, 4: 1}


def test_one_new_object_in_the_place_of_another_is_no_daughter():
    assert find_parents([frame(0, o1=(4, 4)), frame(1, o2=(4, 4))]) == {}


def test_new_objects_far_away_are_no_daughters():
    assert find_parents([frame(0, o1=(4, 4)), frame(1, o2=(4, 5), o3=(18, 26))]) == {}


def test_an_object_that_comes_back_has_no_daughters():
    hidden = [frame(0, o1=(4, 4)), frame(1, o2=(2, 4), o3=(7, 4)), frame(2, o1=(4, 4), o2=(12, 4), o3=(18, 4))]
    assert find_parents(hidden) == {}


def test_a_gap_makes_two_tracks():
    tracks = find_tracks(DIVISION, {3: 1, 4: 1})
    assert tracks == [
        Track(1, 0, 1, 0, 1),
        Track(2, 0, 2, 0, 2),
        Track(3, 2, 4, 1, 3),
        Track(4, 2, 4, 1, 4),
        Track(5, 4, 4, 2, 2),
    ]


def test_the_challenges_folder(tmp_path):
    masks = MaskStore((6, *SIZE), (3, 4))
    for mask in DIVISION:
        masks.put(mask)
    folder = tmp_path / "01_RES"
    export_ctc(masks, folder)
    assert (folder / "res_track.txt").read_text() == "1 0 1 0\n2 0 2 0\n3 2 4 1\n4 2 4 1\n5 4 4 2\n"
    assert sorted(path.name for path in folder.glob("*.tif")) == [f"mask{t:03}.tif" for t in range(6)]
    assert np.unique(tifffile.imread(folder / "mask004.tif")).tolist() == [0, 3, 4, 5]
    assert not tifffile.imread(folder / "mask005.tif").any()  # has no mask yet
    with pytest.raises(ExportError, match="exists already"):
        export_ctc(masks, folder)


def test_the_table_names_parents():
    masks = MaskStore((6, *SIZE), (3, 4))
    for mask in DIVISION:
        masks.put(mask)
    table = pd.concat(measure(masks, Calibration()), ignore_index=True)
    assert table.groupby("object")["parent"].unique().explode().to_dict() == {1: 0, 2: 0, 3: 1, 4: 1}
    assert summary(table)["parent"].tolist() == [0, 0, 1, 1]
