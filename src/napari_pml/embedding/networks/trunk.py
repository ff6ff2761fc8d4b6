"""What the trunks of the compact network have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
import torch.nn.functional as F
from torch import nn


class Trunk(nn.Module, ABC):
    """Computes features of two depths, both on the stride-8 grid, from frames as ImageNet networks see them.

    Attributes:
        widths: channels of the features of either depth.
    """

    mean: torch.Tensor
    std: torch.Tensor
    widths: tuple[int, int]

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1), persistent=False)

    @abstractmethod
    def early_layers(self) -> tuple[nn.Module, ...]:
        """Return the layers up to stride 4."""

    @abstractmethod
    def two_depths(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Map (B, 3, H, W) standardised frames to features of stride 8, and deeper ones of stride 16 or 8."""

    def forward(self, frames: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Compute features of two depths.

        Args:
            frames: (B, 3, H, W) RGB in 0..1, H and W multiples of 8.

        Returns:
            (B, C, H/8, W/8) of either depth, those of stride 16 brought up; C as `widths` says.
        """
        return same_grid(*self.two_depths((frames - self.mean) / self.std))


def same_grid(fine: torch.Tensor, coarse: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Bring (B, C, h', w') features of stride 16 up to the grid of (B, C, h, w) features of stride 8, if they are not.

    Coarse cell j is centred on fine cell 2 j.
    """
    if coarse.shape[-2:] == fine.shape[-2:]:
        return fine, coarse
    h, w = coarse.shape[-2:]
    coarse = F.interpolate(coarse, size=(2 * h - 1, 2 * w - 1), mode="bilinear", align_corners=True)
    missing = fine.shape[-1] - coarse.shape[-1], fine.shape[-2] - coarse.shape[-2]
    return fine, F.pad(coarse, (0, missing[0], 0, missing[1]), mode="replicate")
