"""Objects cut out of annotated frames and laid over the frames of a training clip, as further objects."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.ndimage import find_objects

from napari_pml.training.material import AnnotatedClip
from napari_pml.training.warp import linear_map, see, shaken, source_points
from napari_pml.types import Labels

SMALLEST = 12
"""Shorter side of the smallest object that is cut out, in source pixels: fewer make no cell when enlarged."""


@dataclass(frozen=True)
class Cutout:
    """One object in three frames, each seen at its place.

    Attributes:
        frames: (3, 3, H, W) float32 RGB in 0..1, of which only the object is of interest.
        mask: (3, H, W) bool, the object.
    """

    frames: torch.Tensor
    mask: torch.Tensor


def cut_out(
    rng: np.random.Generator,
    annotated: AnnotatedClip,
    times: tuple[int, int, int],
    size: tuple[int, int],
    places: torch.Tensor,
    scale: float | None = None,
) -> Cutout | None:
    """Cut a random object out of three annotated frames, turn it a little, perhaps mirror it, and change its colour.

    Args:
        rng: source of randomness.
        annotated: that shows the object.
        times: its three frames; one may come several times, since each is distorted differently.
        size: (H, W) of the training frames.
        places: (3, 2) where the middle of the object comes to lie, (x, y) in pixels.
        scale: source pixels in a pixel; None: the object fills a quarter to three quarters of the training frame's
            height, but is not enlarged more than twice.

    Returns:
        The object, or None if none of the objects is wholly within all three frames and large enough.
    """
    read = {t: annotated.read(t) for t in set(times)}
    boxes = {t: _boxes_of_whole_objects(labels) for t, (_, _, labels) in read.items()}
    common = sorted(set.intersection(*(set(b) for b in boxes.values())))
    if not common:
        return None
    chosen = int(rng.choice(common))
    corners = np.array([boxes[t][chosen] for t in times])  # (3, 4): left, top, right, bottom
    if scale is None:
        side = (corners[:, 2:] - corners[:, :2]).max()
        scale = max(0.5, float(side / (rng.uniform(0.25, 0.75) * size[0])))
    linear = linear_map(rng, scale * float(np.exp(rng.uniform(-0.15, 0.15))), 15, 0.15, mirror=rng.random() < 0.5)
    centres = torch.tensor((corners[:, :2] + corners[:, 2:] - 1) / 2, dtype=torch.float32)
    points = source_points(size, shaken(rng, linear, 0.03), places, centres)
    frames, mask = torch.zeros(3, 3, *size), torch.zeros(3, *size, dtype=torch.bool)
    for k, (t, p, box) in enumerate(zip(times, points, corners, strict=True)):
        inside = (p >= torch.tensor(box[:2]) - 1).all(-1) & (p <= torch.tensor(box[2:])).all(-1)
        rows, columns = (inside.any(axis).nonzero()[:, 0] for axis in (1, 0))
        if not len(rows):
            continue
        part = slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)
        frames[k, :, *part], labels = see(p[part], *read[t])
        mask[k, *part] = (labels == chosen) & inside[part]
    gain = torch.tensor(rng.normal(1, 0.05, (1, 3, 1, 1)) + rng.normal(0, 0.1), dtype=torch.float32)
    return Cutout((frames * gain).clamp(0, 1), mask)


def paste(frames: torch.Tensor, labels: torch.Tensor, cutout: Cutout) -> tuple[torch.Tensor, torch.Tensor]:
    """Lay an object over a clip, under the next free label; it hides what lies beneath.

    Args:
        frames: (3, 3, H, W) float32 RGB in 0..1.
        labels: (3, H, W) int64.
        cutout: the object.

    Returns:
        New frames and labels. The outermost pixel of the object is blended, so that no sharp edge gives it away.
    """
    mask = cutout.mask
    inner = mask.clone()
    inner[:, 1:] &= mask[:, :-1]
    inner[:, :-1] &= mask[:, 1:]
    inner[..., 1:] &= mask[..., :-1]
    inner[..., :-1] &= mask[..., 1:]
    opacity = 0.5 * mask + 0.5 * inner
    return torch.lerp(frames, cutout.frames, opacity[:, None]), labels.masked_fill(mask, int(labels.max()) + 1)


def _boxes_of_whole_objects(labels: Labels) -> dict[int, tuple[int, int, int, int]]:
    """Return the box (left, top, right, bottom) of every object that is large enough and not cut by the border."""
    height, width = labels.shape
    boxes = {}
    for label, found in enumerate(find_objects(labels), 1):
        if found is None:
            continue
        rows, columns = found
        within = rows.start > 0 and columns.start > 0 and rows.stop < height and columns.stop < width
        if within and min(rows.stop - rows.start, columns.stop - columns.start) >= SMALLEST:
            boxes[label] = (columns.start, rows.start, columns.stop, rows.stop)
    return boxes
