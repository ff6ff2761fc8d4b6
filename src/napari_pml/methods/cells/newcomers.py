"""Cells that nobody has annotated: what looks like the kind and is part of no object, and daughters."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from skimage.feature import peak_local_max
from skimage.measure import label as connected
from skimage.measure import regionprops
from skimage.segmentation import watershed

from napari_pml.methods.cells.landscape import Frame, Threshold
from napari_pml.methods.cells.seeds import diameter_of, distance_inside
from napari_pml.types import BACKGROUND, Labels

GAP = 2
"""In pixels: the rim around known cells that is part of no new one."""

SIZES = 0.35, 2.0
"""A new cell is at least so large as a share of the smallest annotated one, and at most as a multiple of the largest,
both without the tenth that is extreme."""

SOLID = 0.8
"""Share of a new cell's convex hull that it fills at least."""

NEAR = 0.6
"""A daughter is at most so far from the other one, as a share of the median diameter."""

SHRUNK, ALIKE = 0.75, 0.4
"""A cell that divides keeps at most this share of its area, and the smaller daughter has at least this share of the
larger one's."""


@dataclass(frozen=True)
class Kind:
    """What annotated cells have in common.

    Attributes:
        threshold: of intensity, where it tells cells from background better than the network does; else None.
        areas: (smallest, largest) of a new cell in pixels.
        diameter: of the median cell, in pixels.
    """

    threshold: Threshold | None
    areas: tuple[float, float]
    diameter: float

    @classmethod
    def fitted(cls, frame: Frame, labels: Labels, threshold: Threshold) -> Kind:
        """Learn from an annotated frame, whose `foreground` was found without knowledge of the mask where it counts."""
        inside = labels > 0
        by_network, by_intensity = frame.foreground > 0.5, threshold(frame.intensity)
        better = _iou(by_intensity, inside) > _iou(by_network, inside)
        areas = np.bincount(labels.ravel())[1:]
        low, high = np.quantile(areas[areas > 0], (0.1, 0.9))
        return cls(threshold if better else None, (SIZES[0] * low, SIZES[1] * high), diameter_of(labels))

    def foreground(self, frame: Frame) -> NDArray[np.bool_]:
        """Return which pixels are part of a cell."""
        return frame.foreground > 0.5 if self.threshold is None else self.threshold(frame.intensity)

    def found(self, frame: Frame, labels: Labels) -> Labels:
        """Return cells of the kind that are part of no known one, numbered from 1 on, the uppermost first."""
        known = cv2.dilate((labels > 0).astype(np.uint8), np.ones((2 * GAP + 1, 2 * GAP + 1), np.uint8)) > 0
        free = self.foreground(frame) & ~known
        depth = cv2.GaussianBlur(distance_inside(free), (0, 0), max(0.5, self.diameter / 20))
        peaks = peak_local_max(depth, min_distance=max(1, round(0.35 * self.diameter)), labels=free.astype(int))
        markers = np.zeros(labels.shape, np.int32)
        markers[tuple(peaks.T)] = np.arange(1, len(peaks) + 1)
        found = np.zeros_like(labels)
        cells = (c for c in regionprops(watershed(-depth, markers, mask=free)) if self._fits(c.area, c.solidity))
        for i, cell in enumerate(sorted(cells, key=lambda c: c.bbox), start=1):
            found[cell.slice][cell.image] = i
        return found

    def parts(self, frame: Frame, cell: NDArray[np.bool_]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]] | None:
        """Return the two parts of a cell's mask between which there is background, if they are alike; else None."""
        pieces, n = connected(self.foreground(frame) & cell, return_num=True, connectivity=1)
        areas = np.bincount(pieces.ravel(), minlength=3)[1:]
        order = np.argsort(-areas)[:2]
        if n < 2 or areas[order[1]] < max(ALIKE * areas[order[0]], self.areas[0] / 2):
            return None
        nearer = watershed(np.zeros(cell.shape, np.uint8), np.where(np.isin(pieces, order + 1), pieces, 0), mask=cell)
        return nearer == order[0] + 1, nearer == order[1] + 1

    def _fits(self, area: float, solidity: float) -> bool:
        return self.areas[0] <= area <= self.areas[1] and solidity >= SOLID


def with_newcomers(kind: Kind, frame: Frame, moved: Labels, labels: Labels, numbers: Iterable[int]) -> Labels:
    """Add new cells to the mask of a frame; a cell that divides ends, and its daughters begin.

    Args:
        kind: of the cells.
        frame: what is known of it.
        moved: (H, W) masks moved to this frame.
        labels: (H, W) the cells that were found from them.
        numbers: those of new objects, in this order; when they are used up, no cell is new.
    """
    labels, free, new = labels.copy(), iter(numbers), kind.found(frame, labels)
    before, after = (np.bincount(x.ravel(), minlength=BACKGROUND + 1) for x in (moved, labels))
    for parent in (np.flatnonzero(after[1:]) + 1).tolist():
        daughters = _daughters(kind, frame, parent, labels, new, int(before[parent]))
        if daughters is not None:
            labels[labels == parent] = 0
            for daughter in daughters:
                labels[daughter] = next(free, 0)
            new[labels > 0] = 0
    for i in np.flatnonzero(np.bincount(new.ravel())[1:]) + 1:
        labels[new == i] = next(free, 0)
    return labels


def new_numbers(t: int, n_frames: int, largest: int, *, backwards: bool) -> Iterator[int]:
    """Yield the numbers of objects that begin on a frame.

    They tell the frame, 1203 is an object of frame 12, so that no correction on another one changes them. Masks that
    spread backwards take the odd ones.

    Args:
        t: the frame.
        n_frames: of the video.
        largest: number that an object of the annotated frame has.
        backwards: masks spread to earlier frames.
    """
    for block in (1000, 100, 10):
        begin = (largest // block + 1) * block
        if begin + n_frames * block < BACKGROUND:
            yield from range(begin + t * block + backwards, begin + (t + 1) * block, 2)
            return


def _daughters(
    kind: Kind, frame: Frame, parent: int, labels: Labels, new: Labels, area_before: int
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]] | None:
    """Return where the daughters of a cell are, if it divides on this frame."""
    cell = labels == parent
    if (parts := kind.parts(frame, cell)) is not None:
        return parts
    area = int(cell.sum())
    if area > SHRUNK * area_before:
        return None
    near = distance_inside(~cell) <= NEAR * kind.diameter
    beside = np.bincount(new[near])
    beside[:1] = 0
    if not beside.any():
        return None
    other = new == beside.argmax()
    areas = sorted((area, int(other.sum())))
    return (cell, other) if areas[0] >= ALIKE * areas[1] else None


def _iou(found: NDArray[np.bool_], truth: NDArray[np.bool_]) -> float:
    return float((found & truth).sum() / max(1, (found | truth).sum()))
