import pytest
import torch

from napari_pml.methods.pml.compaction import DISTANCE, Compaction
from napari_pml.methods.references import ReferencePixels, ReferenceSource, reference_keys
from napari_pml.types import BACKGROUND

K, DIM, N_CELLS = 3, 8, 200
OBJECTS = torch.tensor([BACKGROUND, 7, 9])


def frame(t, kind=ReferenceSource.GIVEN):
    """A frame whose cells come from a few clusters, as those of a video do, each with a chance label."""
    chance = torch.Generator().manual_seed(t)
    centres = torch.randn(6, DIM, generator=torch.Generator().manual_seed(99))
    which = torch.randint(6, (N_CELLS,), generator=chance)
    cells = torch.nn.functional.normalize(centres[which] + 0.2 * torch.randn(N_CELLS, DIM, generator=chance), dim=1)
    labels = torch.where(torch.rand(N_CELLS, generator=chance) < 0.8, which % 3, (which + 1) % 3)
    keys = reference_keys(t, torch.arange(N_CELLS), OBJECTS[labels], kind)
    shares = torch.tensor([[1.0, 0.0]]).repeat(N_CELLS, 1)
    return ReferencePixels(cells, torch.stack([labels, torch.zeros_like(labels)], 1), shares, keys)


def pool_of(*frames):
    return ReferencePixels.concatenate(frames).sorted()


def kept_of(pool, compact=None):
    """What is kept, by a fresh `Compaction` unless one is given."""
    steps = (compact or Compaction(K, many=500))(pool)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


def k_nearest_distances(cells, pool, label):
    of_label = pool.embeddings[pool.objects == label]
    return torch.cdist(cells.double(), of_label.double()).sort(1).values[:, :K]


def test_the_k_nearest_of_each_label_are_hardly_further_and_never_nearer():
    every = pool_of(*map(frame, range(8)))
    kept = kept_of(every)
    assert len(kept) < 0.7 * len(every)
    assert torch.isin(kept.keys, every.keys).all()
    cells = torch.nn.functional.normalize(torch.randn(2000, DIM, generator=torch.Generator().manual_seed(1)), dim=1)
    for label in OBJECTS:
        further = k_nearest_distances(cells, kept, label) - k_nearest_distances(cells, every, label)
        assert further.min() >= 0
        assert 0 < further.max() <= DISTANCE


def test_few_references_are_all_kept():
    every = pool_of(*map(frame, range(4)))
    assert kept_of(every, Compaction(K, many=len(every))) is every


def test_no_stroke_is_left_out():
    strokes = frame(2, ReferenceSource.PAINTED)
    kept = kept_of(pool_of(*map(frame, range(8)), strokes))
    assert torch.isin(strokes.keys, kept.keys).all()


@pytest.mark.parametrize("order", [[0, 1, 2, 3, 4, 5, 6, 7], [7, 3, 0, 5, 1, 6, 2, 4]])
def test_what_is_kept_does_not_depend_on_what_came_first(order):
    compact = Compaction(K, many=500)
    frames = []
    for t in order:
        frames.append(frame(t))
        kept = kept_of(pool_of(*frames), compact)
    assert torch.equal(kept.keys, kept_of(pool_of(*map(frame, range(8)))).keys)
    without = pool_of(*map(frame, [0, 1, 4, 5, 6, 7]))
    assert torch.equal(kept_of(without, compact).keys, kept_of(without).keys)


def test_what_did_not_change_is_not_looked_at_again():
    compact, frames = Compaction(K, many=500), [frame(t) for t in range(8)]
    assert [step.done for step in compact(pool_of(*frames))] == list(range(1, 9))
    assert list(compact(pool_of(*frames, frame(2, ReferenceSource.PAINTED)))) == []
    steps = compact(pool_of(*frames[:5], *frames[6:]))
    assert [(step.done, step.total) for step in steps] == [(6, 7), (7, 7)]


def test_a_run_that_was_stopped_goes_on():
    compact, pool = Compaction(K, many=500), pool_of(*map(frame, range(8)))
    next(compact(pool))
    assert [step.done for step in compact(pool)] == list(range(2, 9))
    assert torch.equal(kept_of(pool, compact).keys, kept_of(pool).keys)


def test_cells_with_two_labels_are_all_kept():
    parts = [frame(t) for t in range(8)]
    for part in parts:
        part.shares[::3] = torch.tensor([0.6, 0.4])
    every = pool_of(*parts)
    assert torch.isin(every.keys[every.shares[:, 1] > 0], kept_of(every).keys).all()
