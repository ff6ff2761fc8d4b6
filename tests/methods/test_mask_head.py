"""The mask head: what it sees, where it looks, and the masks that come of it with the bundled weights."""

import numpy as np
import pytest
import torch

from drawn_video import jaccard
from napari_pml import BACKGROUND, METHODS, Session, open_video
from napari_pml.embedding.networks.details import N_DETAILS, DetailLayers, FrameFeatures, unpacked
from napari_pml.embedding.protocol import DetailedEmbedder
from napari_pml.embedding.registry import load_embedder
from napari_pml.embedding.weights import bundled, load_weights, save_weights
from napari_pml.errors import WeightsError
from napari_pml.methods.mask_head.evidence import (
    OwnAndOthers,
    PreviousMask,
    References,
    distance_to_strokes,
    gather_evidence,
)
from napari_pml.methods.mask_head.network import MaskHead, load_mask_head, scores_of
from napari_pml.methods.mask_head.segmentation import MARGIN, MaskHeadPml, possible_box, wider_box
from napari_pml.methods.matching import NOBODY, labels_of_cells
from napari_pml.methods.pml.pml import Pml

CPU = torch.device("cpu")
NOTHING = References(torch.zeros(0, 3), torch.zeros(0, dtype=torch.int64))


@pytest.fixture(scope="module")
def compact():
    return load_embedder("compact", CPU)


@pytest.fixture
def make(compact):
    def make(frames):
        return Session(open_video(frames), embedder=compact)

    return make


def line(shape, label, rows, columns):
    painted = np.zeros(shape, np.uint16)
    painted[rows, columns] = label
    return painted


# What the head sees


def test_each_object_sees_the_best_of_all_others():
    maps = torch.tensor([[[0.2], [0.9], [0.5]]])
    largest, least = OwnAndOthers(maps), OwnAndOthers(maps, least=True)
    assert [largest.of(n)[:, 0].tolist() for n in range(3)] == [
        pytest.approx(row) for row in ([0.2, 0.9], [0.9, 0.5], [0.5, 0.9])
    ]
    assert [least.of(n)[1, 0].item() for n in range(3)] == [pytest.approx(x) for x in (0.5, 0.2, 0.2)]


def test_the_commonest_label_wins_a_cell_and_none_is_lost():
    shares = torch.zeros(3, 2, 2)
    shares[0, 0], shares[1, 0, 0] = 0.6, 0.7
    shares[2, 0, 1] = 0.1
    assert labels_of_cells(shares).tolist() == [[1, 2], [NOBODY, NOBODY]]


def test_distances_to_strokes_are_in_cells():
    painted = torch.zeros(2, 1, 5)
    painted[1, 0, 1] = 0.5
    distance = distance_to_strokes(painted)
    assert distance[0].isinf().all()
    assert distance[1, 0].tolist() == [1, 0, 1, 2, 3]


def evidence_of_a_stroke(**known):
    """Two halves that look different; a stroke of object 1 in the left one, and of the background in the right one."""
    matched = torch.zeros(4, 6, 3)
    matched[:, :3, 0] = matched[:, 3:, 1] = 3.0
    strokes = torch.zeros(2, 8, 12)
    strokes[1, 4, 1] = strokes[0, 4, 10] = 1.0
    return gather_evidence(matched, strokes, **({"references": NOTHING, "previous": None, "prior": None} | known)).of(1)


def test_what_looks_like_the_stroke_is_near_to_it():
    coarse, fine = evidence_of_a_stroke()
    own, anywhere, around, rival, *_ = coarse
    assert coarse.shape == (14, 4, 6)
    assert fine.shape == (4, 8, 12)
    assert own[:, :3].max() < 0.01 < 0.9 < own[:, 3:].min()
    assert rival[:, 3:].max() < 0.01 < 0.9 < rival[:, :3].min()
    assert (anywhere == 1).all()
    assert (around == 1).all()


def test_a_stroke_speaks_loudly_nearby_and_softly_far_away():
    coarse, _ = evidence_of_a_stroke()
    short, long = coarse[8:10, 2]
    assert (short.diff() < 0).all()
    assert (long >= short).all()
    assert short[0] == long[0] == 1


def test_there_is_a_prior_or_there_is_none():
    prior = torch.zeros(2, 8, 12)
    prior[1, :, :6] = 1
    (_, without), (_, with_prior) = evidence_of_a_stroke(), evidence_of_a_stroke(prior=prior)
    assert not without[2:].any()
    assert (with_prior[2] == prior[1]).all()
    assert (with_prior[3] == 1).all()


def test_references_and_the_previous_mask_are_matched():
    known = References(torch.tensor([[3.0, 0, 0]]), torch.tensor([1]))
    shares = torch.zeros(2, 8, 12)
    shares[0, :, 6:] = shares[1, :, :6] = 1
    matched = torch.zeros(4, 6, 3)
    matched[:, :3, 0] = matched[:, 3:, 1] = 3.0
    coarse, _ = evidence_of_a_stroke(references=known, previous=PreviousMask(matched, shares))
    _, anywhere, around, _, rival_anywhere, rival_around = coarse[:6]
    for own in (anywhere, around):
        assert own[:, :3].max() < 0.01 < 0.9 < own[:, 3:].min()
    assert (rival_anywhere == 1).all()
    assert rival_around[:, 3:].max() < 0.01


# The network


def test_details_come_out_as_they_went_in():
    torch.manual_seed(0)
    layers = DetailLayers()
    features = torch.rand(1, 16, 12, 20), torch.rand(1, 24, 6, 10), torch.rand(1, 152, 3, 5)
    context, detail = layers(*features)
    packed = layers.packed(*features)
    assert packed.shape == (1, N_DETAILS, 3, 5)
    found = unpacked(torch.cat([torch.ones(1, 7, 3, 5), packed], 1)[0].permute(1, 2, 0))
    assert found.embeddings.shape == (7, 3, 5)
    assert torch.equal(found.context, context[0])
    assert torch.equal(found.detail, detail[0])


@pytest.mark.parametrize("grid", [(1, 1), (5, 8), (7, 7)])
def test_logits_have_cells_of_two_pixels_and_objects_do_not_depend_on_each_other(grid):
    torch.manual_seed(0)
    net = MaskHead(8)
    h, w = grid
    features = FrameFeatures(torch.rand(8, h, w), torch.rand(32, h, w), torch.rand(16, 2 * h, 2 * w))
    coarse, fine = torch.rand(3, 14, h, w), torch.rand(3, 4, 2 * h, 2 * w)
    with torch.no_grad():
        together = net(features, coarse, fine)
        alone = torch.cat([net(features, c[None], f[None]) for c, f in zip(coarse, fine, strict=True)])
    assert together.shape == (3, 4 * h, 4 * w)
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)


def test_background_is_what_no_object_is():
    scores = scores_of(torch.tensor([[-5.0, 5.0], [-5.0, 4.0]]))
    torch.testing.assert_close(scores.sum(0), torch.ones(2))
    assert scores.argmax(0).tolist() == [0, 1]


def test_an_object_is_looked_for_where_it_can_be():
    coarse = torch.zeros(14, 100, 100)
    coarse[1] = coarse[4] = 1.0  # unlike anything known
    assert possible_box(coarse) is None
    coarse[12, 50:53, 60:62] = 0.5  # it was there before
    assert possible_box(coarse) == (slice(50 - MARGIN, 53 + MARGIN), slice(60 - MARGIN, 62 + MARGIN))
    coarse[1, 2, 90] = 0.3  # and something like it is there
    rows, columns = possible_box(coarse)
    assert (rows.start, rows.stop) == (0, 53 + MARGIN)
    assert columns.stop == 100


def test_a_box_grows_where_the_object_reaches_its_border():
    inside = torch.zeros(40, 40, dtype=torch.bool)
    box = slice(30, 40), slice(50, 60)
    inside[10:20, 10:20] = True
    assert wider_box(box, inside, (100, 100)) is None
    inside[39] = True
    rows, columns = wider_box(box, inside, (100, 100))
    assert (rows.start, columns.start) == (30, 26)
    assert rows.stop > 40
    assert wider_box((slice(0, 100), slice(0, 100)), inside, (100, 100)) is None


# The embedder and its head


def test_the_bundled_embedder_has_details_behind_the_same_embeddings(compact):
    frames, t = torch.rand(1, 3, 40, 56), torch.zeros(1)
    assert isinstance(compact, DetailedEmbedder)
    cells = compact.embed_with_details(frames, t)
    assert cells.shape == (1, compact.dim + N_DETAILS, 5, 7)
    torch.testing.assert_close(cells[:, : compact.dim], compact.embed(frames, t))


def test_votes_decide_without_a_mask_head(compact, colour_embedder, drawn):
    video = open_video(drawn[0])
    for embedder, config, kind in (
        (compact, METHODS["pml"], MaskHeadPml),
        (compact, METHODS["pml-paper"], Pml),
        (colour_embedder, METHODS["pml"], Pml),
    ):
        assert type(Session(video, config, embedder=embedder)._segmenter.method) is kind


def test_a_head_of_another_embedder_is_refused(tmp_path):
    path = tmp_path / "compact.safetensors"
    save_weights(load_weights(bundled("compact"))[0], path, "compact", steps="7")
    (tmp_path / "mask-head.safetensors").write_bytes(bundled("mask-head").read_bytes())
    with pytest.raises(WeightsError, match="trained on embeddings of"):
        load_embedder(str(path), CPU)


def test_a_damaged_head_is_refused(tmp_path, compact):
    path = tmp_path / "compact.safetensors"
    path.write_bytes(bundled("compact").read_bytes())
    state, _ = load_weights(bundled("mask-head"))
    for missing in ("layers.context.weight", "logit.bias"):
        rest = {name: value for name, value in state.items() if name != missing}
        save_weights(rest, tmp_path / "mask-head.safetensors", "mask-head", embedder=compact.fingerprint)
        with pytest.raises(WeightsError, match="Train it again"):
            load_mask_head(load_embedder(str(path), CPU))


# Masks, with the bundled weights


def test_one_stroke_an_object_and_none_on_the_background_gives_the_objects(make, drawn):
    frames, masks = drawn
    session = make(frames)
    strokes = line(masks.shape[1:], 1, slice(59, 62), slice(20, 40)) + line(
        masks.shape[1:], 2, slice(21, 24), slice(95, 105)
    )
    session.annotate(0, strokes)
    found = list(session.propagate(0))
    for t in range(len(frames)):
        for label in (1, 2):
            assert jaccard(session.masks[t].labels == label, masks[t] == label) > 0.85, (t, label)
    assert found[-1].confidence.shape == (12, 16)


def test_look_alikes_are_told_apart_by_where_they_are(make):
    """Three red discs; a stroke on each makes three objects, although nothing but their places differs."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:96, :192]
    truth = sum(n * (np.hypot(y - 48, x - 32 - 64 * (n - 1)) < 20).astype(np.uint16) for n in (1, 2, 3))
    frame = np.where(truth[..., None] > 0, (200, 50, 40), (60, 150, 70)) + rng.integers(-15, 15, (96, 192, 3))
    session = make(frame[None].astype(np.uint8))
    strokes = np.zeros_like(truth)
    for n in (1, 2, 3):
        strokes[46:49, 64 * n - 40 : 64 * n - 24] = n
    session.annotate(0, strokes)
    labels = session.segment(0).labels
    for n in (1, 2, 3):
        assert jaccard(labels == n, truth == n) > 0.85


def test_what_is_painted_is_final_and_undo_is_exact(make, drawn):
    frames, masks = drawn
    first = line(masks.shape[1:], 1, slice(59, 62), slice(20, 40))
    more = first + line(masks.shape[1:], BACKGROUND, slice(50, 53), slice(25, 35))  # against all evidence
    session = make(frames[:3])
    session.annotate(0, first)
    before = [mask.labels for mask in session.propagate(0)]
    session.annotate(0, more)
    list(session.propagate(0))
    assert not session.masks[0].labels[50:53, 25:35].any()
    session.annotate(0, first)
    after = [mask.labels for mask in session.propagate(0)]
    assert all(np.array_equal(a, b) for a, b in zip(before, after, strict=True))


def test_masks_depend_on_the_annotations_not_on_their_order(make, drawn):
    frames, masks = drawn
    strokes = {
        0: line(masks.shape[1:], 1, slice(59, 62), slice(20, 40)),
        5: line(masks.shape[1:], 2, slice(31, 34), slice(95, 105)),
        7: line(masks.shape[1:], BACKGROUND, slice(2, 5), slice(5, 60)),
    }
    found = []
    for order in ((0, 5, 7), (7, 5, 0)):
        session = make(frames)
        for t in order:
            session.annotate(t, strokes[t])
            next(session.propagate(t))
        list(session.propagate(3))
        found.append([session.masks[t].labels for t in range(len(frames))])
    assert np.array_equal(*found)


def test_many_objects_are_each_found_in_a_box_of_their_own(make, monkeypatch):
    """Twenty discs on a background of their own kind; with little room, logits are kept in larger cells."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:240, :320]
    truth = np.zeros((240, 320), np.uint16)
    frame = np.full((240, 320, 3), 90)
    for n, (row, column) in enumerate(np.ndindex(4, 5), start=1):
        inside = np.hypot(y - 32 - 58 * row, x - 32 - 64 * column) < 20
        truth[inside], frame[inside] = n, rng.integers(60, 255, 3)
    frame = (frame + rng.integers(-15, 15, frame.shape)).clip(0, 255).astype(np.uint8)
    session = make(np.stack([frame, frame]))
    session.annotate(0, truth, complete=True)
    assert np.mean([jaccard(session.segment(1).labels == n, truth == n) for n in range(1, 21)]) > 0.9
    monkeypatch.setattr("napari_pml.methods.mask_head.segmentation.MOST_VALUES", 20 * 60 * 80)
    coarse = session._segmenter.method.segment(1, [session.segment(0)])
    assert coarse.stride == 4
    assert coarse.values.shape == (21, 60, 80)


def test_an_object_that_appears_later_is_followed_from_there(make, drawn):
    """Frame 0 is complete and calls the square background; a stroke on a later frame makes an object of it."""
    frames, masks = drawn
    session = make(frames)
    session.annotate(0, np.where(masks[0] == 1, 1, 0), complete=True)
    session.annotate(4, line(masks.shape[1:], 2, slice(28, 33), slice(93, 107)))
    list(session.propagate(4))
    assert all(jaccard(session.masks[t].labels == 2, masks[t] == 2) > 0.8 for t in range(4, 8))
    assert all(jaccard(session.masks[t].labels == 1, masks[t] == 1) > 0.8 for t in range(8))
