"""A drawn video with exact masks, and an embedder that is enough for it."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image

from napari_pml.grid import pad_to_cells


class ColourEmbedder:
    """The mean colour of every cell, as an angle on a sphere: enough for drawn videos, and needs no network."""

    name = "colour"
    dim = 4
    stride = 8
    fingerprint = "colour-1"

    def __init__(self, weights=None):
        self.weights = weights
        self.device = torch.device("cpu")
        self.calls = 0

    def to(self, device):
        self.device = device

    def embed(self, frames, t):
        self.calls += len(frames)
        cells = torch.nn.functional.avg_pool2d(pad_to_cells(frames, self.stride), self.stride)
        cells = torch.cat([4 * (cells - 0.5), torch.ones_like(cells[:, :1])], dim=1)
        return torch.nn.functional.normalize(cells, dim=1)


def draw_video(n_frames=8, height=96, width=128):
    """A red disc moves right and a blue square moves down over noisy green: (T, H, W, 3) uint8 and exact masks."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:height, :width]
    frames = np.empty((n_frames, height, width, 3), np.uint8)
    masks = np.zeros((n_frames, height, width), np.uint16)
    for t in range(n_frames):
        frames[t] = (60, 150, 70) + rng.integers(-20, 20, (height, width, 3))
        masks[t][np.hypot(y - 60, x - 30 - 3 * t) < 20] = 1
        masks[t][(abs(y - 22 - 2 * t) < 12) & (abs(x - 100) < 12)] = 2
        for label, colour in ((1, (200, 50, 40)), (2, (40, 60, 210))):
            inside = masks[t] == label
            frames[t][inside] = colour + rng.integers(-15, 15, (inside.sum(), 3))
    return frames, masks


def jaccard(mask, truth):
    """Intersection over union of two boolean masks; 1 if both are empty."""
    union = (mask | truth).sum()
    return (mask & truth).sum() / union if union else 1.0


def write_video(root, name, frames, masks):
    """Write a video in DAVIS layout."""
    for kind, arrays, suffix in (("JPEGImages", frames, "jpg"), ("Annotations", masks, "png")):
        folder = root / kind / "480p" / name
        folder.mkdir(parents=True)
        for t, array in enumerate(arrays):
            Image.fromarray(array.astype(np.uint8)).save(folder / f"{t:05d}.{suffix}")
