"""Exact search for the k nearest neighbours, and the vote that they take.

Embeddings have length 1, so that the nearest in squared Euclidean distance d is the most similar, s = 1 - d / 2.
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
    tiles = F.pad(queries, (0, 0, 0, spare[1], 0, spare[0])).view(rows, TILE, columns, TILE, dim).transpose(1, 2)
    near, exists, position = _windows(h, w, radius, queries.device)

    found = []
    for row in range(rows):  # one row of tiles at a time bounds the memory
        windows = padded[:, row * TILE : row * TILE + side].unfold(2, side, TILE)  # (M, side, columns, D, side)
        windows = windows.permute(2, 0, 1, 4, 3).reshape(columns, n_frames * side * side, dim)
        similarities = tiles[row].reshape(columns, TILE * TILE, dim) @ windows.transpose(1, 2)
        outside = ~(near & exists[row][:, None])[:, :, None]
        similarities = (
            similarities.view(columns, TILE * TILE, n_frames, -1).masked_fill_(outside, -torch.inf).flatten(2)
        )
        best, index = similarities.topk(min(k, similarities.shape[-1]), dim=-1)
        frame, cell = index // (side * side), index % (side * side)
        where = frame * (h * w) + position[row].gather(1, cell.flatten(1)).view_as(cell)
        found.append((best, where))

    def to_frame(parts: list[torch.Tensor]) -> torch.Tensor:
        x = torch.stack(parts).view(rows, columns, TILE, TILE, -1).transpose(1, 2)
        return x.reshape(rows * TILE, columns * TILE, -1)[:h, :w].flatten(0, 1)

    return to_frame([best for best, _ in found]), to_frame([where for _, where in found])


@lru_cache(maxsize=8)
def _windows(h: int, w: int, radius: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Describe the windows of all tiles.

    Returns:
        (TILE * TILE, side * side) bool, which of a tile's window lies within the radius of each of its cells;
        (rows, columns, side * side) bool, which cells of each tile's window exist, and their int64 cell numbers.
    """
    rows, columns = -(-h // TILE), -(-w // TILE)
    offset = torch.arange(TILE + 2 * radius, device=device) - radius
    inner = torch.arange(TILE, device=device)
    near = (inner[:, None] - offset[None]).abs() <= radius  # (TILE, side), the same for rows and columns
    near = (near[:, None, :, None] & near[None, :, None, :]).flatten(2).flatten(0, 1)
    y = torch.arange(rows, device=device)[:, None] * TILE + offset
    x = torch.arange(columns, device=device)[:, None] * TILE + offset
    exists = (((y >= 0) & (y < h))[:, None, :, None] & ((x >= 0) & (x < w))[None, :, None, :]).flatten(2)
    position = (y.clamp(0, h - 1)[:, None, :, None] * w + x.clamp(0, w - 1)[None, :, None, :]).flatten(2)
    return near, exists, position


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
