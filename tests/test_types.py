import numpy as np
import pytest

from napari_pml.errors import AnnotationError
from napari_pml.types import BACKGROUND, Annotations


@pytest.fixture
def empty():
    return Annotations((5, 4, 6))


def labels(value=1):
    array = np.zeros((4, 6), np.uint16)
    array[1, 2] = value
    return array


def test_a_stroke_makes_a_new_snapshot_and_leaves_the_old_one(empty):
    new = empty.with_frame(2, labels())
    assert new.revision == empty.revision + 1
    assert list(new.frames) == [2]
    assert not empty.frames


def test_nothing_changed_is_the_same_snapshot(empty):
    new = empty.with_frame(2, labels())
    assert new.with_frame(2, labels()) is new
    assert empty.with_frame(0, np.zeros((4, 6), int)) is empty


def test_marking_complete_is_a_change(empty):
    strokes = empty.with_frame(2, labels())
    complete = strokes.with_frame(2, labels(), complete=True)
    assert complete.complete == {2}
    assert complete.revision > strokes.revision
    assert complete.with_frame(2, labels()).complete == frozenset()


def test_an_empty_frame_can_be_complete(empty):
    assert 3 in empty.with_frame(3, np.zeros((4, 6), int), complete=True).frames


def test_erasing_everything_takes_the_frame_away(empty):
    gone = empty.with_frame(2, labels()).with_frame(2, np.zeros((4, 6), int))
    assert not gone.frames
    assert gone.revision == 2


def test_a_snapshot_does_not_follow_the_layer_it_came_from(empty):
    layer = labels()
    snapshot = empty.with_frame(2, layer)
    layer[:] = 7
    assert snapshot.frames[2].max() == 1
    with pytest.raises(ValueError, match="read-only"):
        snapshot.frames[2][0, 0] = 1


def test_background_is_no_object(empty):
    both = empty.with_frame(0, labels(BACKGROUND)).with_frame(1, labels(9)).with_frame(3, labels(4))
    assert both.object_ids == (4, 9)


def test_booleans_are_object_one(empty):
    assert empty.with_frame(0, labels().astype(bool)).object_ids == (1,)


@pytest.mark.parametrize(
    ("t", "array", "says"),
    [
        (5, labels(), "frames 0 to 4"),
        (-1, labels(), "frames 0 to 4"),
        (0, np.zeros((6, 4), int), r"4 x 6"),
        (0, np.zeros((4, 6, 3), int), r"4 x 6"),
        (0, labels().astype(float), "whole numbers"),
        (0, labels().astype(int) - 2, "0..65535"),
        (0, labels().astype(int) * 70000, "0..65535"),
    ],
    ids=["after the end", "before the start", "transposed", "colours", "floats", "negative", "too large"],
)
def test_what_does_not_fit_is_refused_with_a_reason(empty, t, array, says):
    with pytest.raises(AnnotationError, match=says):
        empty.with_frame(t, array)


def test_masks_spread_from_where_most_objects_are_whatever_background_is_painted():
    wide, narrow, both = (np.zeros((10, 10), np.uint16) for _ in range(3))
    wide[2:8, 2:8] = 1
    narrow[2, 2:8], narrow[9] = 1, BACKGROUND
    both[2, 2:8], both[5, 2:8] = 1, 2
    annotations = Annotations((5, 10, 10)).with_frame(1, narrow).with_frame(3, wide)
    assert annotations.main_frame == 3  # a correction with both labels is no better a source than the object itself
    assert annotations.with_frame(4, both).main_frame == 4
