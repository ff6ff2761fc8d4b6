"""A network with side outputs at several scales, fused into maps of the size of the frame (OSVOS section 3.1)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import nn

from napari_pml.embedding.networks.efficientnet import STAGES, EfficientNetTrunk
from napari_pml.embedding.networks.steady import Conv2d
from napari_pml.embedding.weights import bundled, load_weights
from napari_pml.errors import WeightsError
from napari_pml.grid import pad_to_cells

WIDTHS = tuple(STAGES[i].n_out for i in (0, 2, 4, 10))
"""Channels of the trunk's last features at strides 2, 4, 8 and 16."""

SIDE_WIDTH = 32
"""Channels of each side branch (the paper: 16, of a trunk that is ten times wider)."""

OBJECT, CONTOUR = 0, 1
"""Outputs of the bundled weights: what stands out from the frame, and outlines of objects."""


class SideNetwork(nn.Module):
    """EfficientNet-B0 with a small branch at each of strides 2, 4, 8 and 16; the paper has VGG-16.

    The paper brings branches up to the frame, puts them side by side and fuses them with a 1 x 1 convolution. Here
    each is fused first and brought up then: both steps are linear and therefore change places, and what is brought up
    is one channel for each output instead of all of a branch.
    """

    name = "osvos"
    stride = 2
    multiple = 16

    def __init__(self, n_outputs: int = 2) -> None:
        """Build a network without trained weights."""
        super().__init__()
        self.trunk = EfficientNetTrunk()
        self.sides = nn.ModuleList(Conv2d(width, SIDE_WIDTH, 3, padding=1) for width in WIDTHS)
        self.fuse = nn.ModuleList(Conv2d(SIDE_WIDTH, n_outputs, 1) for _ in WIDTHS)

    @classmethod
    def from_file(cls, path: Path | None = None) -> tuple[SideNetwork, str]:
        """Read a network with two outputs, `OBJECT` and `CONTOUR`, and the fingerprint of its file.

        Args:
            path: the bundled one by default.

        Raises:
            WeightsError: the file is missing, damaged, or belongs to another network.
        """
        path = path or bundled(cls.name)
        net = cls()
        try:
            state, fingerprint = load_weights(path, cls.name)
            net.load_state_dict(state)
        except RuntimeError as error:
            raise WeightsError(f"{path} does not fit the network {cls.name!r}: {error}") from error
        return net, fingerprint

    def with_outputs(self, outputs: Sequence[int]) -> SideNetwork:
        """Return a copy whose outputs are those of these numbers; one may come several times."""
        net = SideNetwork(len(outputs))
        net.load_state_dict(
            {name: x[list(outputs)] if name.startswith("fuse.") else x for name, x in self.state_dict().items()}
        )
        return net

    def branches(self, frames: torch.Tensor) -> list[torch.Tensor]:
        """Return the side branches, (B, SIDE_WIDTH, H / s, W / s) of strides s = 2, 4, 8, 16.

        Args:
            frames: (B, 3, H, W) RGB in 0..1, sides multiples of 16.
        """
        depths = self.trunk.four_depths((frames - self.trunk.mean) / self.trunk.std)
        return [F.silu(side(x)) for side, x in zip(self.sides, depths, strict=True)]

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        """Map (B, 3, H, W) RGB in 0..1, sides multiples of 16, to (B, n_outputs, H / 2, W / 2) logits."""
        branches = self.branches(frames)
        return torch.stack(brought_up([fuse(x) for fuse, x in zip(self.fuse, branches, strict=True)])).sum(0)


def brought_up(sides: list[torch.Tensor]) -> list[torch.Tensor]:
    """Bring (B, C, H / s, W / s) maps of strides s = 2, 4, 8, 16 to stride 2, bilinearly.

    Convolutions as `EfficientNetTrunk` pads them centre output i of stride 2 on pixel 2 i + 1, and of any other stride
    s on s i + 3. So the first of those falls on number 1 of stride 2, and beyond the outermost the value stays.
    """
    height, width = sides[0].shape[-2:]
    found = [sides[0]]
    for x in sides[1:]:
        h, w = x.shape[-2:]
        step = height // h
        fine = F.interpolate(x, (step * (h - 1) + 1, step * (w - 1) + 1), mode="bilinear", align_corners=True)
        found.append(F.pad(fine, (1, width - 1 - fine.shape[-1], 1, height - 1 - fine.shape[-2]), mode="replicate"))
    return found


def reduction(height: int, width: int, short_side: int) -> int:
    """Return the side of the blocks of pixels that become one pixel of a frame whose short side is about as given."""
    return max(1, round(min(height, width) / short_side))


def reduced(rgb: NDArray[np.float32], side: int) -> torch.Tensor:
    """Return a frame, (H, W, 3) float32 in 0..1, as a `SideNetwork` sees it.

    Returns:
        (3, h, w), the mean of each block of `side` pixels; h and w are multiples of `SideNetwork.multiple`, the last
        row and column repeated.
    """
    frame = torch.from_numpy(rgb).permute(2, 0, 1)[None]
    return F.avg_pool2d(pad_to_cells(frame, side * SideNetwork.multiple), side)[0]


def class_balanced_cross_entropy(logits: torch.Tensor, shares: torch.Tensor, balance: float = 1.0) -> torch.Tensor:
    """Return the loss of OSVOS: every label weighted by the share of the others (section 3.1; Xie and Tu, ICCV 2015).

    With one object, positives are weighted by the share of negatives and the other way round. The sum is divided by
    that of the weights, so that a small object gives as large a loss as a large one.

    Args:
        logits: (O, h, w) of the objects of one frame; that of the background is 0 by definition.
        shares: (O + 1, h, w) share of each label in each cell, background first; the sum over labels is 1, or less
            where pixels are not annotated.
        balance: exponent of the weights; the paper's is 1, and 0 weighs all cells alike. Between them, an output says
            less often what is rare.

    Returns:
        Scalar, 0 if not more than one label is annotated.
    """
    log_odds = F.log_softmax(torch.cat([torch.zeros_like(logits[:1]), logits]), dim=0)
    size = shares.sum((1, 2))
    weight = (1 - size / size.sum().clamp_min(1e-6)) ** balance
    loss = -(shares * log_odds).sum((1, 2)) @ weight
    return loss / (size @ weight).clamp_min(1e-6)
