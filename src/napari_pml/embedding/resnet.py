"""ResNet trunks whose cells sit where the grid says (He et al., CVPR 2016)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn


class BasicBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut; BatchNorm is folded into the convolutions."""

    def __init__(self, n_in: int, n_out: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv2d(n_in, n_out, 3, stride, padding=1)
        self.conv2 = nn.Conv2d(n_out, n_out, 3, padding=1)
        self.downsample = nn.Sequential(nn.Conv2d(n_in, n_out, 1, stride)) if n_in != n_out else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (B, n_in, h, w) to (B, n_out, h / stride, w / stride)."""
        branch = self.conv2(F.relu(self.conv1(x), inplace=True))
        return F.relu(branch + self.downsample(x), inplace=True)


class ResNet18Trunk(nn.Module):
    """ResNet-18 up to its third stage; parameters carry torchvision's names, BatchNorm folded.

    A strided convolution with symmetric padding looks at the *corner* of each cell: output i of the usual trunk is
    centred on pixel 8 i, while the centre of cell i is pixel 8 i + 3.5. Here the first convolution is padded so that
    output i is centred on pixel 8 i + 4; without that, masks are off by half a cell.
    """

    mean: torch.Tensor
    std: torch.Tensor
    widths = (128, 256)
    """Channels of the stride-8 and of the stride-16 features."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, stride=2)
        self.layer1 = nn.Sequential(BasicBlock(64, 64, 1), BasicBlock(64, 64, 1))
        self.layer2 = nn.Sequential(BasicBlock(64, 128, 2), BasicBlock(128, 128, 1))
        self.layer3 = nn.Sequential(BasicBlock(128, 256, 2), BasicBlock(256, 256, 1))
        self.register_buffer("mean", torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1), persistent=False)

    def early_layers(self) -> tuple[nn.Module, ...]:
        """Return the layers up to stride 4."""
        return self.conv1, self.layer1

    def forward(self, frames: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Compute features of two depths, both on the stride-8 grid.

        Args:
            frames: (B, 3, H, W) RGB in 0..1, H and W multiples of 8.

        Returns:
            (B, 128, H/8, W/8) of the second stage and (B, 256, H/8, W/8) of the third, brought up from stride 16.
        """
        x = (frames - self.mean) / self.std
        x = F.pad(x[..., 1:, 1:], (0, 6, 0, 6), mode="replicate")
        x = F.max_pool2d(F.relu(self.conv1(x), inplace=True), 3, stride=2, padding=1)
        fine = self.layer2(self.layer1(x))
        coarse = self.layer3(fine)
        # Coarse cell j is centred on fine cell 2 j: bring it up corner to corner, then repeat the last cell if needed.
        h, w = coarse.shape[-2:]
        coarse = F.interpolate(coarse, size=(2 * h - 1, 2 * w - 1), mode="bilinear", align_corners=True)
        missing = fine.shape[-1] - coarse.shape[-1], fine.shape[-2] - coarse.shape[-2]
        return fine, F.pad(coarse, (0, missing[0], 0, missing[1]), mode="replicate")
