"""Random views of an annotated frame: turned, scaled, mirrored (OSVOS section 3.2)."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

ROTATION = 30.0
"""Largest angle, in degrees."""

SCALE = 0.75, 1.25
"""Smallest and largest size of what is seen, relative to the frame's own."""

SHIFT = 0.15
"""How far the middle of a view may lie from that of the frame, as a share of its sides."""


def random_view(
    rng: np.random.Generator,
    frame: torch.Tensor,
    shares: torch.Tensor,
    size: tuple[int, int],
    scale: tuple[float, float] = SCALE,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Look at a frame and its labels in the same random way.

    Args:
        rng: source of randomness.
        frame: (3, H, W) RGB in 0..1.
        shares: (L, H, W) share of each label in each pixel; what lies beyond the frame has none.
        size: (H', W') of the view, around a point near the middle of the frame.
        scale: smallest and largest size of what is seen, relative to the frame's own.

    Returns:
        (3, H', W') frame, the outermost pixels repeated beyond it, and (L, H', W') shares.
    """
    angle = np.deg2rad(rng.uniform(-ROTATION, ROTATION))
    size_of_things = np.exp(rng.uniform(*np.log(scale)))
    mirror = -1.0 if rng.random() < 0.5 else 1.0
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) / size_of_things
    extent = np.array(frame.shape[:0:-1], float)  # (W, H): both spaces are -1..1 over an image
    linear = np.diag(1 / extent) @ turn @ np.diag([mirror, 1.0]) @ np.diag(np.array(size[::-1], float))
    theta = np.concatenate([linear, rng.uniform(-2 * SHIFT, 2 * SHIFT, (2, 1))], axis=1)
    theta_ = torch.tensor(theta[None], dtype=torch.float32, device=frame.device)
    grid = F.affine_grid(theta_, [1, 1, *size], align_corners=False)
    seen = F.grid_sample(frame[None], grid, "bilinear", "border", align_corners=False)[0]
    return seen, F.grid_sample(shares[None], grid, "bilinear", "zeros", align_corners=False)[0]
