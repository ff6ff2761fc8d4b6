import numpy as np
import pytest
import torch

from napari_pml.embedding.video_embeddings import VideoEmbeddings
from napari_pml.methods.annotated import AnnotatedReferences
from napari_pml.methods.references import ReferencePixels, ReferenceSource, dense_references, reference_keys
from napari_pml.types import BACKGROUND, Annotations
from napari_pml.video.video import open_video


def gathered(annotations, embeddings):
    return AnnotatedReferences(embeddings)(annotations, (BACKGROUND, *annotations.object_ids), thin=True)


def place(h, w):
    """An embedding that is the cell's own number, so that references can be traced back."""
    return torch.arange(h * w, dtype=torch.float32).view(h, w, 1)


def test_cells_on_a_border_belong_to_both_sides():
    labels = np.full((16, 16), BACKGROUND, np.uint16)
    labels[:, 10:] = 3
    found = dense_references(5, labels, place(2, 2), (BACKGROUND, 3), 8, painted=True)
    assert found.embeddings[:, 0].tolist() == [0, 1, 2, 3]
    assert found.cells.tolist() == [0, 1, 2, 3]
    assert found.frames.tolist() == [5] * 4
    assert found.labels.tolist() == [[0, 1], [1, 0], [0, 1], [1, 0]]
    assert found.shares.tolist() == [[1, 0], [0.75, 0.25], [1, 0], [0.75, 0.25]]


def test_a_single_painted_pixel_is_a_reference():
    labels = np.zeros((16, 16), np.uint16)
    labels[9, 3] = 2
    found = dense_references(0, labels, place(2, 2), (BACKGROUND, 1, 2), 8, painted=True)
    assert found.cells.tolist() == [2]
    assert found.labels[0, 0] == 2
    assert found.shares.tolist() == [[1, 0]]


def test_an_object_smaller_than_a_cell_is_not_lost():
    labels = np.full((16, 16), BACKGROUND, np.uint16)
    labels[0:2, 0:2] = 1
    labels[12, 12] = 2
    found = dense_references(0, labels, place(2, 2), (BACKGROUND, 1, 2), 8, painted=True)
    assert found.cells.tolist() == [0, 1, 2, 3, 0, 3]
    assert found.labels[:, 0].tolist() == [0, 0, 0, 0, 1, 2]


def test_strokes_that_share_a_cell_all_have_a_reference():
    labels = np.zeros((8, 8), np.uint16)
    labels[0, :4], labels[1, :3], labels[2, :2], labels[3, :1] = 1, 2, 3, 4
    found = dense_references(0, labels, place(1, 1), (BACKGROUND, 1, 2, 3, 4), 8, painted=True)
    assert sorted(found.labels[:, 0].tolist()) == [1, 2, 3, 4]


def test_a_frame_of_two_tones_is_no_error(colour_embedder):
    frames = np.zeros((2, 64, 64), np.uint8)
    frames[:, :, 32:] = 255
    embeddings = VideoEmbeddings(open_video(frames), colour_embedder)
    labels = np.zeros((64, 64), np.uint16)
    labels[30:34, 40:50] = 1
    found = gathered(Annotations((2, 64, 64)).with_frame(0, labels), embeddings)
    assert (found.labels[:, 0] == 1).any()


def test_hundreds_of_objects_in_one_image():
    labels = np.arange(1, 401, dtype=np.uint16).reshape(20, 20).repeat(8, 0).repeat(8, 1)
    found = dense_references(0, labels, place(20, 20), (BACKGROUND, *range(1, 401)), 8, painted=True)
    assert found.labels[:, 0].tolist() == list(range(1, 401))


@pytest.fixture
def embeddings(drawn, colour_embedder):
    return VideoEmbeddings(open_video(drawn[0]), colour_embedder)


def stroke(masks, label, t=0):
    y, x = (int(c.mean()) for c in np.nonzero(masks[t] == label))
    labels = np.zeros(masks[t].shape, np.uint16)
    labels[y, x - 4 : x + 4] = label
    return labels


def test_one_stroke_implies_background_where_things_look_different(drawn, embeddings):
    masks = drawn[1]
    annotations = Annotations(embeddings.video.shape).with_frame(0, stroke(masks, 1))
    found = gathered(annotations, embeddings)
    implied = found.cells[found.labels[:, 0] == 0]
    assert len(implied) > 20
    in_cells = masks[0].reshape(12, 8, 16, 8).transpose(0, 2, 1, 3).reshape(192, 64)
    assert not (in_cells[implied] == 1).all(1).any()


def test_a_complete_frame_needs_nothing_implied(drawn, embeddings):
    annotations = Annotations(embeddings.video.shape).with_frame(0, drawn[1][0], complete=True)
    found = gathered(annotations, embeddings)
    assert found.cells.tolist() == list(range(12 * 16))


def test_background_alone_implies_nothing(drawn, embeddings):
    labels = np.zeros((96, 128), np.uint16)
    labels[:8, :8] = BACKGROUND
    found = gathered(Annotations(embeddings.video.shape).with_frame(0, labels), embeddings)
    assert found.cells.tolist() == [0]


def test_thinned_references_keep_every_border_and_some_of_every_label():
    n = 400
    labels = torch.zeros(n, 2, dtype=torch.int64)
    labels[300:390, 0], labels[390:, 0] = 1, 2
    shares = torch.tensor([[1.0, 0.0]]).repeat(n, 1)
    shares[::50] = 0.5
    cells = torch.arange(n)
    every = ReferencePixels(
        torch.zeros(n, 4), labels, shares, reference_keys(3, cells, labels[:, 0], ReferenceSource.GIVEN)
    )
    few = every.thinned(30)
    assert torch.equal(few.cells, few.cells.sort().values)
    assert set(range(0, n, 50)) <= set(few.cells.tolist())
    pure = few.labels[few.shares[:, 1] == 0, 0]
    assert torch.bincount(pure).tolist() == [30, 30, 10]
    assert torch.equal(every.thinned(1000).cells, cells)


def test_nothing_can_be_thinned():
    labels = np.full((16, 16), BACKGROUND, np.uint16)
    found = dense_references(0, labels, place(2, 2), (BACKGROUND,), 8, painted=False)
    assert len(found.select(slice(0)).thinned(10)) == 0


def test_what_is_gathered_does_not_depend_on_what_was_gathered_before(drawn, embeddings):
    masks, ids = drawn[1], (BACKGROUND, 1, 2)
    gather = AnnotatedReferences(embeddings)
    steps = [Annotations(embeddings.video.shape).with_frame(0, stroke(masks, 1))]
    steps.append(steps[-1].with_frame(1, stroke(masks, 2, 1)))
    steps.append(steps[-1].with_frame(2, masks[2], complete=True))
    steps += [steps[-1].with_frame(0, stroke(masks, 1) + stroke(masks, 2)), steps[1], steps[0], steps[2]]
    for annotations in steps:
        known, anew = (how(annotations, ids, thin=False) for how in (gather, AnnotatedReferences(embeddings)))
        for name in ("embeddings", "labels", "shares", "keys"):
            assert torch.equal(getattr(known, name), getattr(anew, name))


def test_another_stroke_leaves_most_of_the_implied_background_as_it_was(drawn, embeddings):
    first = stroke(drawn[1], 1)
    more = first.copy()
    more[:4, :4] = BACKGROUND
    before, after = (
        gathered(Annotations(embeddings.video.shape).with_frame(0, labels), embeddings) for labels in (first, more)
    )
    implied = [set(found.keys[found.kinds == ReferenceSource.IMPLIED].tolist()) for found in (before, after)]
    assert len(implied[0] ^ implied[1]) < 0.1 * len(implied[0])
