import pytest
import torch

from napari_pml.methods.neighbours import balanced_vote, nearest, nearest_in_window, vote
from napari_pml.methods.windows import TILE, tiles_with_a_choice


def unit(*shape, seed=0):
    return torch.nn.functional.normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(seed)), dim=-1)


def test_nearest_is_exact():
    queries, references = unit(50, 16), unit(200, 16, seed=1)
    similarities, index = nearest(queries, references, 7)
    everything = queries @ references.T
    assert torch.equal(index, everything.topk(7, dim=1).indices)
    assert similarities == pytest.approx(everything.gather(1, index), abs=1e-5)


def test_fewer_references_than_neighbours():
    assert nearest(unit(5, 4), unit(3, 4), 10)[1].shape == (5, 3)


@pytest.mark.parametrize(("h", "w", "radius", "n_frames"), [(5, 7, 2, 1), (16, 16, 3, 2), (9, 23, 6, 3), (1, 1, 4, 1)])
def test_the_window_search_equals_a_full_search_without_what_is_too_far(h, w, radius, n_frames):
    queries, references = unit(h, w, 8), unit(n_frames, h, w, 8, seed=1)
    k = 4
    tiles = torch.ones(-(-h // TILE), -(-w // TILE), dtype=torch.bool)
    cells, similarities, index = nearest_in_window(queries, references, k, radius, tiles)
    order = cells.argsort()
    assert torch.equal(cells[order], torch.arange(h * w))
    similarities, index = similarities[order], index[order]

    y, x = (c.flatten() for c in torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij"))
    far = ((y[:, None] - y[None]).abs() > radius) | ((x[:, None] - x[None]).abs() > radius)
    everything = queries.flatten(0, 1) @ references.flatten(0, 2).T
    everything = everything.masked_fill(far.repeat(1, n_frames), -torch.inf)
    n = min(k, n_frames * h * w)
    expected = everything.topk(n, dim=1)
    exists = expected.values > -torch.inf
    assert torch.allclose(similarities[:, :n], expected.values, atol=1e-5)
    assert torch.equal(index[:, :n][exists], expected.indices[exists])


@pytest.mark.parametrize("mixed", [1, -1])
def test_tiles_with_a_choice_are_those_that_reach_another_label(mixed):
    labels = torch.zeros(2, 40, 30, dtype=torch.int64)
    labels[1, 20, 3] = mixed
    radius = 5
    tiles = tiles_with_a_choice(labels, radius)
    assert tiles.shape == (5, 4)
    y, x = torch.arange(5)[:, None] * TILE, torch.arange(4)[None] * TILE
    reaches = (y - radius <= 20) & (y + TILE + radius > 20) & (x - radius <= 3) & (x + TILE + radius > 3)
    assert torch.equal(tiles, reaches)
    assert not tiles_with_a_choice(torch.ones(1, 7, 5, dtype=torch.int64), radius).any()


def test_no_tile_no_neighbours():
    nobody = torch.zeros(1, 1, dtype=torch.bool)
    cells, similarities, index = nearest_in_window(unit(5, 7, 8), unit(2, 5, 7, 8), 4, 2, nobody)
    assert (cells.shape, similarities.shape, index.shape) == ((0,), (0, 4), (0, 4))


LABELS = torch.tensor([[[1, 0], [0, 1], [0, 0]]])
SHARES = torch.tensor([[[0.75, 0.25], [0.5, 0.5], [1.0, 0.0]]])


def test_hard_votes_count_heads():
    similarities = torch.tensor([[0.9, 0.1, 0.1]])
    assert vote(similarities, LABELS, SHARES, 2, None)[:, 0].tolist() == pytest.approx([2 / 3, 1 / 3])


def test_soft_votes_weigh_by_similarity_and_share():
    similarities = torch.tensor([[0.5, 0.5, 0.5]])
    assert vote(similarities, LABELS, SHARES, 2, 0.1)[:, 0].tolist() == pytest.approx([1.75 / 3, 1.25 / 3])
    similarities = torch.tensor([[0.9, 0.1, 0.1]])
    assert vote(similarities, LABELS, SHARES, 2, 0.01)[:, 0].tolist() == pytest.approx([0.25, 0.75], abs=1e-3)


@pytest.mark.parametrize("temperature", [None, 0.1])
def test_what_is_no_neighbour_has_no_vote(temperature):
    similarities = torch.tensor([[0.5, -torch.inf, -torch.inf]])
    result = vote(similarities, LABELS, torch.tensor([[[1.0, 0], [1, 0], [1, 0]]]), 2, temperature)
    assert result[:, 0].tolist() == [0, 1]
    nobody = torch.full((1, 3), -torch.inf)
    assert vote(nobody, LABELS, SHARES, 2, temperature).sum() == 0


def test_in_a_balanced_vote_numbers_do_not_matter():
    queries = unit(6, 16)
    few, many = unit(3, 16, seed=1), unit(500, 16, seed=2)
    labels = torch.tensor([2] * 3 + [0] * 500)
    result = balanced_vote(queries, torch.cat([few, many]), labels, 4, 3, 0.1)
    assert result.shape == (4, 6)
    assert torch.allclose(result.sum(0), torch.ones(6))
    assert (result[[1, 3]] == 0).all()
    similarity = torch.stack([(queries @ many.T).topk(3).values.mean(1), (queries @ few.T).mean(1)])
    assert torch.allclose(result[[0, 2]], torch.softmax(similarity / 0.1, 0), atol=1e-5)
    more = torch.cat([few, many, many])
    again = balanced_vote(queries, more, torch.cat([labels, labels[3:] * 0 + 3]), 4, 3, 0.1)
    assert torch.allclose(again[0], again[3])


def test_a_label_with_few_references_has_votes_for_k():
    similarities = torch.tensor([[0.9, 0.8, 0.1, 0.1, 0.1]])
    labels = torch.tensor([[[1, 0], [1, 0], [0, 0], [0, 0], [0, 0]]])
    shares = torch.tensor([[[1.0, 0.0]] * 5])
    assert vote(similarities, labels, shares, 2, None)[:, 0].tolist() == pytest.approx([0.6, 0.4])
    weighted = vote(similarities, labels, shares, 2, None, torch.tensor([1.0, 2.5]))
    assert weighted[:, 0].tolist() == pytest.approx([3 / 8, 5 / 8])
