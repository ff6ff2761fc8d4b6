"""Operations whose results are the same to the bit however many threads there are.

PyTorch cuts work on the CPU into as many pieces as there are threads, and at the ends of pieces computes by other
instructions; with a single thread, it leaves some convolutions to another library. Masks must not depend on that. On a
GPU, and while training, all of this is PyTorch's own.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import nn

PARTS = 48
"""Sums over pixels are sums over so many parts of them, and then of these; more threads than these do not help."""


class Conv2d(nn.Conv2d):
    """A convolution that oneDNN computes on the CPU, in which results do not depend on threads, and its activation."""

    def forward(self, x: torch.Tensor, activation: Literal["none", "swish"] = "none") -> torch.Tensor:
        """Map (B, C, H, W) to (B, C', H', W'), and let the activation follow; "swish" is SiLU."""
        if x.device.type == "cpu" and not torch.is_grad_enabled() and torch.backends.mkldnn.is_available():
            shape = self.padding, self.stride, self.dilation, self.groups
            y: torch.Tensor = torch.ops.mkldnn._convolution_pointwise(
                x, self.weight, self.bias, *shape, activation, [], ""
            )
            return y
        y = super().forward(x)
        return nn.functional.silu(y, inplace=True) if activation == "swish" else y


def mean_of_pixels(x: torch.Tensor) -> torch.Tensor:
    """Return the mean of each channel of (B, C, H, W), channels last, as (B, C, 1, 1)."""
    pixels = x.permute(0, 2, 3, 1).flatten(1, 2)
    n = pixels.shape[1]
    rest = n % PARTS
    parts = pixels[:, : n - rest].unflatten(1, (PARTS, n // PARTS)).sum(2)
    total = torch.cat([parts, pixels[:, n - rest :]], 1).sum(1) if rest else parts.sum(1)
    return (total / n)[:, :, None, None]
