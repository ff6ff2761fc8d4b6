"""How a training frame is looked at: where each of its pixels comes from in the source image."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from napari_pml.grid import IntensityScale
from napari_pml.types import Labels

ELASTIC_GRID = (4, 5)
"""Rows and columns of the random displacements that are interpolated over a frame: smooth, and without folds."""


def linear_map(rng: np.random.Generator, scale: float, rotation: float, stretch: float, mirror: bool) -> torch.Tensor:
    """Return a random (2, 2) map of (x, y) offsets in a training frame to offsets in its source.

    Args:
        rng: source of randomness.
        scale: source pixels in a pixel.
        rotation: largest angle, in degrees.
        stretch: largest log of width over height.
        mirror: left and right change places.
    """
    angle = np.deg2rad(rng.uniform(-rotation, rotation))
    longer = np.exp(rng.uniform(-stretch, stretch) / 2)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return torch.tensor(scale * turn @ np.diag([longer * (-1 if mirror else 1), 1 / longer]), dtype=torch.float32)


def shaken(rng: np.random.Generator, linear: torch.Tensor, amount: float) -> torch.Tensor:
    """Return (3, 2, 2) maps, one for each frame: `linear` after a random distortion of standard deviation `amount`."""
    return linear @ torch.tensor(np.eye(2) + rng.normal(0, amount, (3, 2, 2)), dtype=torch.float32)


def elastic(rng: np.random.Generator, size: tuple[int, int], amount: float) -> torch.Tensor:
    """Return (3, H, W, 2) smooth random displacements in pixels, standard deviation about `amount`."""
    knots = torch.tensor(rng.normal(0, amount, (3, 2, *ELASTIC_GRID)), dtype=torch.float32)
    return F.interpolate(knots, size=size, mode="bicubic", align_corners=True).permute(0, 2, 3, 1)


def source_points(
    size: tuple[int, int], linear: torch.Tensor, pivot: torch.Tensor, centre: torch.Tensor
) -> torch.Tensor:
    """Return where the pixels of three training frames lie in their sources.

    Args:
        size: (H, W) of the training frames.
        linear: (3, 2, 2) map of offsets, as from `linear_map`.
        pivot: (3, 2) point (x, y) of the training frame, in pixels.
        centre: (3, 2) point of the source that is seen there.

    Returns:
        (3, H, W, 2) points (x, y), pixel centres counted as whole numbers.
    """
    (xx, xy), (yx, yy) = linear.permute(1, 2, 0)[..., None, None]
    x = torch.arange(size[1]) - pivot[:, 0, None, None]
    y = torch.arange(size[0])[:, None] - pivot[:, 1, None, None]
    cx, cy = centre.T[..., None, None]
    return torch.stack([xx * x + (xy * y + cx), yx * x + (yy * y + cy)], -1)


def see(
    points: torch.Tensor, frame: NDArray[np.generic], scale: IntensityScale, labels: Labels
) -> tuple[torch.Tensor, torch.Tensor]:
    """Look at a source image through a warp; beyond its border it is mirrored, image and labels alike.

    Args:
        points: (H, W, 2) source point of every pixel, as from `source_points`.
        frame: (h, w, C) source, as stored.
        scale: how its intensities become RGB.
        labels: (h, w) labels of the source.

    Returns:
        (3, H, W) float32 RGB in 0..1 (bicubic) and (H, W) int64 labels (nearest).
    """
    x, y = points[..., 0], points[..., 1]
    (top, left), (bottom, right) = (
        (int(edge(y).clamp(0, labels.shape[0] - 1)), int(edge(x).clamp(0, labels.shape[1] - 1)))
        for edge in (torch.min, torch.max)
    )
    top, left = max(0, top - 2), max(0, left - 2)
    part = slice(top, bottom + 4), slice(left, right + 4)
    rgb = torch.from_numpy(scale.to_rgb(frame[part])).permute(2, 0, 1)[None]
    ids = torch.from_numpy(labels[part].astype(np.float32))[None, None]
    h, w = ids.shape[-2:]
    grid = torch.stack([(2 * (x - left) + 1) / w - 1, (2 * (y - top) + 1) / h - 1], -1)[None]
    seen = F.grid_sample(rgb, grid, "bicubic", "reflection", align_corners=False)
    return seen[0].clamp(0, 1), F.grid_sample(ids, grid, "nearest", "reflection", align_corners=False)[0, 0].long()
