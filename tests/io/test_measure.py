import numpy as np
import pandas as pd
import pytest

from napari_pml.errors import ExportError
from napari_pml.io.calibration import Calibration
from napari_pml.io.measure import export_table, measure, measure_frame, summary
from napari_pml.store.masks import MaskStore
from napari_pml.types import PREVIEW_REVISION, FrameMask


@pytest.fixture
def masks():
    """Object 7 is 2 x 3 pixels on frame 0 and 2 x 4 on frame 2, object 9 one pixel on frame 2; frame 1 is a guess."""
    labels = np.zeros((3, 8, 16), np.uint16)
    labels[:, 2:4, 5:8] = 7
    labels[2, 2:4, 8] = 7
    labels[2, 7, 15] = 9
    confidence = np.array([[1.0, 0.0]], np.float32)  # left and right half
    store = MaskStore((3, 8, 16), (1, 2))
    for t, revision in enumerate((1, PREVIEW_REVISION, 1)):
        store.put(FrameMask(t, labels[t], confidence, revision))
    return store


def test_every_object_on_every_finished_frame_has_a_row(masks):
    table = pd.concat(measure(masks, Calibration()), ignore_index=True)
    assert table.to_dict("list") == {
        "frame": [0, 2, 2],
        "object": [7, 7, 9],
        "area_px": [6, 8, 1],
        "centroid_y": [2.5, 2.5, 7.0],
        "centroid_x": [6.0, 6.5, 15.0],
        "top": [2, 2, 7],
        "left": [5, 5, 15],
        "bottom": [4, 4, 8],
        "right": [8, 9, 16],
        "mean_confidence": [1.0, 0.75, 0.0],
    }


def test_every_pixel_has_the_confidence_of_its_own_cell():
    labels = np.zeros((100, 60), np.uint16)
    labels[48:64, 24:40] = 1
    confidence = np.ones((13, 8), np.float32)
    confidence[6:8, 3:5] = 0.25
    assert measure_frame(FrameMask(0, labels, confidence, 1), Calibration())["mean_confidence"].tolist() == [0.25]


def test_seconds_and_areas_where_they_are_known(masks):
    table = measure_frame(masks[2], Calibration(frame=0.25, pixel=(0.5, 2.0), unit="micrometer"))
    assert list(table.columns[:5]) == ["frame", "time_s", "object", "area_px", "area_micrometer2"]
    assert table["time_s"].tolist() == [0.5, 0.5]
    assert table["area_micrometer2"].tolist() == [8.0, 1.0]
    assert table["centroid_y_micrometer"].tolist() == (table["centroid_y"] * 0.5).tolist()
    assert table["centroid_x_micrometer"].tolist() == (table["centroid_x"] * 2.0).tolist()


def test_damaged_frames_are_marked_where_there_are_any(masks):
    table = pd.concat(measure(masks, Calibration(damaged=[1, 2])))
    assert table["damaged"].tolist() == [False, True, True]


def test_frames_that_are_not_evenly_spaced_have_their_own_times(masks):
    assert measure_frame(masks[2], Calibration(times=(0, 0.5, 7)))["time_s"].tolist() == [7, 7]


def test_a_frame_without_objects_has_no_rows_but_all_columns(masks):
    empty = FrameMask(1, np.zeros((8, 16), np.uint16), np.ones((1, 2), np.float32), 1)
    table = measure_frame(empty, Calibration(0.1, (1, 1)))
    assert len(table) == 0
    assert list(table.columns) == list(measure_frame(masks[0], Calibration(0.1, (1, 1))).columns)


def test_the_table_as_a_file(masks, tmp_path):
    path = tmp_path / "new" / "results.csv"
    export_table(measure(masks, Calibration(0.5)), path)
    pd.testing.assert_frame_equal(pd.read_csv(path), pd.concat(measure(masks, Calibration(0.5)), ignore_index=True))


def test_the_summary_has_a_row_for_each_object(masks):
    table = summary(pd.concat(measure(masks, Calibration())))
    assert table.to_dict("list") == {
        "object": [7, 9],
        "frames": [2, 1],
        "first_frame": [0, 2],
        "last_frame": [2, 2],
        "mean_area_px": [7.0, 1.0],
        "mean_confidence": [0.875, 0.0],
    }


def test_names_are_a_column_where_any_object_has_one(masks):
    table = pd.concat(measure(masks, Calibration(0.5), {7: "cell"}))
    assert list(table.columns[:4]) == ["frame", "time_s", "object", "name"]
    assert table["name"].tolist() == ["cell", "cell", ""]
    assert summary(table)[["object", "name"]].to_numpy().tolist() == [[7, "cell"], [9, ""]]


def test_without_masks_there_is_nothing_to_measure(tmp_path):
    with pytest.raises(ExportError, match="no masks"):
        export_table(measure(MaskStore((3, 8, 16), (1, 2)), Calibration()), tmp_path / "a.csv")
    assert list(tmp_path.iterdir()) == []
