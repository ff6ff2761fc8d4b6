import pytest
import torch

from napari_pml.embedding.video_embeddings import UNIT
from napari_pml.methods.neighbours import nearest
from napari_pml.methods.references import SIMILARITY_PENALTY, ReferencePixels, ReferenceSource, reference_keys
from napari_pml.methods.retrieval import Retrieval, nobody, search

N_FRAMES, N_CELLS, N_LABELS = 3, 40, 3
EVERYWHERE = torch.ones(N_CELLS, dtype=torch.bool)


def embedded(*shape, seed=0, steps=None):
    """Random embeddings as `VideoEmbeddings` gives them; with few `steps` many are equally similar."""
    values = torch.nn.functional.normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(seed)), dim=-1)
    return (values * steps).round() / steps / 8 if steps else (values / UNIT).round() * UNIT


def everything(video):
    """Every reference that could be: each cell of each frame, of each kind and label."""
    parts = []
    for t in range(N_FRAMES):
        for kind in (ReferenceSource.GIVEN, ReferenceSource.PAINTED, ReferenceSource.IMPLIED):
            for label in range(N_LABELS):
                cells = torch.arange(N_CELLS)
                labels = torch.tensor([[label, 0]]).expand(N_CELLS, 2)
                shares = torch.tensor([[1.0, 0.0]]).expand(N_CELLS, 2)
                keys = reference_keys(t, cells, labels[:, 0], kind)
                parts.append(ReferencePixels(video[t], labels, shares, keys))
    return ReferencePixels.concatenate(parts).sorted()


def test_keys_say_what_a_reference_is():
    cells, labels = torch.tensor([0, 2**23 - 1]), torch.tensor([1, 65535])
    pool = ReferencePixels(
        torch.zeros(2, 4),
        torch.zeros(2, 2),
        torch.zeros(2, 2),
        reference_keys(2**22 - 1, cells, labels, ReferenceSource.PAINTED),
    )
    assert torch.equal(pool.cells, cells)
    assert pool.frames.tolist() == [2**22 - 1] * 2
    assert pool.kinds.tolist() == [ReferenceSource.PAINTED] * 2
    assert (pool.keys > 0).all()
    assert pool.similarity_penalty.tolist() == [0, 0]


@pytest.mark.parametrize("steps", [None, 2])
@pytest.mark.parametrize("k", [1, 5])
def test_whatever_came_and_went_the_neighbours_are_those_of_a_full_search(k, steps):
    chance = torch.Generator().manual_seed(k)
    video = embedded(N_FRAMES, N_CELLS, 16, steps=steps)
    every = everything(video)
    retrieval = Retrieval(k)
    present = torch.rand(len(every), generator=chance) < 0.3
    for _ in range(60):
        changed = torch.rand(len(every), generator=chance) < torch.rand((), generator=chance) ** 4
        present = present ^ changed
        present[int(torch.randint(len(every), (), generator=chance))] = True
        t = int(torch.randint(N_FRAMES, (), generator=chance))
        pool = every.select(present)
        wanted = torch.rand(N_CELLS, generator=chance) < 0.7
        found = retrieval(t, video[t], pool, wanted)[wanted]
        expected = search(video[t], pool, nobody(video[t], k))[wanted]
        assert torch.equal(found.similarities, expected.similarities)
        assert torch.equal(found.keys, expected.keys)


def test_from_nearly_nothing_to_something_and_back():
    video = embedded(N_FRAMES, N_CELLS, 16)
    every = everything(video)
    retrieval = Retrieval(5)
    for last in (1, 3, 400, 2, 7, 1):
        found = retrieval(0, video[0], every.select(slice(last)), EVERYWHERE)
        assert ((found.similarities > -torch.inf).sum(1) == min(last, 5)).all()
        expected = search(video[0], every.select(slice(last)), nobody(video[0], 5))
        assert torch.equal(found.keys, expected.keys)


def test_strokes_outdo_what_is_given():
    cell = embedded(1, 16)
    other = (0.95 * cell / UNIT).round() * UNIT
    key = [
        reference_keys(0, torch.tensor([i]), torch.tensor([1]), kind)
        for i, kind in enumerate((ReferenceSource.GIVEN, ReferenceSource.PAINTED))
    ]
    pair = torch.zeros(2, 2)
    pool = ReferencePixels(torch.cat([cell, other]), pair.long(), pair, torch.cat(key))
    found = search(cell, pool, nobody(cell, 2))
    assert found.keys[0].tolist() == [int(key[1]), int(key[0])]
    assert found.similarities[0, 1] == (cell @ cell.T).item() - SIMILARITY_PENALTY


def test_memory_is_bounded():
    video = embedded(N_FRAMES, N_CELLS, 16)
    pool = everything(video)
    retrieval = Retrieval(5, max_bytes=2 * N_CELLS * 5 * 12)
    for t in (0, 1, 2, 1):
        retrieval(t, video[t], pool, EVERYWHERE)
    assert list(retrieval._known) == [2, 1]


def test_of_equally_similar_references_the_first_are_found():
    reference = embedded(1, 8)
    references = torch.cat([-reference, reference.expand(700, 8), -reference])
    similarities, index = nearest(reference.expand(3, 8).contiguous(), references, 4)
    assert index.tolist() == [[1, 2, 3, 4]] * 3
    assert (similarities == (reference @ reference.T)).all()
