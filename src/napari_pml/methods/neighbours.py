"""Exact search for the k nearest neighbours, and the vote that they take. Embeddings have length 1 throughout,

so that the nearest in squared Euclidean distance d is the most similar, s = 1 - d / 2.
"""

from __future__ import annotations

from functools import lru_cache

import faiss
import torch
import torch.nn.functional as F

TILE = 8
"""Windows are searched for tiles of 8 x 8 cells at a time, which share most of their window."""


def nearest(queries: torch.Tensor, references: torch.Tensor, k: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Find the k most similar references of every query: with faiss on the CPU, with torch elsewhere.

    Args:
        queries: (Q, D) float32.
        references: (N, D) float32 on the same device, N > 0.
        k: how many; all of them if there are fewer.

    Returns:
        (Q, min(k, N)) float32 similarities, falling, and (Q, min(k, N)) int64 reference numbers.
    """
    k = min(k, len(references))
    if queries.device.type == "cpu":
        similarities, indices = faiss.knn(
            queries.contiguous().numpy(), references.contiguous().numpy(), k, metric=faiss.METRIC_INNER_PRODUCT
        )
        return torch.from_numpy(similarities), torch.from_numpy(indices)
    rows = max(1, 2**28 // len(references))  # at most 1 GiB of similarities at a time
    parts = [torch.topk(part @ references.T, k, dim=1) for part in queries.split(rows)]
    return torch.cat([p.values for p in parts]), torch.cat([p.indices for p in parts])


def nearest_in_window(
    queries: torch.Tensor, references: torch.Tensor, k: int, radius: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Find the k most similar references of every cell among those close to it in the frame.

    Args:
        queries: (h, w, D) float32, one frame.
        references: (M, h, w, D) float32, M other frames of the same video.
        k: how many.
        radius: of the window, in cells: references at most so many rows and columns away are searched.

    Returns:
        (h * w, k) float32 similarities, falling, -inf where the window holds fewer than k references, and
        (h * w, k) int64 positions in the flattened (M, h, w).
    """
    n_frames, h, w, dim = references.shape
    rows, columns = -(-h // TILE), -(-w // TILE)
    side = TILE + 2 * radius
    spare = rows * TILE - h, columns * TILE - w
    padded = F.pad(references, (0, 0, radius, radius + spare[1], radius, radius + spare[0]))
    windows = padded.unfold(1, side, TILE).unfold(2, side, TILE)  # (M, rows, columns, D, side, side)
    windows = windows.permute(1, 2, 3, 0, 4, 5).reshape(rows * columns, dim, n_frames * side * side)
    tiles = F.pad(queries, (0, 0, 0, spare[1], 0, spare[0])).view(rows, TILE, columns, TILE, dim)
    tiles = tiles.transpose(1, 2).reshape(rows * columns, TILE * TILE, dim)

    outside, position = _windows(h, w, radius, queries.device)
    similarities = (tiles @ windows).view(rows * columns, TILE * TILE, n_frames, side * side)
    similarities = similarities.masked_fill_(outside[:, :, None], -torch.inf).flatten(2)
    best, index = similarities.topk(min(k, similarities.shape[-1]), dim=-1)
    frame, cell = index // (side * side), index % (side * side)
    where = frame * (h * w) + position.gather(1, cell.flatten(1)).view_as(cell)

    def to_frame(x: torch.Tensor) -> torch.Tensor:
        x = x.view(rows, columns, TILE, TILE, -1).transpose(1, 2).reshape(rows * TILE, columns * TILE, -1)
        return x[:h, :w].flatten(0, 1)

    return to_frame(best), to_frame(where)


@lru_cache(maxsize=8)
def _windows(h: int, w: int, radius: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """For every tile: which window cells lie outside (tiles, TILE * TILE, side * side), and their cell numbers."""
    rows, columns = -(-h // TILE), -(-w // TILE)
    offset = torch.arange(TILE + 2 * radius, device=device) - radius
    inner = torch.arange(TILE, device=device)
    near = (inner[:, None] - offset[None]).abs() <= radius  # (TILE, side), the same for rows and columns
    near_both = (near[:, None, :, None] & near[None, :, None, :]).flatten(2).flatten(0, 1)
    y = torch.arange(rows, device=device)[:, None] * TILE + offset
    x = torch.arange(columns, device=device)[:, None] * TILE + offset
    exists = (((y >= 0) & (y < h))[:, None, :, None] & ((x >= 0) & (x < w))[None, :, None, :]).flatten(2).flatten(0, 1)
    position = (y.clamp(0, h - 1)[:, None, :, None] * w + x.clamp(0, w - 1)[None, :, None, :]).flatten(2).flatten(0, 1)
    return ~(near_both[None] & exists[:, None]), position


def vote(
    similarities: torch.Tensor,
    labels: torch.Tensor,
    shares: torch.Tensor,
    n_labels: int,
    temperature: float | None,
) -> torch.Tensor:
    """Let the neighbours of each query elect its label.

    Args:
        similarities: (Q, k) float32; -inf is no neighbour.
        labels: (Q, k, 2) int64, the two commonest labels in the neighbour's cell, the commonest first.
        shares: (Q, k, 2) float32, their shares of the cell.
        n_labels: L.
        temperature: soft votes, weighted by softmax(similarity / temperature) and split by share. None: hard votes,
            one for each neighbour and all of it for the commonest label (PML section 3.2).

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
    return votes.T
