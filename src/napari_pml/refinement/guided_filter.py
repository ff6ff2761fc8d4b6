"""From cell scores to pixel labels that follow the edges of the image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from napari_pml.grid import pad_to_cells, upsample
from napari_pml.refinement.contour_snapping import snap
from napari_pml.types import BACKGROUND, Labels, Scores
from napari_pml.video.working import WorkingVideo

Refinement = Literal["edges", "contours", "none"]
"""How the labels of pixels are found: by a guided filter, by contour snapping, or by interpolation alone."""

SUBSAMPLING = 4
"""Of the guided filter. A third of the time of 2, for 0.1 points of J less and 0.2 of F more on the dev sequences."""

EPSILON = 1e-4
"""Of the guided filter: variance of intensity below which a window counts as flat."""

REACH = 5
"""In cells: the farthest effect of a score, through interpolation and the two windows of the filter."""

SMALL_SHARE = 0.2
"""Below this vote share a label can only win as the largest."""


class Refiner:
    """Turns the scores of one video's frames into labels; the last frame is remembered, since strokes repeat it."""

    def __init__(self, video: WorkingVideo):
        """Refine frames of `video`, to labels of its native pixels."""
        self._video = video
        self._guide: tuple[tuple[int, int, torch.device], GuidedFilter] | None = None

    def __call__(self, t: int, scores: Scores, refinement: Refinement) -> Labels:
        """Give every native pixel of frame t its best label, see `pixel_labels` and `snap`."""
        native, device = self._video.native, scores.values.device
        size, factor = native.shape[1:], self._video.factor[0]
        if factor > 1:  # what is finer than a native pixel is of no use
            pool = max(1, round(factor) // scores.stride)
            stride = scores.stride * pool // round(factor)
            scores = Scores(F.avg_pool2d(scores.values, pool), scores.object_ids, stride)
        working = self._video.shape[1:] if factor < 1 else size
        if refinement == "edges":
            return pixel_labels(scores, size, self._filter(t, scores), working)
        labels = pixel_labels(scores, size, None, working)
        return snap(labels, native.rgb(t), device) if refinement == "contours" else labels

    def _filter(self, t: int, scores: Scores) -> GuidedFilter:
        key = t, scores.stride, scores.values.device
        if self._guide is None or self._guide[0] != key:
            rgb = self._video.native.rgb(t)
            fitted_on = self._video.rgb(t) if self._video.factor[0] < 1 else rgb
            self._guide = key, GuidedFilter(fitted_on, scores.stride, scores.values.device, rgb)
        return self._guide[1]


def pixel_labels(
    scores: Scores, size: tuple[int, int], guide: GuidedFilter | None, working: tuple[int, int] | None = None
) -> Labels:
    """Give every pixel its best label.

    Each object is looked at in the rectangle where it has a chance, so that many small ones cost little.

    Args:
        scores: of one frame.
        size: (H, W) of the frame.
        guide: made of the frame, to pass the scores through; without it they are interpolated.
        working: (H', W') of the frame that the cells are of, if that is smaller.

    Returns:
        (H, W) uint16, 0 = background.
    """
    device, stride, working = scores.values.device, scores.stride, working or size
    ratio = size[0] / working[0], size[1] / working[1]
    best, total = (torch.zeros(size, device=device) for _ in range(2))
    winner = torch.zeros(size, dtype=torch.int64, device=device)
    has_chance = (scores.values > SMALL_SHARE) | (scores.values == scores.values.amax(0))
    rows, columns = has_chance.any(2).cpu(), has_chance.any(1).cpu()
    unit = max(1, SUBSAMPLING // stride)
    elsewhere = scores.values[1:].sum(0)  # what objects have outside of their rectangles
    for i in range(1, len(scores.values)):
        if not rows[i].any():
            continue
        cells = _span(rows[i], unit), _span(columns[i], unit)
        seen = tuple(slice(c.start * stride, min(c.stop * stride, n)) for c, n in zip(cells, working, strict=True))
        place = tuple(slice(round(p.start * r), round(p.stop * r)) for p, r in zip(seen, ratio, strict=True))
        if guide is None:
            value = stretch(scores.values[None, i, *cells], best[place].shape, stride, ratio)[0]
        else:
            shape = [p.stop - p.start for p in seen]
            value = guide(upsample(scores.values[None, i, *cells], shape, stride)[0], seen, place, ratio)
        elsewhere[cells] -= scores.values[i, *cells]
        total[place] += value
        winner[place] = torch.where(value > best[place], i, winner[place])
        best[place] = torch.maximum(best[place], value)
    total += stretch(elsewhere[None], size, stride, ratio)[0]
    winner[1 - total >= best] = 0  # both steps are linear and keep constants: background is what is left
    ids: Labels = np.array([0 if i == BACKGROUND else i for i in scores.object_ids], dtype=np.uint16)
    labels: Labels = ids[winner.cpu().numpy()]
    return labels


def stretch(values: torch.Tensor, size: Sequence[int], stride: int, ratio: tuple[float, float]) -> torch.Tensor:
    """Bring (C, h, w) cell values to (C, H, W) pixels as `upsample` does, of a frame that is larger by `ratio`."""
    if ratio == (1, 1):
        return upsample(values, size, stride)
    sides = [max(round(n * stride * r), m) for n, r, m in zip(values.shape[-2:], ratio, size, strict=True)]
    return F.interpolate(values[None], sides, mode="bilinear", align_corners=False)[0, :, : size[0], : size[1]]


def _span(hit: torch.Tensor, unit: int) -> slice:
    """Return the rows or columns that have to be looked at, from a multiple of `unit` on.

    Args:
        hit: (n,) bool, in which of them it has a chance.
        unit: number of cells per sample of the filter.
    """
    first, last = (int(i) for i in hit.nonzero()[[0, -1], 0])
    return slice(max(0, first - REACH) // unit * unit, last + 1 + REACH)


class GuidedFilter:
    """Fast guided filter with a colour guide (He, Sun and Tang, TPAMI 2013; He and Sun, 2015).

    Within every window the output is a linear function of the guide's colour, so edges of the guide become edges of
    the output. The functions are fitted on a subsampled image and applied at full resolution.
    """

    def __init__(
        self,
        rgb: NDArray[np.float32],
        radius: int,
        device: torch.device,
        native: NDArray[np.float32] | None = None,
    ):
        """Prepare one image as the guide.

        Args:
            rgb: (H, W, 3) float32 in 0..1.
            radius: of the windows, in pixels.
            device: where to compute.
            native: the same image in higher resolution, in which the edges of the output are found.
        """
        image = torch.from_numpy(rgb).to(device).permute(2, 0, 1)
        self.guide = image if native is None else torch.from_numpy(native).to(device).permute(2, 0, 1)
        self.small = _shrink(image)
        self.radius = max(1, radius // SUBSAMPLING)
        self.mean = self._box(self.small)
        products = self.small[:, None] * self.small[None]
        covariance = self._box(products.flatten(0, 1)).view_as(products) - self.mean[:, None] * self.mean[None]
        covariance = covariance.permute(2, 3, 0, 1) + EPSILON * torch.eye(3, device=device)
        self.inverse = torch.linalg.inv(covariance).permute(2, 3, 0, 1)

    def __call__(
        self,
        values: torch.Tensor,
        place: tuple[slice, ...],
        native: tuple[slice, ...] | None = None,
        ratio: tuple[float, float] = (1, 1),
    ) -> torch.Tensor:
        """Filter the values of a part of the image.

        Args:
            values: (h, w) float32; near the part's own edges they are constant.
            place: rows and columns of the part, which begin at multiples of `SUBSAMPLING`.
            native: the same part of the native image, if there is one; so large is the result.
            ratio: by which that is larger.
        """
        native = native or place
        cells = tuple(slice(p.start // SUBSAMPLING, -(-p.stop // SUBSAMPLING)) for p in place)
        small, mean, inverse = self.small[:, *cells], self.mean[:, *cells], self.inverse[:, :, *cells]
        shrunk = _shrink(values[None])
        average = self._box(shrunk)
        covariance = self._box(small * shrunk) - average * mean
        slope = (inverse * covariance[None]).sum(1)
        offset = average - (slope * mean).sum(0, keepdim=True)
        guide = self.guide[:, *native]
        function = stretch(self._box(torch.cat([slope, offset])), guide.shape[1:], SUBSAMPLING, ratio)
        return (function[:3] * guide).sum(0) + function[3]

    def _box(self, x: torch.Tensor) -> torch.Tensor:
        """Return the mean of (C, h, w) over windows of side 2 * radius + 1, cut at the image's edge."""
        side, pad = 2 * self.radius + 1, self.radius
        x = F.avg_pool2d(x[None], (side, 1), stride=1, padding=(pad, 0), count_include_pad=False)
        return F.avg_pool2d(x, (1, side), stride=1, padding=(0, pad), count_include_pad=False)[0]


def _shrink(x: torch.Tensor) -> torch.Tensor:
    """Return the means of (C, H, W) over squares of side `SUBSAMPLING`."""
    return F.avg_pool2d(pad_to_cells(x[None], SUBSAMPLING), SUBSAMPLING)[0]
