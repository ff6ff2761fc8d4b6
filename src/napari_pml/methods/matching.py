"""How far every cell is from the nearest pixels of each label: global and local matching of FEELVOS.

Voigtlaender et al., CVPR 2019, "Global Matching" and "Local Previous Frame Matching". The nearest are searched for
without gradients, some cells at a time; the distances to them are then computed with gradients, so that training needs
no more memory than use does.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

from napari_pml.methods.windows import TILE, TILES_AT_ONCE, tiles_with_windows

PAIRS_AT_ONCE = 2**19
"""Number of distances that are processed together; bounds the memory, and fits into the processor's cache."""

NOBODY = -1
"""In place of a reference's number: there is none of that label. In place of a label: the reference has none."""


def global_matching(
    queries: torch.Tensor, references: torch.Tensor, labels: torch.Tensor, n_labels: int
) -> torch.Tensor:
    """Return the distance of every cell to the nearest reference of each label anywhere ("Global Matching").

    Args:
        queries: (Q, D) floats.
        references: (N, D) likewise.
        labels: (N,) int64 in 0..n_labels - 1.
        n_labels: L.

    Returns:
        (L, Q) distances, see `distances_to`.
    """
    return distances_to(queries, references, nearest_of_labels(queries, references, labels, n_labels))


def local_matching(
    queries: torch.Tensor, references: torch.Tensor, labels: torch.Tensor, n_labels: int, radius: int
) -> torch.Tensor:
    """Return the distance of every cell to the nearest pixel of each label around its place ("Local ... Matching").

    Args:
        queries: (h, w, D) floats, one frame.
        references: (M, h, w, D) likewise, M other frames (the paper: 1, the previous one).
        labels: (M, h, w) int64, in 0..n_labels - 1, or `NOBODY`.
        n_labels: L.
        radius: of the window, in cells.

    Returns:
        (L, h * w) distances, see `distances_to`.
    """
    index = nearest_of_labels_in_window(queries, references, labels, n_labels, radius)
    return distances_to(queries.flatten(0, 1), references.flatten(0, 2), index)


def distances_to(queries: torch.Tensor, references: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    """Return d(p, q) = 1 - 2 / (1 + exp(|p - q|^2)), the distance of the paper, of pairs of cells.

    Args:
        queries: (Q, D) floats.
        references: (N, D) likewise.
        index: (L, Q) int64, the reference of each pair, or `NOBODY`.

    Returns:
        (L, Q) from 0 (the same) to 1; 1 where there is nobody.
    """
    if not len(references):
        return queries.new_ones(index.shape)
    rows = [(queries - references[row.clamp_min(0)]).square().sum(-1) for row in index]
    return torch.tanh(torch.stack(rows) / 2).masked_fill(index == NOBODY, 1.0)  # the same function, without overflow


@torch.no_grad()
def nearest_of_labels(
    queries: torch.Tensor, references: torch.Tensor, labels: torch.Tensor, n_labels: int
) -> torch.Tensor:
    """Return the number of each query's nearest reference of each label, (L, Q) int64; see `global_matching`."""
    index = torch.full((n_labels, len(queries)), NOBODY, device=queries.device)
    order = labels.argsort(stable=True)
    groups = order.split(torch.bincount(labels, minlength=n_labels).tolist())
    lengths = references.square().sum(1)
    for label, group in enumerate(groups):
        if len(group):
            rows = max(1, PAIRS_AT_ONCE // len(group))
            of_label, length = references[group].T, lengths[group]
            nearest = [torch.addmm(length, part, of_label, alpha=-2).argmin(1) for part in queries.split(rows)]
            index[label] = group[torch.cat(nearest)]
    return index


@torch.no_grad()
def nearest_of_labels_in_window(
    queries: torch.Tensor, references: torch.Tensor, labels: torch.Tensor, n_labels: int, radius: int
) -> torch.Tensor:
    """Return the place, in the flattened (M, h, w), of each cell's nearest reference of each label around it.

    Only labels that a tile's window shows are looked for there, so that many objects at many places cost little.

    Returns:
        (L, h * w) int64, or `NOBODY`; see `local_matching`.
    """
    n_frames, h, w, _ = references.shape
    index = torch.full((n_labels, h * w), NOBODY, device=queries.device)
    flat_queries, flat_references, flat_labels = queries.flatten(0, 1), references.flatten(0, 2), labels.flatten()
    lengths = flat_references.square().sum(1)
    everywhere = torch.ones(-(-h // TILE), -(-w // TILE), dtype=torch.bool, device=queries.device)
    for part in tiles_with_windows(h, w, radius, everywhere):
        place = part.places(n_frames, h * w)
        distances = lengths[place][:, None] - 2 * flat_queries[part.cells] @ flat_references[place].transpose(1, 2)
        distances.masked_fill_(~part.near.repeat(1, 1, n_frames), torch.inf)
        shown = F.one_hot(flat_labels[place] - NOBODY, n_labels - NOBODY).any(1)[:, -NOBODY:]
        for tile, label in zip(*(x.split(TILES_AT_ONCE) for x in shown.nonzero(as_tuple=True)), strict=True):
            others = (flat_labels[place[tile]] != label[:, None])[:, None]
            least, which = distances[tile].masked_fill_(others, torch.inf).min(-1)
            found = place[tile].gather(1, which).masked_fill_(least == torch.inf, NOBODY)
            inside = part.inside[tile]
            index[label[:, None].expand_as(inside)[inside], part.cells[tile][inside]] = found[inside]
    return index


def labels_of_cells(shares: torch.Tensor) -> torch.Tensor:
    """Return the commonest label of each cell, or `NOBODY` where no label has a share.

    A label that is commonest nowhere gets the cell of which it fills most: nothing is too small to be followed.

    Args:
        shares: (L, h, w).

    Returns:
        (h, w) int64.
    """
    labels = shares.argmax(0).masked_fill(shares.amax(0) == 0, NOBODY)
    present = torch.bincount(labels.flatten() - NOBODY, minlength=len(shares) - NOBODY)[-NOBODY:] > 0
    small = (shares.flatten(1).any(1) & ~present).nonzero()[:, 0]
    labels.view(-1)[shares[small].flatten(1).argmax(1)] = small
    return labels
