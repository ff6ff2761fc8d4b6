"""ResNet trunks whose cells sit where the grid says (He et al., CVPR 2016)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from napari_pml.embedding.networks.steady import Conv2d
from napari_pml.embedding.networks.trunk import Trunk


def stem(x: torch.Tensor, conv1: Conv2d) -> torch.Tensor:
    """Bring (B, 3, H, W) frames to stride 4, output i centred on pixel 4 i + 4, see `ResNet18Trunk`."""
    x = F.pad(x[..., 1:, 1:], (0, 6, 0, 6), mode="replicate")
    return F.max_pool2d(F.relu(conv1(x), inplace=True), 3, stride=2, padding=1)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut; BatchNorm is folded into the convolutions."""

    def __init__(self, n_in: int, n_out: int, stride: int):
        super().__init__()
        self.conv1 = Conv2d(n_in, n_out, 3, stride, padding=1)
        self.conv2 = Conv2d(n_out, n_out, 3, padding=1)
        self.downsample = nn.Sequential(Conv2d(n_in, n_out, 1, stride)) if n_in != n_out else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (B, n_in, h, w) to (B, n_out, h / stride, w / stride)."""
        branch = self.conv2(F.relu(self.conv1(x), inplace=True))
        return F.relu(branch + self.downsample(x), inplace=True)


class ResNet18Trunk(Trunk):
    """ResNet-18 up to its third stage; parameters carry torchvision's names, BatchNorm folded.

    A strided convolution with symmetric padding looks at the *corner* of each cell: output i of the usual trunk is
    centred on pixel 8 i, while the centre of cell i is pixel 8 i + 3.5. Here the first convolution is padded so that
    output i is centred on pixel 8 i + 4; without that, masks are off by half a cell.
    """

    widths = (128, 256)

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = Conv2d(3, 64, 7, stride=2)
        self.layer1 = nn.Sequential(BasicBlock(64, 64, 1), BasicBlock(64, 64, 1))
        self.layer2 = nn.Sequential(BasicBlock(64, 128, 2), BasicBlock(128, 128, 1))
        self.layer3 = nn.Sequential(BasicBlock(128, 256, 2), BasicBlock(256, 256, 1))

    def early_layers(self) -> tuple[nn.Module, ...]:
        """Return the layers up to stride 4."""
        return self.conv1, self.layer1

    def two_depths(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the features after the second and after the third stage."""
        fine = self.layer2(self.layer1(stem(x, self.conv1)))
        return fine, self.layer3(fine)
