"""From moved masks to the cells of a frame: the kinds of landscape that a watershed may flood, and which fits best."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

import cv2
import numpy as np
from numpy.typing import NDArray
from skimage.segmentation import watershed

from napari_pml.methods.cells.seeds import SEED_DEPTH, diameter_of, distance_inside, eroded
from napari_pml.types import BACKGROUND, Labels

Mode = Literal["moved", "intensity", "network", "edges", "wide edges", "both", "wide both"]
"""What says where a cell ends: its moved mask as it is; a threshold of intensity; the network's foreground; edges of
the image, fine or wide; these together with edges of the network's foreground."""

REACH = 0.2
"""A cell ends at most so far from its moved mask, as a share of the median diameter."""

STROKE_REACH = 0.6
"""A cell that is painted ends at most so far from its strokes, as a share of the median diameter."""

UNLIKELY = 0.2
"""How likely a pixel is part of a cell, by the network, where there is surely none."""

HANDICAP = 0.005
"""Of IoU: the network's foreground is so much better later than on the annotated frame, where no earlier mask helps."""

WIDTHS = {"moved": 1.0, "edges": 1.0, "both": 1.0, "wide edges": 2.0, "wide both": 2.0}
"""Standard deviation in pixels of the Gaussian before edges are looked for, by `moved` where cells are painted only."""

Image = NDArray[np.float32]


@dataclass(frozen=True)
class Frame:
    """What is known of a frame before its cells are.

    Attributes:
        intensity: (H, W) float32 in 0..1, of even contrast.
        foreground: (H, W) float32, how likely the network takes each pixel for a cell.
    """

    intensity: Image
    foreground: Image


@dataclass(frozen=True)
class Threshold:
    """Above which intensity a pixel is part of a cell, or below which if `sign` is -1."""

    sign: int
    value: float

    @classmethod
    def fitted(cls, intensity: Image, inside: NDArray[np.bool_]) -> Threshold:
        """Return the one that restores a mask best, by IoU."""
        smooth, best = cv2.GaussianBlur(intensity, (0, 0), 1), (-1.0, 1, 0.0)
        for sign in (1, -1):
            values = sign * smooth
            for value in np.quantile(values, np.linspace(0.02, 0.98, 33)):
                found = values > value
                best = max(best, (float((found & inside).sum() / max(1, (found | inside).sum())), sign, float(value)))
        return cls(*best[1:])

    def __call__(self, intensity: Image) -> NDArray[np.bool_]:
        """Return which pixels are part of a cell."""
        return np.asarray(self.sign * cv2.GaussianBlur(intensity, (0, 0), 1) > self.value)


@dataclass(frozen=True)
class Landscape:
    """How the cells of one video are found from their moved masks.

    Attributes:
        mode: what says where they end.
        threshold: of intensity.
        diameter: of the median annotated cell, in pixels.
    """

    mode: Mode
    threshold: Threshold
    diameter: float

    @classmethod
    def fitted(cls, frame: Frame, labels: Labels) -> tuple[Landscape, dict[Mode, float]]:
        """Return the landscape that restores the mask of an annotated frame best after harm, and how well each does.

        Args:
            frame: whose `foreground` was found without knowledge of the mask where it counts.
            labels: (H, W) its mask, complete, with at least one object.
        """
        diameter = diameter_of(labels)
        threshold = Threshold.fitted(frame.intensity, labels > 0)
        harmed = _harmed(labels, max(1, round(diameter / 10)))
        found = {}
        for mode in get_args(Mode):
            landscape = cls(mode, threshold, diameter)
            restored = (landscape.cells(frame, mask, eroded(mask, SEED_DEPTH)) for mask in harmed)
            found[mode] = float(np.mean([mean_iou(mask, labels) for mask in restored]))
        best = max(found, key=lambda mode: found[mode] + HANDICAP * mode.endswith("both"))
        return cls(best, threshold, diameter), found

    def cells(self, frame: Frame, moved: Labels, seeds: Labels, strokes: NDArray[np.bool_] | None = None) -> Labels:
        """Return the cells of a frame.

        Args:
            frame: of the video.
            moved: (H, W) masks moved to this frame, and strokes on it.
            seeds: (H, W) parts of them that are sure, `BACKGROUND` where there is surely none.
            strokes: (H, W) where cells are painted, of which strokes need not show the size.

        Returns:
            (H, W) uint16. An object of which nothing is left has its moved mask.
        """
        if not moved.any() or (self.mode == "moved" and strokes is None):
            return moved
        near = distance_inside(moved == 0) <= max(1.5, REACH * self.diameter)
        if strokes is not None:
            near |= distance_inside(~strokes) <= STROKE_REACH * self.diameter
        found = self._flooded(frame, near & (seeds != BACKGROUND), seeds)
        lost = np.setdiff1d(moved, found)
        return np.where((found == 0) & np.isin(moved, lost[lost > 0]), moved, found).astype(np.uint16)

    def _flooded(self, frame: Frame, near: NDArray[np.bool_], seeds: Labels) -> Labels:
        markers = seeds.astype(np.int32)
        if self.mode in WIDTHS:
            ring = cv2.dilate(near.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
            markers[ring & ~near] = BACKGROUND
            if math.isinf(self.diameter):  # no mask has been moved, and strokes alone do not say where a cell ends
                markers[(frame.foreground < UNLIKELY) & (seeds == 0)] = BACKGROUND
            found = watershed(self._edges(frame), markers, mask=ring)
            found[found == BACKGROUND] = 0
        else:
            inside = frame.foreground > 0.5 if self.mode == "network" else self.threshold(frame.intensity)
            inside = (inside & near | (seeds > 0)) & (seeds != BACKGROUND)
            found = watershed(-distance_inside(inside), markers, mask=inside)
        return np.asarray(found, np.uint16)

    def _edges(self, frame: Frame) -> Image:
        edges = _slope(frame.intensity, WIDTHS[self.mode])
        if self.mode.endswith("both"):
            edges = edges / max(1e-6, edges.std()) + (of := _slope(frame.foreground, 1.0)) / max(1e-6, of.std())
        return edges


def mean_iou(found: Labels, truth: Labels) -> float:
    """Return the mean IoU over the objects of `truth`, each with the same number in `found`."""
    ids = np.unique(truth)[1:]
    sizes = [np.bincount(x.ravel(), minlength=65536)[ids] for x in (found, truth, np.where(found == truth, truth, 0))]
    return float((sizes[2] / (sizes[0] + sizes[1] - sizes[2])).mean())


def _harmed(labels: Labels, shift: int) -> list[Labels]:
    """Return a mask as motion may get it wrong: displaced by some pixels, and too small."""
    height, width = labels.shape
    padded = np.pad(labels, shift)
    places = ((0, shift), (2 * shift, shift), (shift, 2 * shift))
    return [*(padded[y : y + height, x : x + width] for y, x in places), eroded(labels, 0.2)]


def _slope(image: Image, width: float) -> Image:
    """Return the magnitude of the gradient of a smoothed image."""
    smooth = cv2.GaussianBlur(image, (0, 0), width)
    return np.asarray(np.hypot(cv2.Scharr(smooth, cv2.CV_32F, 1, 0), cv2.Scharr(smooth, cv2.CV_32F, 0, 1)), np.float32)
