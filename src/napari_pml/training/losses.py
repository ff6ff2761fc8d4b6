"""What makes embeddings good for retrieval. All losses take unit-length embeddings and squared distances."""

from __future__ import annotations

import torch


def squared_distances(anchors: torch.Tensor, pool: torch.Tensor) -> torch.Tensor:
    """Return the (A, P) squared Euclidean distances, 0 to 4, between unit-length (A, D) and (P, D) embeddings."""
    return 2 - 2 * anchors @ pool.T


def standard_triplet_loss(
    distances: torch.Tensor, anchor_shares: torch.Tensor, pool_shares: torch.Tensor, margin: float
) -> torch.Tensor:
    """Pull every positive closer to the anchor than every negative (PML section 3.4, equation 1).

    For each anchor: max(0, d(anchor, positive) - d(anchor, negative) + margin), averaged over all pairs of a positive
    and a negative. Random pairs estimate this number; here it is exact, in O(P log P) per anchor, because the negatives
    that a positive violates are the first ones in order of distance. An anchor without a pair takes no part.

    Args:
        distances: (A, P) squared distances from anchors to the pool.
        anchor_shares: (A, L) share of each label in the anchor's cell; the largest is its label.
        pool_shares: (P, L) likewise.
        margin: alpha.

    Returns:
        Mean over the anchors, a scalar.
    """
    same = anchor_shares.argmax(1)[:, None] == pool_shares.argmax(1)[None]
    negatives = distances.masked_fill(same, torch.inf).sort(dim=1).values
    reach = distances + margin
    violated = torch.searchsorted(negatives.detach(), reach.detach())
    sums = torch.nn.functional.pad(negatives.masked_fill(negatives.isinf(), 0).cumsum(1), (1, 0))
    hinges = (violated * reach - sums.gather(1, violated)).masked_fill(~same, 0).sum(1)
    pairs = same.sum(1) * (~same).sum(1)
    return (hinges / pairs.clamp_min(1)).sum() / (pairs > 0).sum().clamp_min(1)


def modified_triplet_loss(
    distances: torch.Tensor, anchor_shares: torch.Tensor, pool_shares: torch.Tensor, margin: float
) -> torch.Tensor:
    """Pull every anchor's nearest positive closer than its nearest negative (PML section 3.4, equation 2).

    For each anchor for itself: max(0, min over positives of d - min over negatives of d + margin). An anchor with an
    empty positive or negative pool takes no part.

    Args:
        distances: (A, P) squared distances from anchors to the pool.
        anchor_shares: (A, L) share of each label in the anchor's cell; the largest is its label.
        pool_shares: (P, L) likewise.
        margin: alpha.

    Returns:
        Mean over the anchors, a scalar.
    """
    same = anchor_shares.argmax(1)[:, None] == pool_shares.argmax(1)[None]
    nearest_positive = distances.masked_fill(~same, torch.inf).amin(1)
    nearest_negative = distances.masked_fill(same, torch.inf).amin(1)
    usable = nearest_positive.isfinite() & nearest_negative.isfinite()
    hinge = (nearest_positive - nearest_negative + margin)[usable].clamp_min(0)
    return hinge.sum() / usable.sum().clamp_min(1)


def soft_nearest_neighbour_loss(
    distances: torch.Tensor, anchor_shares: torch.Tensor, pool_shares: torch.Tensor, temperature: float
) -> torch.Tensor:
    """Cross-entropy of the vote that retrieval takes: a softmax over all pool pixels, summed for each label.

    The modified triplet loss sees two pool pixels per anchor, this one sees them all. It is neighbourhood component
    analysis (Goldberger et al., NIPS 2004) between frames, with soft labels at object borders.

    Args:
        distances: (A, P) squared distances from anchors to the pool.
        anchor_shares: (A, L) share of each label in the anchor's cell; sums to 1.
        pool_shares: (P, L) likewise.
        temperature: of the softmax over similarities 1 - d / 2.

    Returns:
        Mean over the anchors, a scalar.
    """
    weights = torch.softmax((1 - distances / 2) / temperature, dim=1)
    votes = (weights @ pool_shares).clamp_min(1e-6)
    return -(anchor_shares * votes.log()).sum(1).mean()
