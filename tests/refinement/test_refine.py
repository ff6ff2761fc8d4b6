import numpy as np
import pytest
import torch

from drawn_video import jaccard
from napari_pml.grid import grid_shape, pixel_counts
from napari_pml.refinement.guided_filter import Refiner
from napari_pml.types import BACKGROUND, Scores
from napari_pml.video.video import open_video
from napari_pml.video.working import WorkingVideo


def scores_of(labels, ids):
    counts = pixel_counts(labels, ids, 8)
    h, w = labels.shape[0] // 8, labels.shape[1] // 8
    return Scores((counts / counts.sum(1, keepdim=True)).T.reshape(len(ids), h, w), ids, 8)


def pixel_labels(scores, picture, refinement):
    """Colour that goes from 0 to 1 as 8-bit colour does."""
    return Refiner(WorkingVideo(open_video(np.rint(255 * picture[None]).astype(np.uint8))))(0, scores, refinement)


def test_following_edges_brings_the_outline_closer(drawn):
    frame, mask = drawn[0][2] / np.float32(255), drawn[1][2]
    ids = (BACKGROUND, 1, 2)
    scores = scores_of(np.where(mask == 0, BACKGROUND, mask).astype(np.uint16), ids)
    plain = pixel_labels(scores, frame, "none")
    refined = pixel_labels(scores, frame, "edges")
    for label in (1, 2):
        assert jaccard(plain == label, mask == label) > 0.85
        assert jaccard(refined == label, mask == label) > jaccard(plain == label, mask == label)


def test_an_object_has_the_same_outline_whatever_surrounds_it():
    """Each object is looked at in a rectangle of its own; the outline must not know."""
    chance = np.random.default_rng(0)
    picture = chance.random((160, 240, 3), np.float32)
    picture[56:104, 90:150] *= 0.3
    mask = np.full((160, 240), BACKGROUND, np.uint16)
    mask[60:100, 96:144] = 1
    alone = scores_of(mask, (BACKGROUND, 1))
    everywhere = Scores(alone.values.clone(), alone.object_ids, 8)
    everywhere.values[1, 0, 0] = everywhere.values[1, -1, -1] = 0.21  # makes its rectangle the whole frame
    labels = [pixel_labels(scores, picture, "edges") for scores in (alone, everywhere)]
    assert (labels[0] == labels[1]).all()
    assert (labels[0] == 1).any()


@pytest.mark.parametrize("stride", [2, 4, 8, 16])
@pytest.mark.parametrize("size", [(160, 240), (157, 235)])
def test_every_size_of_cells_follows_edges(stride, size):
    """The edge lies where no cell ends; an object far from the first row has a rectangle of its own."""
    picture = np.full((*size, 3), 0.2, np.float32)
    picture[71:113, 93:149] = 0.8
    mask = np.full(size, BACKGROUND, np.uint16)
    mask[71:113, 93:149] = 1
    counts = pixel_counts(mask, (BACKGROUND, 1), stride)
    h, w = grid_shape(*size, stride)
    scores = Scores((counts / counts.sum(1, keepdim=True)).T.reshape(2, h, w), (BACKGROUND, 1), stride)
    assert jaccard(pixel_labels(scores, picture, "edges") == 1, mask == 1) > (0.97 if stride < 16 else 0.9)


def test_the_best_of_many_wins_however_few_votes_it_has():
    values = torch.full((21, 4, 4), 0.04)
    values[7] = 0.2
    labels = pixel_labels(Scores(values, (BACKGROUND, *range(1, 21)), 8), np.zeros((32, 32, 3), np.float32), "edges")
    assert (labels == 7).all()


def test_many_labels_at_once():
    mask = np.arange(1, 31, dtype=np.uint16).reshape(5, 6).repeat(16, 0).repeat(16, 1)
    ids = (BACKGROUND, *range(1, 31))
    grey = np.zeros((*mask.shape, 3), np.float32)
    assert (pixel_labels(scores_of(mask, ids), grey, "none") == mask).all()


def test_a_flat_image_changes_nothing_but_smoothness():
    values = torch.zeros(2, 4, 4)
    values[0], values[1, :, 2:] = 0.5, 1
    labels = pixel_labels(Scores(values, (BACKGROUND, 9), 8), np.zeros((32, 32, 3), np.float32), "edges")
    assert (labels[:, :12] == 0).all()
    assert (labels[:, 20:] == 9).all()
