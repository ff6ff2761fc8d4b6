import pytest
import torch

from napari_pml.methods import matching
from napari_pml.methods.matching import NOBODY, distances_to, global_matching, local_matching


def random(*shape, seed=0, dtype=torch.float32):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def random_labels(*shape, n_labels, seed=0):
    return torch.randint(n_labels, shape, generator=torch.Generator().manual_seed(seed))


def distance(p, q):
    """The distance of the paper, as it is written there."""
    return 1 - 2 / (1 + torch.exp((p - q).square().sum(-1)))


def test_global_matching_is_the_smallest_distance_to_each_label(monkeypatch):
    monkeypatch.setattr(matching, "PAIRS_AT_ONCE", 64)  # many chunks
    queries, references = random(50, 6) / 2, random(90, 6, seed=1) / 2
    labels = random_labels(90, n_labels=4)
    pairs = distance(queries[:, None], references[None])
    expected = torch.stack([pairs[:, labels == label].amin(1) for label in range(4)])
    assert torch.allclose(global_matching(queries, references, labels, 4), expected, atol=1e-5)


@pytest.mark.parametrize(("h", "w", "radius", "n_frames"), [(5, 7, 2, 1), (16, 16, 3, 2), (9, 23, 6, 1), (1, 1, 4, 1)])
def test_local_matching_is_the_same_among_what_is_near(h, w, radius, n_frames):
    queries, references = random(h, w, 6) / 2, random(n_frames, h, w, 6, seed=1) / 2
    labels = random_labels(n_frames, h, w, n_labels=5) - 1  # some have none
    y, x = (c.flatten() for c in torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij"))
    near = ((y[:, None] - y[None]).abs() <= radius) & ((x[:, None] - x[None]).abs() <= radius)
    pairs = distance(queries.view(-1, 1, 6), references.view(1, -1, 6))
    wanted = [near.repeat(1, n_frames) & (labels.flatten() == label) for label in range(4)]
    expected = torch.stack([torch.where(pick, pairs, 1.0).amin(1) for pick in wanted])
    assert torch.allclose(local_matching(queries, references, labels, 4, radius), expected, atol=1e-5)


def test_the_distance_of_an_absent_object_is_1():
    queries, labels = random(6, 8, 3), torch.zeros(1, 6, 8, dtype=torch.int64)
    found = local_matching(queries, queries[None], labels, 3, 2)
    assert torch.allclose(found[0], torch.zeros(48), atol=1e-5)
    assert (found[1:] == 1).all()
    assert (local_matching(queries, queries[None], labels + NOBODY, 3, 2) == 1).all()
    assert (global_matching(queries.flatten(0, 1), queries.flatten(0, 1), labels.flatten(), 3)[1:] == 1).all()
    assert (global_matching(queries.flatten(0, 1), random(0, 3), labels.flatten()[:0], 3) == 1).all()


def test_an_object_is_seen_up_to_the_edge_of_the_window_and_no_farther():
    labels = torch.zeros(1, 20, 30, dtype=torch.int64)
    labels[0, 9, 13] = 1
    found = local_matching(torch.zeros(20, 30, 2), torch.zeros(1, 20, 30, 2), labels, 2, 5)[1].view(20, 30)
    expected = torch.ones(20, 30)
    expected[4:15, 8:19] = 0
    assert torch.equal(found, expected)


def test_far_away_is_1_and_not_infinite():
    assert distances_to(torch.full((1, 4), 1e4), torch.zeros(1, 4), torch.zeros(1, 1, dtype=torch.int64)).item() == 1


@pytest.mark.parametrize("where", ["anywhere", "around"])
def test_gradients_are_those_of_the_values(where):
    queries, references = random(3, 4, 2, dtype=torch.float64) / 2, random(1, 3, 4, 2, seed=1, dtype=torch.float64) / 2
    labels = random_labels(1, 3, 4, n_labels=3)

    def value(q, r):
        if where == "around":
            return local_matching(q, r, labels, 4, 1)
        return global_matching(q.flatten(0, 1), r.flatten(0, 2), labels.flatten(), 4)

    assert torch.autograd.gradcheck(value, (queries.requires_grad_(), references.requires_grad_()))


def test_the_memory_does_not_grow_with_the_number_of_objects(monkeypatch):
    """Fifty objects are looked for one after the other: nothing is ever larger than the distances of a few tiles."""
    largest = 0
    masked_fill = torch.Tensor.masked_fill

    def watched(tensor, *args):
        nonlocal largest
        largest = max(largest, tensor.numel())
        return masked_fill(tensor, *args)

    monkeypatch.setattr(torch.Tensor, "masked_fill", watched)
    h, w, radius = 40, 60, 6
    queries, labels = random(h, w, 4), random_labels(1, h, w, n_labels=51)
    found = local_matching(queries, queries[None], labels, 51, radius)
    assert torch.isfinite(found).all()
    tile, side = matching.TILE**2, matching.TILE + 2 * radius
    assert largest <= max(matching.TILES_AT_ONCE * tile * side**2, found.numel())
