"""EfficientNet-B0 trunk whose cells sit where the grid says (Tan and Le, ICML 2019)."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import nn

from napari_pml.embedding.networks.steady import Conv2d, mean_of_pixels
from napari_pml.embedding.networks.trunk import Trunk, same_grid

PUBLISHED_STEM = "_conv_stem.weight"
"""A name that only published weights have."""

BATCH_NORM_EPSILON = 1e-3
"""Of the published network."""


@dataclass(frozen=True)
class Stage:
    """The shape of one inverted residual block: channels, kernel, stride, and by how much it widens inside."""

    n_in: int
    n_out: int
    kernel: int
    stride: int = 1
    expansion: int = 6


STAGES = (
    Stage(32, 16, 3, expansion=1),
    Stage(16, 24, 3, stride=2),
    Stage(24, 24, 3),
    Stage(24, 40, 5, stride=2),
    Stage(40, 40, 5),
    Stage(40, 80, 3, stride=2),
    Stage(80, 80, 3),
    Stage(80, 80, 3),
    Stage(80, 112, 5),
    Stage(112, 112, 5),
    Stage(112, 112, 5),
)
"""Blocks 0 to 10 of EfficientNet-B0 (table 1): stride 4 ends with block 2, stride 8 with block 4, stride 16 with 10."""


class InvertedResidual(nn.Module):
    """Widen, filter each channel for itself, weigh the channels, narrow again; BatchNorm is folded in."""

    def __init__(self, stage: Stage, *, padded_behind: bool):
        """Build a block whose depthwise convolution is padded on all sides, or only by one pixel below and right."""
        super().__init__()
        wide = stage.n_in * stage.expansion
        self.padded_behind = padded_behind
        padding = 0 if padded_behind else stage.kernel // 2
        self.expand = Conv2d(stage.n_in, wide, 1) if stage.expansion > 1 else None
        self.depthwise = Conv2d(wide, wide, stage.kernel, stage.stride, padding, groups=wide)
        self.squeeze = Conv2d(wide, max(1, stage.n_in // 4), 1)
        self.excite = Conv2d(max(1, stage.n_in // 4), wide, 1)
        self.project = Conv2d(wide, stage.n_out, 1)
        self.has_shortcut = stage.stride == 1 and stage.n_in == stage.n_out

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (B, n_in, h, w) to (B, n_out, h / stride, w / stride)."""
        y: torch.Tensor = F.pad(x, (0, 1, 0, 1)) if self.padded_behind else x
        if self.expand is not None:
            y = self.expand(y, "swish")
        if self.padded_behind:  # padding the few channels before and clearing it after is cheaper than a wide copy
            y[:, :, -1], y[..., -1] = 0, 0
        y = self.depthwise(y, "swish")
        importance = self.excite(self.squeeze(mean_of_pixels(y), "swish"))
        y = self.project(y * torch.sigmoid(importance))
        return x + y if self.has_shortcut else y


class EfficientNetTrunk(Trunk):
    """EfficientNet-B0 to stride 16.

    The first two strided convolutions are padded behind, as they were trained, the last two on both sides. Output i
    is then centred on pixel 8 i + 3, half a pixel from the centre of cell i.
    """

    widths = (40, 112)
    all_widths = (16, 24, 40, 112)

    def __init__(self) -> None:
        super().__init__()
        self.stem = Conv2d(3, 32, 3, stride=2)
        self.blocks = nn.ModuleList(InvertedResidual(stage, padded_behind=i == 1) for i, stage in enumerate(STAGES))

    def early_layers(self) -> tuple[nn.Module, ...]:
        """Return the layers up to stride 4."""
        return self.stem, *self.blocks[:3]

    def two_depths(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the features after block 4 and after block 10."""
        _, _, fine, coarse = self.four_depths(x)
        return fine, coarse

    def all_depths(self, frames: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Compute the features that `forward` does, and before them those of strides 2 and 4.

        Cells of these are centred on pixels 2 i + 1 and 4 i + 3.

        Args:
            frames: (B, 3, H, W) RGB in 0..1, H and W multiples of 8.
        """
        half, quarter, fine, coarse = self.four_depths((frames - self.mean) / self.std)
        return half, quarter, *same_grid(fine, coarse)

    def four_depths(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Map (B, 3, H, W) standardised frames to the last features at strides 2, 4, 8 and 16."""
        x = self.stem(F.pad(x, (0, 1, 0, 1)), "swish")
        depths = []
        for first, last in pairwise((0, 1, 3, 5, len(STAGES))):
            for block in self.blocks[first:last]:
                x = block(x)
            depths.append(x)
        return depths


def fold_batch_norm(published: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Turn published EfficientNet-B0 weights into those of `EfficientNetTrunk`.

    BatchNorm with fixed statistics is a factor and a summand for each channel, which the convolution before it takes
    in.

    Args:
        published: tensors by the names of the PyTorch port by Luke Melas-Kyriazi, stem and blocks 0 to 10.

    Raises:
        KeyError: a tensor is missing.
    """
    state: dict[str, torch.Tensor] = {}

    def fold(convolution: str, norm: str, name: str) -> None:
        gain, bias, mean, variance = (
            published[f"{norm}.{part}"].double() for part in ("weight", "bias", "running_mean", "running_var")
        )
        gain = gain / torch.sqrt(variance + BATCH_NORM_EPSILON)
        state[f"{name}.weight"] = (published[f"{convolution}.weight"].double() * gain.view(-1, 1, 1, 1)).float()
        state[f"{name}.bias"] = (bias - mean * gain).float()

    fold("_conv_stem", "_bn0", "stem")
    for i, stage in enumerate(STAGES):
        theirs, ours = f"_blocks.{i}", f"blocks.{i}"
        if stage.expansion > 1:
            fold(f"{theirs}._expand_conv", f"{theirs}._bn0", f"{ours}.expand")
        fold(f"{theirs}._depthwise_conv", f"{theirs}._bn1", f"{ours}.depthwise")
        fold(f"{theirs}._project_conv", f"{theirs}._bn2", f"{ours}.project")
        for part in ("weight", "bias"):
            state[f"{ours}.squeeze.{part}"] = published[f"{theirs}._se_reduce.{part}"]
            state[f"{ours}.excite.{part}"] = published[f"{theirs}._se_expand.{part}"]
    return state
