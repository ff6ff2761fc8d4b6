import numpy as np
import pytest

from drawn_video import draw_video
from napari_pml.evaluation.robot import click, correction, first_strokes, scribble
from napari_pml.types import BACKGROUND

SIZE = (60, 80)


def blank():
    return np.zeros(SIZE, np.uint16)


def region(rows, columns):
    inside = np.zeros(SIZE, bool)
    inside[rows, columns] = True
    return inside


REGIONS = {
    "one pixel": region(slice(30, 31), slice(40, 41)),
    "a pixel in the corner": region(slice(0, 1), slice(79, 80)),
    "two pixels, one across from the other": region([10, 11], [10, 11]),
    "a bar": region(slice(20, 30), slice(10, 70)),
    "along the border of the image": region(slice(0, 60), slice(70, 80)),
    "everything": region(slice(None), slice(None)),
    "a ring": region(slice(10, 50), slice(10, 50)) & ~region(slice(24, 36), slice(24, 36)),
    "two parts": region(slice(5, 15), slice(5, 15)) | region(slice(30, 50), slice(40, 70)),
}


@pytest.mark.parametrize("tool", [scribble, click])
@pytest.mark.parametrize("name", REGIONS)
def test_strokes_lie_inside_their_region(tool, name):
    stroke = tool(REGIONS[name])
    assert stroke.any()
    assert not (stroke & ~REGIONS[name]).any()


@pytest.mark.parametrize("tool", [scribble, click])
def test_nothing_is_drawn_in_an_empty_region(tool):
    assert not tool(np.zeros(SIZE, bool)).any()


def test_a_scribble_runs_along_the_middle_of_a_bar():
    y, x = np.nonzero(scribble(REGIONS["a bar"]))
    middle = (x > 20) & (x < 60)  # at its ends, the axis runs into the corners
    assert y[middle].min() >= 20 + 3
    assert y[middle].max() < 30 - 3
    assert x.max() - x.min() > 40


def test_a_scribble_follows_a_ring_all_the_way_round():
    y, x = np.nonzero(scribble(REGIONS["a ring"]))
    sides = [y < 24, y >= 36, x < 24, x >= 36]
    assert all(side.sum() > 20 for side in sides)


def test_a_scribble_goes_through_every_part():
    stroke = scribble(REGIONS["two parts"])
    assert stroke[5:15, 5:15].any()
    assert stroke[30:50, 40:70].any()


def test_what_the_opening_removes_is_not_painted():
    thread = region(slice(30, 31), slice(40, 75))
    stroke = scribble(region(slice(10, 50), slice(0, 40)) | thread)
    assert stroke.any()
    assert not (stroke & thread).any()


def test_the_disk_of_the_opening_shrinks_until_something_is_left():
    stroke = scribble(region(slice(30, 32), slice(5, 75)))
    assert stroke[:, 20:60].any(axis=0).all()


def test_a_stroke_is_smooth():
    steps = np.zeros(SIZE, bool)
    for i in range(8):
        steps[5 + 5 * i : 15 + 5 * i, 8 * i : 8 * i + 16] = True
    y, x = np.nonzero(scribble(steps))
    line = np.polynomial.Polynomial.fit(x, y, 1)
    middle = (x > 12) & (x < 60)
    assert np.abs(y - line(x))[middle].max() < 3  # the steps are 5 high


def test_a_click_is_a_small_dot_in_the_middle():
    y, x = np.nonzero(click(region(slice(10, 31), slice(20, 41))))
    assert (y.mean(), x.mean()) == (20, 30)
    assert np.ptp(y) == np.ptp(x) == 4


def test_the_border_of_the_image_is_a_border():
    y, x = np.nonzero(click(REGIONS["everything"]))
    assert abs(y.mean() - 29.5) < 1
    assert 29 <= x.mean() <= 50


@pytest.mark.parametrize("tool", ["scribble", "click"])
@pytest.mark.parametrize("background", [False, True])
def test_the_first_strokes_mark_every_object_where_it_is(tool, background):
    truth = draw_video(1)[1][0]
    strokes = first_strokes(truth, tool, background=background)
    painted = strokes > 0
    assert set(strokes[painted].tolist()) == ({1, 2, BACKGROUND} if background else {1, 2})
    assert (np.where(strokes == BACKGROUND, 0, strokes)[painted] == truth[painted]).all()


def test_no_object_no_strokes():
    assert not first_strokes(blank(), "scribble").any()


@pytest.mark.parametrize("tool", ["scribble", "click"])
@pytest.mark.parametrize("seed", range(8))
def test_corrections_are_right_and_painted_only_where_the_mask_is_wrong(tool, seed):
    rng = np.random.default_rng(seed)
    truth, mask = (rng.integers(0, 4, (6, 8)).astype(np.uint16).repeat(10, 0).repeat(10, 1) for _ in range(2))
    mask[rng.random(SIZE) < 0.05] = 9  # and specks of an object that does not exist
    strokes = correction(mask, truth, tool)
    painted = strokes > 0
    assert painted.any()
    assert (mask[painted] != truth[painted]).all()
    assert (np.where(strokes == BACKGROUND, 0, strokes)[painted] == truth[painted]).all()


def test_scribbles_correct_every_label_at_once():
    truth, mask = blank(), blank()
    truth[10:30, 10:30], truth[10:30, 50:70] = 1, 2
    mask[35:55, 10:30] = 1
    strokes = correction(mask, truth, "scribble")
    assert (strokes[10:30, 10:30] == 1).any()
    assert (strokes[10:30, 50:70] == 2).any()
    assert (strokes[35:55, 10:30] == BACKGROUND).any()


def test_a_click_corrects_the_largest_region_alone():
    truth, mask = blank(), blank()
    truth[10:30, 10:30], truth[10:30, 50:60] = 1, 2
    strokes = correction(mask, truth, "click")
    assert np.unique(strokes).tolist() == [0, 1]


@pytest.mark.parametrize("tool", ["scribble", "click"])
def test_wrong_by_one_pixel(tool):
    truth, mask = blank(), blank()
    truth[59, 0] = 5
    assert np.argwhere(correction(mask, truth, tool) == 5).tolist() == [[59, 0]]
    assert np.argwhere(correction(truth, mask, tool) == BACKGROUND).tolist() == [[59, 0]]


def test_a_thin_rim_is_scribbled_along():
    truth, mask = blank(), blank()
    truth[10:50, 10:70], mask[11:49, 11:69] = 1, 1
    strokes = correction(mask, truth, "scribble")
    assert np.count_nonzero(strokes == 1) > 100


@pytest.mark.parametrize("tool", ["scribble", "click"])
def test_nothing_to_correct(tool):
    truth = draw_video(1)[1][0]
    assert not correction(truth, truth, tool).any()
    assert not correction(blank(), blank(), tool).any()
