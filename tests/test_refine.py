import numpy as np
import pytest
import torch

from drawn_video import jaccard
from napari_pml.embedding.refinement import N_EVIDENCE, RefinementNet
from napari_pml.grid import pixel_counts
from napari_pml.refine import pixel_labels
from napari_pml.types import BACKGROUND, Scores


def scores_of(labels, ids):
    counts = pixel_counts(labels, ids, 8)
    h, w = labels.shape[0] // 8, labels.shape[1] // 8
    return scores_from((counts / counts.sum(1, keepdim=True)).T.reshape(len(ids), h, w), ids)


def scores_from(values, ids):
    return Scores(values, values[:, None].repeat(1, N_EVIDENCE, 1, 1), ids)


def test_following_edges_brings_the_outline_closer(drawn):
    frame, mask = drawn[0][2] / np.float32(255), drawn[1][2]
    ids = (BACKGROUND, 1, 2)
    scores = scores_of(np.where(mask == 0, BACKGROUND, mask).astype(np.uint16), ids)
    plain = pixel_labels(scores, frame, 8, "cells")
    refined = pixel_labels(scores, frame, 8, "edges")
    for label in (1, 2):
        assert jaccard(plain == label, mask == label) > 0.85
        assert jaccard(refined == label, mask == label) > jaccard(plain == label, mask == label)


def test_many_labels_are_the_same_as_few():
    """Labels are worked through in groups; the result must not know."""
    mask = np.arange(1, 31, dtype=np.uint16).reshape(5, 6).repeat(16, 0).repeat(16, 1)
    ids = (BACKGROUND, *range(1, 31))
    grey = np.zeros((*mask.shape, 3), np.float32)
    assert (pixel_labels(scores_of(mask, ids), grey, 8, "cells") == mask).all()


@pytest.fixture
def untrained():
    torch.manual_seed(0)
    return RefinementNet().eval()


@pytest.mark.parametrize("size", [(96, 128), (93, 121), (40, 33)])
def test_an_untrained_network_leaves_the_votes_as_they_are(untrained, drawn, size):
    frame, mask = (x[2][: size[0], : size[1]] for x in drawn)
    labels = np.where(mask == 0, BACKGROUND, mask).astype(np.uint16)
    padded = np.pad(labels, [(0, -n % 8) for n in size], mode="edge")
    scores = scores_of(padded, (BACKGROUND, 1, 2))
    rgb = frame / np.float32(255)
    learned, plain = (pixel_labels(scores, rgb, 8, outline) for outline in (untrained, "cells"))
    assert learned.shape == size
    assert (learned == plain).mean() > 0.98  # logits are brought up, not shares


def test_a_network_sees_each_object_where_it_may_be_and_nothing_else(untrained, monkeypatch):
    seen = []
    forward = RefinementNet.forward

    def spy(self, image, evidence):
        seen.append(evidence.shape[-2:])
        return forward(self, image, evidence)

    monkeypatch.setattr(RefinementNet, "forward", spy)
    mask = np.full((160, 320), BACKGROUND, np.uint16)
    mask[8:16, 8:16], mask[100:130, 200:280] = 5, 7
    labels = pixel_labels(scores_of(mask, (BACKGROUND, 4, 5, 7)), np.zeros((160, 320, 3), np.float32), 8, untrained)
    assert set(np.unique(labels)) <= {0, 5, 7}
    assert (labels[104:126, 206:274] == 7).all()
    assert len(seen) == 2  # nobody voted for object 4
    assert all(h * w < 20 * 40 / 2 for h, w in seen)


def test_a_flat_image_changes_nothing_but_smoothness():
    values = torch.zeros(2, 4, 4)
    values[0], values[1, :, 2:] = 0.5, 1
    labels = pixel_labels(scores_from(values, (BACKGROUND, 9)), np.zeros((32, 32, 3), np.float32), 8, "edges")
    assert (labels[:, :12] == 0).all()
    assert (labels[:, 20:] == 9).all()
