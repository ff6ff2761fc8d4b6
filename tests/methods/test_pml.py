"""What strokes and context say about a frame when votes decide."""

import numpy as np
import pytest
import torch

from napari_pml import BACKGROUND, METHODS, Session, open_video
from napari_pml.methods.annotated import contradicted, looks_like
from napari_pml.methods.references import ReferencePixels, ReferenceSource, reference_keys
from napari_pml.types import FrameMask


@pytest.fixture
def halves(colour_embedder):
    """A still video of two frames, left half red and right half blue, with a stroke on each half of frame 0."""
    rng = np.random.default_rng(0)
    frame = np.zeros((64, 128, 3), np.int64)
    frame[:, :64], frame[:, 64:] = (200, 40, 40), (40, 40, 200)
    frame += rng.integers(-25, 25, (8, 16, 1)).repeat(8, 0).repeat(8, 1)
    session = Session(open_video(np.stack([frame, frame]).astype(np.uint8)), METHODS["pml"], embedder=colour_embedder)
    strokes = np.zeros((64, 128), np.uint16)
    strokes[30:34, 8:56], strokes[30:34, 72:120] = 1, BACKGROUND
    session.annotate(0, strokes)
    return session


def scores_of(session, t, finished):
    method = session._segmenter.method
    list(method.learn(session.annotations))
    return method.segment(t, finished).values


def test_a_wrong_cell_of_the_last_mask_is_outvoted_with_strokes_as_with_masks(halves):
    """Each cell's likest neighbour in the last frame is itself: a single neighbour would keep every mistake."""
    labels = np.zeros((64, 128), np.uint16)
    labels[:, :64] = 1
    labels[16:24, 24:32] = 0  # a hole that should not be there
    scores = scores_of(halves, 1, [FrameMask(0, labels, np.ones((8, 16), np.float32), 1)])
    assert scores[1, 2, 3] > 0.5


def test_a_stroke_reopens_only_what_looks_like_it(halves):
    """Whatever is painted, some cells look most like it; if they do not look alike, the last mask still counts."""
    cells = halves.embeddings[1].flatten(0, 1)
    green = torch.nn.functional.normalize(torch.tensor([[-2.0, 2.0, -2.0, 1.0]]), dim=1)
    assert not looks_like(cells, green).any()
    assert looks_like(cells, cells[:1])[0]
    assert not looks_like(cells, cells[:1])[15]


def references(embeddings, labels, frames, kinds):
    labels = torch.tensor(labels)
    keys = torch.cat(
        [
            reference_keys(t, torch.tensor([i]), labels[i : i + 1], kind)
            for i, (t, kind) in enumerate(zip(frames, kinds, strict=True))
        ]
    )
    shares = torch.tensor([1.0, 0.0]).expand(len(labels), 2)
    return ReferencePixels(torch.tensor(embeddings), torch.stack([labels, labels * 0], 1), shares, keys)


def test_a_stroke_contradicts_what_was_found_but_not_what_a_person_gave():
    """Frame 0 is complete and shows object 1; frame 5 is finished; strokes are on frame 3."""
    alike = [1.0, 0.0]
    of_object = references(
        [alike, alike, alike],
        [1, 1, 0],
        [0, 5, 3],
        [ReferenceSource.GIVEN, ReferenceSource.GIVEN, ReferenceSource.PAINTED],
    )
    assert contradicted(of_object, [0]).tolist() == [False, True, False]
    known = references(
        [alike, alike, alike],
        [0, 1, 1],
        [0, 0, 3],
        [ReferenceSource.GIVEN, ReferenceSource.GIVEN, ReferenceSource.PAINTED],
    )
    assert not contradicted(known, [0]).any()
    unknown = references(
        [alike, alike, alike],
        [0, 1, 2],
        [0, 0, 3],
        [ReferenceSource.GIVEN, ReferenceSource.GIVEN, ReferenceSource.PAINTED],
    )
    assert contradicted(unknown, [0]).tolist() == [True, False, False]
