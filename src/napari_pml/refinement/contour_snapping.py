"""Contour snapping: a mask follows the contours that a network sees (OSVOS section 3.3)."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, gaussian_gradient_magnitude, label
from skimage.morphology import local_minima
from skimage.segmentation import watershed

from napari_pml.embedding.networks.side_network import CONTOUR, SideNetwork, reduced, reduction
from napari_pml.grid import upsample
from napari_pml.types import Labels

SHORT_SIDE = 480
"""Of a frame as the network sees it, about, in pixels."""

SMOOTHING = 2.0
"""In pixels, of what superpixels begin from: the larger, the fewer there are."""

GRADIENT = 2.0
"""Weight of the image's own gradient, in units of a pixel, beside the contours, which are known to two pixels only."""

GRADIENT_SMOOTHING = 1.0
"""In pixels, of the image before its gradient is taken."""

LEAST_KEPT = 0.5
"""An object that would keep less of its area stays as it was: it is smaller than superpixels are."""


def snap(labels: Labels, rgb: NDArray[np.float32], device: torch.device) -> Labels:
    """Give every superpixel of a frame the label that most of its pixels have.

    Args:
        labels: (H, W) uint16, 0 = background.
        rgb: (H, W, 3) float32 in 0..1, the frame.
        device: where the network runs.

    Returns:
        Likewise (H, W) uint16; no object vanishes, and none becomes less than half as large.
    """
    if not labels.any():
        return labels
    return majority(labels, superpixels(contours(rgb, device), rgb))


def contours(rgb: NDArray[np.float32], device: torch.device) -> NDArray[np.float32]:
    """Return how likely there is the contour of an object at each pixel of a frame, (H, W) float32 in 0..1.

    Args:
        rgb: (H, W, 3) float32 in 0..1.
        device: where the network runs.
    """
    size = rgb.shape[:2]
    side = reduction(size[0], size[1], SHORT_SIDE)
    with torch.inference_mode():
        logits = _network(device)(reduced(rgb, side).to(device)[None])[0]
        found: NDArray[np.float32] = upsample(logits, size, SideNetwork.stride * side)[0].sigmoid().cpu().numpy()
    return found


def superpixels(contours: NDArray[np.float32], rgb: NDArray[np.float32]) -> NDArray[np.int32]:
    """Divide a frame along its contours: a watershed from the smoothed minima (the paper cuts a hierarchy of regions).

    Args:
        contours: (H, W) in 0..1.
        rgb: (H, W, 3) float32 in 0..1.

    Returns:
        (H, W) int32, 1, 2, ...; 0 everywhere if all is flat.
    """
    steps = [gaussian_gradient_magnitude(rgb[..., channel], GRADIENT_SMOOTHING) for channel in range(3)]
    height = contours + GRADIENT * np.max(steps, axis=0)
    seeds, _ = label(local_minima(gaussian_filter(height, SMOOTHING)))
    regions: NDArray[np.int32] = watershed(height, seeds)
    return regions


def majority(labels: Labels, regions: NDArray[np.int32]) -> Labels:
    """Give every region the label that most of its pixels have, the lowest of equals.

    Args:
        labels: (H, W) uint16.
        regions: (H, W) int32, not negative.

    Returns:
        (H, W) uint16, where each object has at least `LEAST_KEPT` of its area: otherwise it is laid over the others.
    """
    ids, place = np.unique(labels, return_inverse=True)
    place = place.reshape(labels.shape)
    counts = np.bincount((regions * len(ids) + place).ravel(), minlength=(regions.max() + 1) * len(ids))
    counts = counts.reshape(-1, len(ids))
    winner = counts.argmax(1)[regions]
    before, after = (np.bincount(x.ravel(), minlength=len(ids)) for x in (place, winner))
    lost = after < LEAST_KEPT * before
    lost[ids == 0] = False
    found: Labels = ids[np.where(lost[place], place, winner)]
    return found


@lru_cache(1)
def _network(device: torch.device) -> SideNetwork:
    """Return the bundled network with its contours alone."""
    return SideNetwork.from_file()[0].with_outputs([CONTOUR]).to(device).eval()
