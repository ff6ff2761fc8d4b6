"""The trunk of the paper: DeepLab-v2's ResNet-101, dilated to stride 8 (Chen et al., TPAMI 2018)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import nn

from napari_pml.embedding.networks.resnet import stem
from napari_pml.embedding.networks.steady import Conv2d
from napari_pml.embedding.networks.trunk import Trunk

BATCH_NORM_EPSILON = 1e-5
"""Of the published networks."""

DEPTHS = {"layer1": 3, "layer2": 4, "layer3": 23, "layer4": 3}
"""Blocks of each stage (He et al., CVPR 2016, table 1)."""

ASPP_RATES = (6, 12, 18, 24)
ASPP_WIDTH = 256
"""Dilations of the parallel convolutions of atrous spatial pyramid pooling (DeepLab-v2, section 3.2), and their
channels: as many as torchvision's DeepLab has, since there are no classes here."""


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions beside a shortcut; BatchNorm is folded into the convolutions."""

    def __init__(self, n_in: int, width: int, stride: int = 1, dilation: int = 1):
        super().__init__()
        n_out = 4 * width
        self.conv1 = Conv2d(n_in, width, 1)
        self.conv2 = Conv2d(width, width, 3, stride, padding=dilation, dilation=dilation)
        self.conv3 = Conv2d(width, n_out, 1)
        self.downsample = nn.Sequential(Conv2d(n_in, n_out, 1, stride)) if n_in != n_out else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (B, n_in, h, w) to (B, 4 * width, h / stride, w / stride)."""
        y = F.relu(self.conv1(x), inplace=True)
        y = self.conv3(F.relu(self.conv2(y), inplace=True))
        return F.relu(y + self.downsample(x), inplace=True)


class DeepLabTrunk(Trunk):
    """ResNet-101 whose last two stages are dilated instead of strided, and atrous spatial pyramid pooling on top.

    Parameters carry torchvision's names, BatchNorm folded. Output i is centred on pixel 8 i + 4, see `ResNet18Trunk`.
    """

    widths = (1024, ASPP_WIDTH)

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = Conv2d(3, 64, 7, stride=2)
        self.layer1 = self._stage("layer1", 64, 64)
        self.layer2 = self._stage("layer2", 256, 128, stride=2)
        self.layer3 = self._stage("layer3", 512, 256, dilation=2)
        self.layer4 = self._stage("layer4", 1024, 512, dilation=4)
        self.aspp = nn.ModuleList(Conv2d(2048, ASPP_WIDTH, 3, padding=rate, dilation=rate) for rate in ASPP_RATES)

    @staticmethod
    def _stage(name: str, n_in: int, width: int, stride: int = 1, dilation: int = 1) -> nn.Sequential:
        """Return a stage; where it is dilated, its first block still has half of the dilation, as it was trained."""
        first = Bottleneck(n_in, width, stride, max(1, dilation // 2))
        return nn.Sequential(first, *(Bottleneck(4 * width, width, 1, dilation) for _ in range(DEPTHS[name] - 1)))

    def early_layers(self) -> tuple[nn.Module, ...]:
        """Return the layers up to stride 4."""
        return self.conv1, self.layer1

    def two_depths(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the features after the third stage and after the pyramid, both of stride 8."""
        fine = self.layer3(self.layer2(self.layer1(stem(x, self.conv1))))
        deep = self.layer4(fine)
        return fine, torch.stack([branch(deep) for branch in self.aspp]).sum(0)


def is_published_resnet101(state: Mapping[str, torch.Tensor]) -> bool:
    """Whether these are the weights of a ResNet-101, or of a DeepLab on one, as torchvision has published them."""
    return any(f"{prefix}layer3.22.bn3.running_var" in state for prefix in ("", "backbone."))


def from_torchvision(published: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Turn weights of torchvision's ResNet-101 or DeepLab into those of `DeepLabTrunk`.

    BatchNorm with fixed statistics is a factor and a summand for each channel, which the convolution before it takes
    in. The pyramid, which these networks do not have, begins with small random weights (DeepLab-v2), always the same.

    Args:
        published: tensors by torchvision's names; those of classifiers are left out.

    Raises:
        KeyError: a tensor is missing.
    """
    prefix = "backbone." if "backbone.conv1.weight" in published else ""
    state: dict[str, torch.Tensor] = {}

    def fold(convolution: str, norm: str) -> None:
        gain, bias, mean, variance = (
            published[f"{prefix}{norm}.{part}"].double() for part in ("weight", "bias", "running_mean", "running_var")
        )
        gain = gain / torch.sqrt(variance + BATCH_NORM_EPSILON)
        weight = published[f"{prefix}{convolution}.weight"].double()
        state[f"{convolution}.weight"] = (weight * gain.view(-1, 1, 1, 1)).float()
        state[f"{convolution}.bias"] = (bias - mean * gain).float()

    fold("conv1", "bn1")
    for stage, depth in DEPTHS.items():
        fold(f"{stage}.0.downsample.0", f"{stage}.0.downsample.1")
        for block in range(depth):
            for i in (1, 2, 3):
                fold(f"{stage}.{block}.conv{i}", f"{stage}.{block}.bn{i}")
    chance = torch.Generator().manual_seed(0)
    for i in range(len(ASPP_RATES)):
        state[f"aspp.{i}.weight"] = 0.01 * torch.randn(ASPP_WIDTH, 2048, 3, 3, generator=chance)
        state[f"aspp.{i}.bias"] = torch.zeros(ASPP_WIDTH)
    return state
