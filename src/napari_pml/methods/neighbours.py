"""Exact search for the k nearest neighbours, and the vote that they take.

Embeddings have length 1, so that the nearest in squared Euclidean distance d is the most similar, s = 1 - d / 2.
"""

from __future__ import annotations

import torch

# isort: split
import faiss  # after torch: in the other order each has its own OpenMP threads, which get in each other's way

from napari_pml.methods.windows import tiles_with_windows

ROWS_AT_ONCE = 512
"""Number of queries with equally similar references that are processed together; bounds the memory."""


def nearest(queries: torch.Tensor, references: torch.Tensor, k: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Find the k most similar references of every query: with faiss on the CPU, with torch elsewhere.

    Of references that are equally similar, the first are found; so the result does not depend on how it was searched.

    Args:
        queries: (Q, D) float32.
        references: (N, D) float32 on the same device, N > 0.
        k: how many; all of them if there are fewer.

    Returns:
        (Q, min(k, N)) float32 similarities, falling, and (Q, min(k, N)) int64 reference numbers.
    """
    k = min(k, len(references))
    similarities, index = _any_nearest(queries, references, min(k + 1, len(references)))
    if len(references) > k:
        for tied in (similarities[:, k - 1] == similarities[:, k]).nonzero()[:, 0].split(ROWS_AT_ONCE):
            similarities[tied, :k], index[tied, :k] = _first_nearest(queries[tied], references, k)
    return similarities[:, :k], index[:, :k]


def _any_nearest(queries: torch.Tensor, references: torch.Tensor, k: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Find k references than which none is more similar; which of equals is left to chance."""
    if queries.device.type == "cpu":
        similarities, index = faiss.knn(
            queries.contiguous().numpy(), references.contiguous().numpy(), k, metric=faiss.METRIC_INNER_PRODUCT
        )
        return torch.from_numpy(similarities), torch.from_numpy(index)
    rows = max(1, 2**28 // len(references))  # at most 1 GiB of similarities at a time
    parts = [torch.topk(part @ references.T, k, dim=1) for part in queries.split(rows)]
    return torch.cat([p.values for p in parts]), torch.cat([p.indices for p in parts])


def _first_nearest(queries: torch.Tensor, references: torch.Tensor, k: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Find the k most similar references of a few queries, the first ones of equals."""
    similarities = queries @ references.T
    least = similarities.topk(k, dim=1).values[:, -1:]
    number = torch.arange(len(references), device=queries.device, dtype=torch.float32)
    rank = torch.where(similarities > least, -1.0, torch.where(similarities == least, number, torch.inf))
    index = rank.topk(k, dim=1, largest=False).indices
    values, order = similarities.gather(1, index).sort(dim=1, descending=True)
    return values, index.gather(1, order)


def nearest_in_window(
    queries: torch.Tensor,
    references: torch.Tensor,
    k: int,
    radius: int,
    tiles: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Find the k most similar references of the cells of some tiles among those close to them in the frame.

    Args:
        queries: (h, w, D) float32, one frame.
        references: (M, h, w, D) float32, M other frames of the same video.
        k: how many.
        radius: of the window, in cells: references up to this many rows and columns away are searched.
        tiles: (ceil(h / TILE), ceil(w / TILE)) bool, the tiles of TILE x TILE cells that are searched.

    Returns:
        (Q,) int64 numbers of the cells in these tiles; for each of them (Q, k) float32 similarities, falling, -inf
        where the window holds fewer than k references, and (Q, k) int64 positions in the flattened (M, h, w).
    """
    n_frames, h, w, _ = references.shape
    flat_queries, flat_references = queries.flatten(0, 1), references.flatten(0, 2)
    found = []
    for part in tiles_with_windows(h, w, radius, tiles):
        place = part.places(n_frames, h * w)
        similarities = flat_queries[part.cells] @ flat_references[place].transpose(1, 2)
        per_frame = similarities.unflatten(2, (n_frames, -1))
        outside = ~part.near[:, :, None]
        best, index = per_frame.masked_fill_(outside, -torch.inf).flatten(2).topk(min(k, place.shape[1]), dim=-1)
        where = place.gather(1, index.flatten(1)).view_as(index)
        found.append((part.cells[part.inside], best[part.inside], where[part.inside]))
    cells, best, where = (torch.cat(part) for part in zip(*found, strict=True))
    return cells, best, where


def vote(
    similarities: torch.Tensor,
    labels: torch.Tensor,
    shares: torch.Tensor,
    n_labels: int,
    temperature: float | None,
    weights_of_labels: torch.Tensor | None = None,
) -> torch.Tensor:
    """Let the neighbours of each query elect its label.

    Args:
        similarities: (Q, k) float32; -inf is no neighbour.
        labels: (Q, k, 2) int64, the two commonest labels in the neighbour's cell, the commonest first.
        shares: (Q, k, 2) float32, their shares of the cell.
        n_labels: L.
        temperature: soft votes, weighted by softmax(similarity / temperature) and split by share. None: hard votes,
            one for each neighbour and all of it for the commonest label (PML section 3.2).
        weights_of_labels: (L,) float32, what a vote for each label counts; 1 if not given.

    Returns:
        (L, Q) float32, the share of the votes that each label got; all 0 for a query without neighbours.
    """
    exists = similarities > -torch.inf
    if temperature is None:
        weights = exists.float() / exists.sum(1, keepdim=True).clamp_min(1)
        labels, shares = labels[..., :1], torch.ones_like(shares[..., :1])
    else:
        weights = torch.softmax(similarities / temperature, dim=1).nan_to_num(0.0)
    votes = similarities.new_zeros(len(similarities), n_labels)
    votes.scatter_add_(1, labels.flatten(1), (weights[..., None] * shares).flatten(1))
    if weights_of_labels is not None:
        votes = votes * weights_of_labels
        votes = votes / votes.sum(1, keepdim=True).clamp_min(1e-9)
    return votes.T


def balanced_vote(
    queries: torch.Tensor,
    references: torch.Tensor,
    labels: torch.Tensor,
    n_labels: int,
    k: int,
    temperature: float,
) -> torch.Tensor:
    """Let each label speak for itself, by the mean similarity of its own k nearest references.

    How many references a label has then does not matter, so that what is small is not outvoted (VideoMatch, Hu, Huang
    and Schwing, ECCV 2018, section 3.2).

    Args:
        queries: (Q, D) float32.
        references: (N, D) float32, N > 0.
        labels: (N,) int64.
        n_labels: L.
        k: how many of each label; all of them if there are fewer.
        temperature: of the softmax over the labels.

    Returns:
        (L, Q) float32, sums to 1 over the labels; 0 for a label without references.
    """
    means = queries.new_full((n_labels, len(queries)), -torch.inf)
    for label in labels.unique().tolist():
        means[label] = nearest(queries, references[labels == label], k)[0].mean(1)
    return torch.softmax(means / temperature, dim=0)
