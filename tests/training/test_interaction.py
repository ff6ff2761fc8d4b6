import numpy as np
import pytest

from drawn_video import draw_video
from napari_pml.training.interaction import corrections, first_strokes
from napari_pml.types import BACKGROUND


def labels_under(strokes, labels):
    painted = strokes > 0
    return np.where(strokes == BACKGROUND, 0, strokes)[painted], labels[painted]


@pytest.mark.parametrize("seed", range(12))
def test_first_strokes_are_true_and_on_every_object(seed):
    truth = draw_video(1)[1][0]
    strokes = first_strokes(np.random.default_rng(seed), truth, 2)
    painted, true = labels_under(strokes, truth)
    assert (painted == true).all()
    assert {1, 2} <= set(painted.tolist())


def test_the_background_is_painted_about_half_of_the_time():
    truth = draw_video(1)[1][0]
    rng = np.random.default_rng(0)
    with_background = [(first_strokes(rng, truth, 2) == BACKGROUND).any() for _ in range(40)]
    assert 10 < sum(with_background) < 30


def test_objects_that_are_not_asked_for_get_a_dot_or_nothing():
    truth = draw_video(1)[1][0]
    rng = np.random.default_rng(0)
    sizes = {int((first_strokes(rng, truth, 1) == 2).sum()) for _ in range(20)}
    assert 0 in sizes
    assert 0 < max(sizes) <= 25


@pytest.mark.parametrize("seed", range(12))
def test_corrections_are_true_and_only_where_the_mask_is_wrong(seed):
    rng = np.random.default_rng(seed)
    truth, mask = (rng.integers(0, 4, (6, 8)).astype(np.uint16).repeat(10, 0).repeat(10, 1) for _ in range(2))
    strokes = corrections(rng, mask, truth)
    painted, true = labels_under(strokes, truth)
    assert len(painted)
    assert (painted == true).all()
    assert (mask[strokes > 0] != truth[strokes > 0]).all()


def test_nothing_to_correct():
    truth = draw_video(1)[1][0]
    assert not corrections(np.random.default_rng(0), truth, truth).any()
