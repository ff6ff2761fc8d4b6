"""The bundled default: a small trunk at stride 8 under the embedding head of PML (section 3.3)."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from skimage import data
from torch import nn

from napari_pml.embedding.networks.deeplab import DeepLabTrunk, from_torchvision, is_published_resnet101
from napari_pml.embedding.networks.efficientnet import PUBLISHED_STEM, EfficientNetTrunk, fold_batch_norm
from napari_pml.embedding.networks.resnet import ResNet18Trunk
from napari_pml.embedding.networks.steady import Conv2d
from napari_pml.embedding.networks.trunk import Trunk
from napari_pml.embedding.weights import load_weights
from napari_pml.errors import WeightsError
from napari_pml.grid import cell_coordinates

HIDDEN = 128
"""Channels between the two convolutions of the head (PML section 4.1: d = 128)."""


class EmbeddingHead(nn.Module):
    """Two convolutions over features, pixel coordinates and frame number: e = f(x, i, j), PML section 3.3.

    Beside the two convolutions runs a linear shortcut. It starts as a projection onto the principal components of
    the trunk's features, so that training begins at the quality of the pre-trained features instead of at random.
    """

    def __init__(self, n_features: int, dim: int):
        super().__init__()
        self.shortcut = Conv2d(n_features, dim, 1)
        self.conv1 = Conv2d(n_features + 3, HIDDEN, 3)  # padded by repetition instead
        self.conv2 = Conv2d(HIDDEN, dim, 1)
        for parameter in self.conv2.parameters():
            nn.init.zeros_(parameter)

    def forward(self, features: torch.Tensor, t: torch.Tensor, place: torch.Tensor | None = None) -> torch.Tensor:
        """Embed features.

        Args:
            features: (B, F, h, w).
            t: (B,) place of each frame in its video, -1 (first) to 1 (last).
            place: (B, 2, h, w), (x, y) of each cell in its frame, -1 to 1; by default the features show whole frames.

        Returns:
            (B, D, h, w) embeddings of length 1 over axis 1.
        """
        n, _, h, w = features.shape
        if place is None:
            place = cell_coordinates(h, w, features.device).expand(n, 2, h, w)
        time = t.view(n, 1, 1, 1).expand(n, 1, h, w)
        x = torch.cat([features, place.to(features), time.to(features)], dim=1)
        x = self.conv2(F.relu(self.conv1(F.pad(x, (1, 1, 1, 1), mode="replicate"))))
        return F.normalize(self.shortcut(features) + x, dim=1)


TRUNKS: tuple[type[Trunk], ...] = (EfficientNetTrunk, ResNet18Trunk, DeepLabTrunk)
"""What may be below the head, the bundled one first."""


def trunk_with(parameters: Iterable[str]) -> type[Trunk] | None:
    """Return the trunk that has all these parameters, or None."""
    wanted = set(parameters)
    with torch.device("meta"):
        return next((trunk for trunk in TRUNKS if wanted and wanted == trunk().state_dict().keys()), None)


def trained_trunk(path: Path) -> Trunk:
    """Read a trunk from a file.

    Args:
        path: EfficientNet-B0 as published, stem and blocks 0 to 10; ResNet-18, conv1 to layer3, BatchNorm folded; or
            torchvision's ResNet-101, or its DeepLab on one.

    Raises:
        WeightsError: the file is missing, damaged, or holds something else.
    """
    state, _ = load_weights(path)
    try:
        if PUBLISHED_STEM in state:
            state = fold_batch_norm(state)
        elif is_published_resnet101(state):
            state = from_torchvision(state)
        kind = trunk_with(state)
        if kind is None:
            raise KeyError("no trunk has parameters of these names")
        trunk = kind()
        trunk.load_state_dict(state)
    except (KeyError, RuntimeError) as error:
        raise WeightsError(
            f"{path} holds no trunk that is known ({error}). Give EfficientNet-B0 (stem and blocks 0 to 10), ResNet-18 "
            "(conv1 to layer3, BatchNorm folded), torchvision's ResNet-101 or DeepLab on one."
        ) from error
    return trunk


class CompactNet(nn.Module):
    """A small trunk, its features of two depths side by side at stride 8, and the embedding head."""

    name = "compact"
    stride = 8

    def __init__(self, trunk: Trunk | None = None, dim: int = 128):
        """Build a network whose head is untrained.

        Args:
            trunk: below the head; an untrained EfficientNet if not given.
            dim: length of the embeddings.
        """
        super().__init__()
        self.dim = dim
        self.trunk = trunk or EfficientNetTrunk()
        self.head = EmbeddingHead(sum(self.trunk.widths), dim)

    @classmethod
    def from_file(cls, path: Path) -> tuple[CompactNet, str]:
        """Read a network and the fingerprint of its file.

        Raises:
            WeightsError: the file is missing, damaged, or belongs to another network.
        """
        state, fingerprint = load_weights(path, cls.name)
        prefix = "trunk."
        trunk = trunk_with(name.removeprefix(prefix) for name in state if name.startswith(prefix))
        try:
            if trunk is None:
                raise KeyError("no trunk has parameters of these names")
            net = cls(trunk(), len(state["head.shortcut.weight"]))
            net.load_state_dict(state)
        except (KeyError, TypeError, RuntimeError) as error:
            raise WeightsError(f"{path} does not fit the network {cls.name!r}: {error} Train it again.") from error
        return net, fingerprint

    def features(self, frames: torch.Tensor) -> torch.Tensor:
        """Return the trunk's (B, F, h, w) features of (B, 3, H, W) frames in 0..1."""
        return torch.cat(self.trunk(frames), dim=1)

    def forward(self, frames: torch.Tensor, t: torch.Tensor, place: torch.Tensor | None = None) -> torch.Tensor:
        """Embed (B, 3, H, W) frames in 0..1, sides multiples of 8, at times t (B,) in -1..1, as (B, D, h, w).

        `place` says where in their frames the cells are, see `EmbeddingHead`, if these are windows of larger ones.
        """
        embeddings: torch.Tensor = self.head(self.features(frames), t, place)
        return embeddings

    @torch.no_grad()
    def start_from_principal_components(self, frames: torch.Tensor) -> None:
        """Set the head's shortcut to the principal components of the features of some typical frames.

        Channels are standardised first, and both depths given the same weight.

        Args:
            frames: (B, 3, H, W) in 0..1, enough of them for B * h * w to be well above the number of features.
        """
        features = self.features(frames).permute(0, 2, 3, 1).flatten(0, 2).double()
        weight = torch.cat([torch.full((n,), n**-0.5) for n in self.trunk.widths]).to(features)
        scale = weight / features.std(dim=0).clamp_min(1e-6)
        mean = features.mean(dim=0)
        _, vectors = torch.linalg.eigh(torch.cov(((features - mean) * scale).T))
        projection = vectors[:, -self.dim :].T * scale
        self.head.shortcut.weight.copy_(projection[:, :, None, None])
        assert self.head.shortcut.bias is not None
        self.head.shortcut.bias.copy_(-projection @ mean)


def photographs() -> torch.Tensor:
    """Return (B, 3, 256, 256) photographs in 0..1 that come with scikit-image: some typical frames."""
    pictures = (data.astronaut(), data.coffee(), data.chelsea(), data.rocket())
    return torch.from_numpy(np.stack([picture[:256, 64:320] for picture in pictures])).permute(0, 3, 1, 2) / 255
