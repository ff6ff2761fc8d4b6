"""The learned part of FEELVOS: an embedding to match in, and the dynamic segmentation head.

Voigtlaender et al., CVPR 2019, "Semantic Embedding" and "Dynamic Segmentation Head". Below it are frozen embeddings of
stride 8; the head sees the image itself too and answers at stride 4.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

from napari_pml.embedding.networks.steady import Conv2d
from napari_pml.embedding.protocol import Embedder
from napari_pml.embedding.weights import about_weights, load_weights
from napari_pml.errors import WeightsError
from napari_pml.grid import pixel_counts
from napari_pml.methods import matching
from napari_pml.types import Labels

STRIDE = 4
"""Side of a cell of the head's answer, in pixels: half of that of the embeddings."""

MATCHED = 48
"""Length of the embeddings that are matched (the paper: 100)."""

COARSE, FINE = 48, 24
"""Channels of the head at the stride of the embeddings and at half of it (the paper: 256 at stride 4)."""

N_DISTANCES = 4
"""Global and local distance to an object's own pixels, and to those of whichever other label is nearest."""

N_MAPS = N_DISTANCES + 1
"""What the head sees of one object: the distances, and where it was before."""

UNKNOWN = 0.5
"""What the head sees, of every label, where the previous mask says nothing."""

VALUES_AT_ONCE = 2**22
"""Maximum number of values in a layer while objects are processed together; bounds the memory."""


class Separable(nn.Module):
    """A depthwise convolution and a pointwise one, each followed by a ReLU, as in the head of the paper."""

    def __init__(self, n_in: int, n_out: int, kernel: int):
        super().__init__()
        self.depthwise = Conv2d(n_in, n_in, kernel, padding=kernel // 2, groups=n_in)
        self.pointwise = Conv2d(n_in, n_out, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (B, n_in, h, w) to (B, n_out, h, w)."""
        x = x.contiguous(memory_format=torch.channels_last)  # twice as fast on a CPU
        return F.relu(self.pointwise(F.relu(self.depthwise(x))))


class FeelvosNet(nn.Module):
    """What FEELVOS learns on top of frozen embeddings.

    A linear shortcut runs beside the head. It starts as plain matching: near to an object's pixels, and where the
    object was before, means that object.
    """

    name = "feelvos"

    def __init__(self, dim: int):
        """Build a network without trained weights for embeddings of length `dim`."""
        super().__init__()
        self.dim = dim
        self.embedding = nn.Linear(dim, MATCHED)
        self.features = Conv2d(dim, COARSE, 1)
        # Kernels of 4 with one pixel around them keep a cell of stride s centred on pixel s * i + (s - 1) / 2.
        self.detail = nn.Sequential(
            Conv2d(3, FINE, 4, 2, padding=1), nn.ReLU(), Conv2d(FINE, FINE, 4, 2, padding=1), nn.ReLU()
        )
        self.wide = nn.Sequential(
            Separable(COARSE + N_MAPS, COARSE, 7), Separable(COARSE, COARSE, 7), Separable(COARSE, COARSE, 7)
        )
        self.narrow = Conv2d(COARSE, FINE, 1)
        self.sharp = nn.Sequential(Separable(2 * FINE + N_MAPS, FINE, 3), Separable(FINE, FINE, 3))
        self.logit = Conv2d(FINE, 1, 1)
        self.shortcut = Conv2d(N_MAPS, 1, 1, bias=False)
        nn.init.orthogonal_(self.embedding.weight, gain=2.0)
        nn.init.zeros_(self.logit.weight)
        with torch.no_grad():
            self.shortcut.weight.copy_(torch.tensor([-4.0, -4.0, 0.0, 0.0, 2.0]).view(1, N_MAPS, 1, 1))
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stub

    def matched(self, embeddings: torch.Tensor) -> torch.Tensor:
        """Return the embeddings to match in, (..., dim) to (..., MATCHED), of any length: distances have a scale."""
        matched: torch.Tensor = self.embedding(embeddings)
        return matched

    def forward(
        self, frame: torch.Tensor, embeddings: torch.Tensor, distances: torch.Tensor, before: torch.Tensor
    ) -> torch.Tensor:
        """Score the labels of one frame, each for itself by the same weights ("Dynamic Segmentation Head").

        Args:
            frame: (3, H, W) RGB in 0..1, H = 8 h and W = 8 w.
            embeddings: (dim, h, w).
            distances: (L, 2, h, w), global and local, 0..1.
            before: (L, 2 h, 2 w), the share of each label in the cells of the previous mask; all 0 where that says
                nothing, or there is none.

        Returns:
            (L, 2 h, 2 w) logits; softmax over the labels makes them scores.
        """
        before = torch.where(before.any(0), before, UNKNOWN)
        distances = torch.cat([distances, distances_to_others(distances)], 1)
        features = self.features(embeddings[None])
        detail = self.detail(2 * frame[None] - 1)
        n = max(1, VALUES_AT_ONCE // (2 * FINE * before[0].numel()))
        parts = [
            self._head(features, detail, d, b[:, None])
            for d, b in zip(distances.split(n), before.split(n), strict=True)
        ]
        return torch.cat(parts)

    def _head(
        self, features: torch.Tensor, detail: torch.Tensor, distances: torch.Tensor, before: torch.Tensor
    ) -> torch.Tensor:
        """Return the (n, 2 h, 2 w) logits of n labels."""
        n = len(before)
        wide = self.wide(torch.cat([features.expand(n, -1, -1, -1), distances, F.avg_pool2d(before, 2)], 1))
        coarse = F.interpolate(
            torch.cat([self.narrow(wide), distances], 1), scale_factor=2, mode="bilinear", align_corners=False
        )
        maps = torch.cat([coarse[:, FINE:], before], 1)
        sharp = self.sharp(torch.cat([detail.expand(n, -1, -1, -1), coarse, before], 1))
        logits: torch.Tensor = self.logit(sharp) + self.shortcut(maps)
        return logits[:, 0]


def distances_to_others(distances: torch.Tensor) -> torch.Tensor:
    """Return, for each label, the least of the distances to all the other labels, and 1 if there are none.

    Not in the paper, whose head sees an object's own distances alone: whether a pixel that looks like the object looks
    just as much like something else is then known only after all objects have been scored.

    Args:
        distances: (L, ...), 0..1.
    """
    least = torch.cat([distances, torch.ones_like(distances[:1])]).topk(2, dim=0, largest=False)
    own = torch.arange(len(distances), device=distances.device).view(-1, *[1] * (distances.ndim - 1))
    return torch.where(own == least.indices[:1], least.values[1:], least.values[:1])


def network_beside(weights: Path) -> Path:
    """Return where the FEELVOS network lies that belongs to the weights of an embedder; it need not exist."""
    return weights.with_name(f"{FeelvosNet.name}.safetensors")


def load_network(embedder: Embedder) -> FeelvosNet:
    """Return the network that was trained on what an embedder makes, on its device.

    Raises:
        WeightsError: there is none, or it is damaged.
    """
    path = network_beside(embedder.weights) if embedder.weights else None
    if path is None or not path.exists():
        raise WeightsError(
            f"There is no FEELVOS network for the embedder {embedder.name!r} ({embedder.fingerprint}). Choose another "
            f"method, or the embedder 'compact'; 'napari-pml train --network feelvos --from WEIGHTS' trains one."
        )
    state, _ = load_weights(path, FeelvosNet.name)
    if (trained_on := about_weights(path).get("embedder")) != embedder.fingerprint:
        raise WeightsError(
            f"{path} was trained on embeddings of {trained_on}, not of {embedder.fingerprint}. "
            f"Train it again with 'napari-pml train --network feelvos --from WEIGHTS'."
        )
    net = FeelvosNet(embedder.dim)
    try:
        net.load_state_dict(state)
    except RuntimeError as error:
        raise WeightsError(f"{path} does not fit the network {FeelvosNet.name!r}: {error}") from error
    return net.to(embedder.device).eval()


def shares_of_labels(mask: Labels, ids: Sequence[int]) -> torch.Tensor:
    """Return the share of each label in each cell of stride 4, as the head sees a mask.

    Args:
        mask: (H, W) uint16; pixels with another label than those of `ids` do not count.
        ids: L labels.

    Returns:
        (L, 2 h, 2 w) float32, h = ceil(H / 8) and w likewise; all 0 in a cell of which no pixel counts.
    """
    height, width = mask.shape
    rows, columns = -(-height // STRIDE), -(-width // STRIDE)
    counts = pixel_counts(mask, ids, STRIDE).T.reshape(1, len(ids), rows, columns)
    counts = F.pad(counts, (0, columns % 2, 0, rows % 2), mode="replicate")[0]
    return counts / counts.sum(0).clamp_min(1)


def labels_of_cells(shares: torch.Tensor) -> torch.Tensor:
    """Return the commonest label of each cell of stride 8, as matching sees a mask.

    Args:
        shares: (L, 2 h, 2 w), see `shares_of_labels`.

    Returns:
        (h, w) int64 in 0..L - 1, or `matching.NOBODY`.
    """
    return matching.labels_of_cells(F.avg_pool2d(shares, 2))
