"""From cell scores to pixel labels that follow the edges of the image."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from napari_pml.embedding.refinement import CELLS, RefinementNet
from napari_pml.grid import pad_to_cells, upsample
from napari_pml.types import BACKGROUND, Labels, Scores

Outline = RefinementNet | Literal["edges", "cells"]
"""How outlines are found, see `pixel_labels`."""

SUBSAMPLING = 4
"""Of the guided filter. A third of the time of 2, for 0.1 points of J less and 0.2 of F more on the dev sequences."""

EPSILON = 1e-4
"""Of the guided filter: variance of intensity below which a window counts as flat."""

LABELS_AT_ONCE = 8
"""Labels brought to pixels together: bounds the memory, however many objects there are."""

POSSIBLE = 0.02
"""Share of the votes from which on a cell may belong to an object."""

MARGIN = 4
"""Cells beyond the possible ones that the refinement network looks at and may add."""

Patch = tuple[int, tuple[slice, slice], torch.Tensor]
"""A label's place in the scores, a region of the image, and the label's values in the pixels there."""


def pixel_labels(scores: Scores, rgb: NDArray[np.float32], stride: int, outline: Outline) -> Labels:
    """Give every pixel its best label.

    Args:
        scores: of one frame.
        rgb: (H, W, 3) float32 in 0..1, the frame.
        stride: side of a cell in pixels.
        outline: a refinement network that finds the outlines; "edges": they follow the edges of the image; "cells":
            they run smoothly between the cells.

    Returns:
        (H, W) uint16, 0 = background.
    """
    device, size = scores.values.device, rgb.shape[:2]
    learned = isinstance(outline, RefinementNet)
    patches = (
        _learned(scores, rgb, stride, outline)
        if isinstance(outline, RefinementNet)
        else _linear(scores, rgb, stride, follow_edges=outline == "edges")
    )
    # A network says of each object whether a pixel is more likely its own than not. What is linear and keeps constants
    # leaves the background what the objects do not take.
    background = torch.full(size, 0.5 if learned else 1.0, device=device)
    best = torch.zeros(size, device=device)
    winner = torch.zeros(size, dtype=torch.int64, device=device)
    for label, region, values in patches:
        winner[region] = torch.where(values > best[region], label, winner[region])
        best[region] = torch.maximum(best[region], values)
        if not learned:
            background[region] -= values
    winner[background >= best] = 0
    ids: Labels = np.array([0 if i == BACKGROUND else i for i in scores.object_ids], dtype=np.uint16)
    labels: Labels = ids[winner.cpu().numpy()]
    return labels


def _linear(scores: Scores, rgb: NDArray[np.float32], stride: int, *, follow_edges: bool) -> Iterator[Patch]:
    """Bring the votes of every object to pixels."""
    size = rgb.shape[0], rgb.shape[1]
    guide = GuidedFilter(rgb, radius=stride, device=scores.values.device) if follow_edges else None
    for first in range(1, len(scores.values), LABELS_AT_ONCE):
        pixels = upsample(scores.values[first : first + LABELS_AT_ONCE], size, stride)
        if guide is not None:
            pixels = guide(pixels)
        for i, values in enumerate(pixels):
            yield first + i, (slice(None), slice(None)), values


@torch.inference_mode()
def _learned(scores: Scores, rgb: NDArray[np.float32], stride: int, net: RefinementNet) -> Iterator[Patch]:
    """Let the network find every object where it may be."""
    height, width = rgb.shape[:2]
    frame = torch.from_numpy(rgb).to(scores.values.device).permute(2, 0, 1)[None]
    frame = pad_to_cells(frame, CELLS * stride)
    h, w = frame.shape[2] // stride, frame.shape[3] // stride
    missing = (0, w - scores.values.shape[2], 0, h - scores.values.shape[1])
    evidence = F.pad(scores.evidence, missing, mode="replicate")
    possible = evidence[:, :2].amax(1) > POSSIBLE
    image = net.image(frame)
    for label in range(1, len(evidence)):
        rows, columns = possible[label].any(1).nonzero()[:, 0], possible[label].any(0).nonzero()[:, 0]
        if not len(rows):
            continue
        y, x = _with_margin(rows, h), _with_margin(columns, w)
        part = [_at(features, y, x, scale) for features, scale in zip(image, (2.0, 1.0, 0.5), strict=True)]
        logits = net((part[0], part[1], part[2]), _at(evidence[label : label + 1], y, x, 1.0))
        pixels = upsample(
            logits[0], (y.stop * stride - y.start * stride, x.stop * stride - x.start * stride), stride // 2
        )
        region = (
            slice(y.start * stride, min(y.stop * stride, height)),
            slice(x.start * stride, min(x.stop * stride, width)),
        )
        inside = pixels[0, : region[0].stop - region[0].start, : region[1].stop - region[1].start]
        yield label, region, inside.sigmoid()


def _with_margin(places: torch.Tensor, n: int) -> slice:
    """Return the range of cells around some, whose ends are multiples of `CELLS`; n cells there are."""
    first, last = int(places[0]) - MARGIN, int(places[-1]) + 1 + MARGIN
    return slice(max(0, first // CELLS * CELLS), min(n, -(-last // CELLS) * CELLS))


def _at(features: torch.Tensor, y: slice, x: slice, scale: float) -> torch.Tensor:
    """Cut out of (B, C, h, w) features, `scale` to a cell, what belongs to a range of cells."""
    rows, columns = (slice(int(s.start * scale), int(s.stop * scale)) for s in (y, x))
    return features[..., rows, columns]


class GuidedFilter:
    """Fast guided filter with a colour guide (He, Sun and Tang, TPAMI 2013; He and Sun, 2015).

    Within every window the output is a linear function of the guide's colour, so edges of the guide become edges of
    the output. The functions are fitted on a subsampled image and applied at full resolution.
    """

    def __init__(self, rgb: NDArray[np.float32], radius: int, device: torch.device):
        """Prepare one image as the guide: (H, W, 3) float32 in 0..1; `radius` of the windows in pixels."""
        self.guide = torch.from_numpy(rgb).to(device).permute(2, 0, 1)
        self.small = self._shrink(self.guide)
        self.radius = max(1, radius // SUBSAMPLING)
        self.mean = self._box(self.small)
        products = self.small[:, None] * self.small[None]
        covariance = self._box(products.flatten(0, 1)).view_as(products) - self.mean[:, None] * self.mean[None]
        covariance = covariance.permute(2, 3, 0, 1) + EPSILON * torch.eye(3, device=device)
        self.inverse = torch.linalg.inv(covariance)

    def __call__(self, values: torch.Tensor) -> torch.Tensor:
        """Filter (C, H, W) values."""
        small = self._shrink(values)
        mean = self._box(small)
        cross = self._box((small[:, None] * self.small[None]).flatten(0, 1)).view(len(values), 3, *mean.shape[1:])
        covariance = cross - mean[:, None] * self.mean[None]
        slope = torch.einsum("hwij,cjhw->cihw", self.inverse, covariance)
        offset = mean - (slope * self.mean[None]).sum(1)
        size = self.guide.shape[1:]
        slope = F.interpolate(self._box(slope.flatten(0, 1))[None], size, mode="bilinear")[0].view(-1, 3, *size)
        offset = F.interpolate(self._box(offset)[None], size, mode="bilinear")[0]
        return (slope * self.guide[None]).sum(1) + offset

    def _shrink(self, x: torch.Tensor) -> torch.Tensor:
        height, width = x.shape[-2:]
        size = max(1, height // SUBSAMPLING), max(1, width // SUBSAMPLING)
        return F.interpolate(x[None], size, mode="area")[0]

    def _box(self, x: torch.Tensor) -> torch.Tensor:
        """Return the mean of (C, h, w) over windows of side 2 * radius + 1, cut at the image's edge."""
        side, pad = 2 * self.radius + 1, self.radius
        x = F.avg_pool2d(x[None], (side, 1), stride=1, padding=(pad, 0), count_include_pad=False)
        return F.avg_pool2d(x, (1, side), stride=1, padding=(0, pad), count_include_pad=False)[0]
