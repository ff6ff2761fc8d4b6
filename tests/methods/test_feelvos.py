from dataclasses import replace

import numpy as np
import pytest
import torch

from drawn_video import ColourEmbedder, jaccard
from napari_pml import BACKGROUND, METHODS, Session, open_video
from napari_pml.embedding.weights import save_weights
from napari_pml.errors import WeightsError
from napari_pml.methods.feelvos import network as feelvos_network
from napari_pml.methods.feelvos.feelvos import PREVIOUS_FRAMES
from napari_pml.methods.feelvos.network import (
    FeelvosNet,
    distances_to_others,
    labels_of_cells,
    load_network,
    shares_of_labels,
)
from napari_pml.methods.matching import NOBODY
from napari_pml.types import FrameMask

FEELVOS = METHODS["feelvos"]


@pytest.fixture
def make(drawn, colour_embedder):
    def make(config=FEELVOS, frames=drawn[0]):
        return Session(open_video(frames), config, embedder=colour_embedder)

    return make


def network_input(n_labels, h=4, w=6, dim=4):
    torch.manual_seed(1)
    return (
        torch.rand(3, 8 * h, 8 * w), torch.randn(dim, h, w), torch.rand(n_labels, 2, h, w),
        torch.rand(n_labels, 2 * h, 2 * w),
    )  # fmt: skip


def random_network(dim=4):
    """A network that answers with all of its layers: at the start of training, only the shortcut does."""
    torch.manual_seed(0)
    net = FeelvosNet(dim)
    torch.nn.init.normal_(net.logit.weight)
    return net


@torch.no_grad()
def test_every_label_is_scored_by_the_same_weights():
    frame, embeddings, distances, before = network_input(3)
    net = random_network()
    logits = net(frame, embeddings, distances, before)
    assert logits.shape == (3, 8, 12)
    order = [2, 0, 1]
    assert torch.allclose(net(frame, embeddings, distances[order], before[order]), logits[order], atol=1e-5)


@torch.no_grad()
def test_many_labels_are_scored_some_at_a_time(monkeypatch):
    arguments = network_input(51)
    net = random_network()
    at_once = net(*arguments)
    sizes = []
    monkeypatch.setattr(feelvos_network, "VALUES_AT_ONCE", 5 * 2 * feelvos_network.FINE * arguments[3][0].numel())
    net.wide.register_forward_hook(lambda _, arguments, output: sizes.append(len(output)))
    assert torch.allclose(net(*arguments), at_once, atol=1e-5)
    assert max(sizes) == 5
    assert sum(sizes) == 51


@torch.no_grad()
def test_the_answer_lies_where_the_image_does():
    """Turned over as a whole, pixels, cells of stride 8 and cells of stride 4 must still fit each other."""
    frame, embeddings, distances, before = network_input(2)
    net = random_network()
    for part in net.modules():
        if isinstance(part, torch.nn.Conv2d):
            part.weight.copy_((part.weight + part.weight.flip(-1)) / 2)
    flipped = net(frame.flip(-1), embeddings.flip(-1), distances.flip(-1), before.flip(-1))
    assert torch.allclose(flipped.flip(-1), net(frame, embeddings, distances, before), atol=1e-4)


@torch.no_grad()
def test_training_starts_from_plain_matching():
    frame, embeddings, distances, _ = network_input(2)
    distances[0], distances[1] = 0.1, 0.6
    scores = FeelvosNet(4)(frame, embeddings, distances, torch.zeros(2, 8, 12)).softmax(0)
    assert (scores[0] > 0.9).all()


def test_shares_and_labels_of_cells():
    mask = np.zeros((20, 12), np.uint16)  # 3 x 2 cells of stride 8, the last ones partly outside
    mask[:, :8] = 7
    mask[:4, :4] = BACKGROUND
    mask[9, 9] = 5
    shares = shares_of_labels(mask, (BACKGROUND, 5, 7))
    assert shares.shape == (3, 6, 4)
    assert shares[:, 0, 0].tolist() == [1, 0, 0]
    assert shares[:, 5, 0].tolist() == [0, 0, 1]
    assert shares[:, 0, 3].tolist() == [0, 0, 0]
    # Background is commonest nowhere and has the cell of which it fills most; a single pixel is not lost.
    assert labels_of_cells(shares).tolist() == [[0, NOBODY], [2, 1], [2, NOBODY]]


def test_shares_of_a_frame_whose_sides_are_no_multiples_of_8():
    shares = shares_of_labels(np.full((1, 9), 3, np.uint16), (BACKGROUND, 3))
    assert shares.shape == (2, 2, 4)
    assert (shares[1, :, :3] == 1).all()


def test_one_object_alone_and_background_alone(make):
    session = make(frames=np.random.default_rng(0).random((3, 30, 41)))
    session.annotate(0, np.full((30, 41), 5))
    assert all((mask.labels == 5).all() for mask in session.propagate())
    session.annotate(0, np.full((30, 41), BACKGROUND))
    assert not any(mask.labels.any() for mask in session.propagate())


def test_fifty_objects(make):
    """Squares of fifty colours, a pixel farther right in every frame."""
    rng = np.random.default_rng(0)
    colours = rng.integers(0, 256, (51, 3), np.uint8)
    frames, masks = np.full((3, 96, 160, 3), 128, np.uint8), np.zeros((3, 96, 160), np.uint16)
    for t in range(3):
        for i in range(50):
            y, x = 2 + 18 * (i // 10), 1 + 16 * (i % 10) + t
            masks[t, y : y + 12, x : x + 12] = i + 1
        frames[t][masks[t] > 0] = colours[masks[t][masks[t] > 0]]
    session = make(frames=frames)
    session.annotate(0, masks[0], complete=True)
    labels = {mask.t: mask.labels for mask in session.propagate()}[2]
    assert np.mean([jaccard(labels == i, masks[2] == i) for i in range(1, 51)]) > 0.7


def test_only_a_frame_close_by_is_a_previous_one(make, drawn):
    session = make(frames=np.concatenate([drawn[0]] * 2))
    session.annotate(0, drawn[1][0], complete=True)
    session.segment(1)
    method = session._segmenter.method
    previous = FrameMask(0, np.full((96, 128), 1, np.uint16), np.ones((12, 16), np.float32), 1)
    alone, near, far = (
        method.segment(t, finished).values for t, finished in ((9, []), (1, [previous]), (9, [previous]))
    )
    assert torch.equal(alone, far)
    assert near[1].mean() > alone[1].mean() + 0.1
    assert PREVIOUS_FRAMES < 9


def test_adaptation_matches_with_what_was_found_with_confidence(make, drawn):
    session = make()
    session.annotate(0, drawn[1][0], complete=True)
    session.segment(1)
    found = [FrameMask(t, drawn[1][t], np.ones((12, 16), np.float32), 1) for t in range(1, 3)]
    method = session._segmenter.method
    with_adaptation = method.segment(7, found).values
    method.config = replace(FEELVOS, adaptation=False)
    without = method.segment(7, found).values
    assert not torch.equal(with_adaptation, without)
    unsure = [FrameMask(t, drawn[1][t], np.full((12, 16), 0.98, np.float32), 1) for t in range(1, 3)]
    method.config = FEELVOS
    assert torch.equal(method.segment(7, unsure).values, without)


def test_a_stroke_outdoes_the_previous_mask(make, drawn):
    session = make()
    session.annotate(0, np.where(drawn[1][0] == 1, 1, 0), complete=True)
    list(session.propagate())
    assert 2 not in session.masks[4].labels
    correction = np.zeros((96, 128), np.uint16)
    correction[24:36, 92:108] = 2
    session.annotate(4, correction)
    list(session.propagate(4))
    assert all(jaccard(session.masks[t].labels == 2, drawn[1][t] == 2) > 0.8 for t in range(4, 8))


def test_what_was_learned_from_another_video_counts(make, drawn):
    other = make()
    other.annotate(0, drawn[1][0], complete=True)
    session = make()
    session.transfer_from(other)
    assert all(jaccard(mask.labels == 1, drawn[1][mask.t] == 1) > 0.8 for mask in session.propagate())


def test_an_object_that_is_no_longer_annotated_is_background(make, drawn):
    session = make()
    session.annotate(0, drawn[1][0], complete=True)
    list(session.propagate())
    session.annotate(0, np.where(drawn[1][0] == 1, 1, 0), complete=True)
    assert all(set(np.unique(mask.labels)) == {0, 1} for mask in session.propagate())


def test_the_bundled_network_segments(drawn):
    session = Session(open_video(drawn[0]), FEELVOS)
    session.annotate(0, drawn[1][0], complete=True)
    for mask in session.propagate():
        assert all(jaccard(mask.labels == i, drawn[1][mask.t] == i) > 0.85 for i in (1, 2))


def test_an_embedder_without_a_network_is_refused_and_nothing_changes(drawn, tmp_path):
    embedder = ColourEmbedder()
    with pytest.raises(WeightsError, match="no FEELVOS network for the embedder 'colour'"):
        Session(open_video(drawn[0]), FEELVOS, embedder=embedder)
    session = Session(open_video(drawn[0]), embedder=embedder)
    session.annotate(0, drawn[1][0], complete=True)
    list(session.propagate())
    with pytest.raises(WeightsError):
        session.config = FEELVOS
    assert session.config == METHODS["pml"]
    assert session.stale_frames() == []


def test_a_network_for_other_embeddings_is_refused(tmp_path):
    embedder = ColourEmbedder(tmp_path / "colour.safetensors")
    save_weights(FeelvosNet(4).state_dict(), tmp_path / "feelvos.safetensors", "feelvos", embedder="other-1")
    with pytest.raises(WeightsError, match="embeddings of other-1, not of colour-1"):
        load_network(embedder)
    save_weights(FeelvosNet(5).state_dict(), tmp_path / "feelvos.safetensors", "feelvos", embedder="colour-1")
    with pytest.raises(WeightsError, match="does not fit"):
        load_network(embedder)


def test_what_else_is_near_is_the_least_of_all_other_distances():
    torch.manual_seed(0)
    distances = torch.rand(5, 2, 3, 4)
    found = distances_to_others(distances)
    for label in range(5):
        others = torch.cat([distances[:label], distances[label + 1 :]])
        assert torch.equal(found[label], others.amin(0))


def test_where_there_is_nothing_else_it_is_far():
    assert torch.equal(distances_to_others(torch.rand(1, 2, 3, 4)), torch.ones(1, 2, 3, 4))


def test_equally_near_labels_are_each_others_rivals():
    assert torch.equal(distances_to_others(torch.full((3, 2, 1, 1), 0.25)), torch.full((3, 2, 1, 1), 0.25))
