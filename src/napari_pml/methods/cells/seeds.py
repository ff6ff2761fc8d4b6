"""Seeds of a watershed: the inner parts of moved masks, and what a person has painted."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray
from skimage.segmentation import find_boundaries

from napari_pml.types import BACKGROUND, UNLABELLED, Labels

SEED_DEPTH = 0.35
"""A seed is what lies deeper in a moved mask than this share of its radius."""


def distance_inside(inside: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Return how many pixels each pixel inside is from the nearest one outside; 0 outside.

    Beyond the image's edge nothing counts as outside.
    """
    return np.asarray(cv2.distanceTransform(inside.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE), np.float32)


def diameter_of(labels: Labels) -> float:
    """Return the diameter of a circle as large as the median object, in pixels; 0 if there is no object."""
    areas = np.bincount(labels.ravel())[1:]
    return float(np.sqrt(np.median(areas[areas > 0]) * 4 / np.pi)) if areas.any() else 0.0


def eroded(labels: Labels, share: float) -> Labels:
    """Take off each object's rim, as wide as a share of its own radius; no object vanishes."""
    depth = distance_inside(~find_boundaries(labels, mode="inner")) * (labels > 0)
    radius = np.zeros(int(labels.max()) + 1, np.float32)
    np.maximum.at(radius, labels.ravel(), depth.ravel())
    return np.where(depth >= share * radius[labels], labels, 0).astype(np.uint16)


def corrected(moved: Labels, painted: Labels) -> Labels:
    """Return where objects are by what a person has painted on this frame, and elsewhere as they were moved.

    An object painted away from its moved mask has gone there. One through whose heart another one, or background, is
    painted, is not what it was taken for: it ends there.

    Args:
        moved: (H, W) masks moved to this frame.
        painted: (H, W) strokes, `UNLABELLED` where there are none.
    """
    labels = moved.copy()
    hearts = eroded(moved, 2 * SEED_DEPTH)
    for label in np.unique(painted[painted != UNLABELLED]):
        stroke = painted == label
        struck = np.unique(hearts[stroke])
        labels[np.isin(labels, struck[(struck != 0) & (struck != label)])] = 0
        if label != BACKGROUND and not (moved[stroke] == label).any():
            labels[labels == label] = 0
    return np.where(painted == UNLABELLED, labels, np.where(painted == BACKGROUND, 0, painted)).astype(np.uint16)
