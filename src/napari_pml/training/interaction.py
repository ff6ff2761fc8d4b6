"""Simulated strokes: what a person might paint on a frame whose true mask is known."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt
from scipy.ndimage import label as connected_regions
from scipy.stats import binom
from skimage.morphology import skeletonize

from napari_pml.evaluation.robot import Region, click, scribble
from napari_pml.types import BACKGROUND, UNLABELLED, Labels

MAX_LABELS = 4
"""Number of labels that are corrected at once, those with most wrong pixels."""

EIGHT_NEIGHBOURS = np.ones((3, 3), bool)


def first_strokes(rng: np.random.Generator, truth: Labels, n_objects: int) -> Labels:
    """Paint one to three strokes on some objects, and in half of the cases some on the background.

    Args:
        rng: source of randomness.
        truth: (H, W) uint16 true labels, 0 = background.
        n_objects: objects 1 to n_objects get strokes; in half of the cases each of the others gets a dot.

    Returns:
        (H, W) uint16 annotation, `UNLABELLED` where nothing is painted.
    """
    painted = np.full_like(truth, UNLABELLED)
    dots = rng.random() < 0.5
    for label in np.unique(truth).tolist():
        if label > n_objects:
            if dots:
                painted[click(truth == label)] = label
        elif label or rng.random() < 0.5:
            region = truth == label
            for _ in range(rng.choice([1, 2, 3], p=[0.65, 0.25, 0.1])):
                painted[_stroke(rng, region)] = label or BACKGROUND
    return painted


def corrections(rng: np.random.Generator, mask: Labels, truth: Labels) -> Labels:
    """Paint where a mask is wrong: half of the time as the robot does, else one stroke or click on a wrong region.

    Args:
        rng: source of randomness.
        mask: (H, W) uint16 labels to correct, 0 = background.
        truth: (H, W) uint16 true labels likewise.

    Returns:
        (H, W) uint16 annotation, `UNLABELLED` where nothing is painted.
    """
    painted = np.full_like(truth, UNLABELLED)
    wrong = mask != truth
    if wrong.any():
        labels, sizes = np.unique(truth[wrong], return_counts=True)
        if rng.random() < 0.5:
            for label in labels[sizes.argsort()[-MAX_LABELS:]].tolist():
                painted[scribble(wrong & (truth == label), skeletonize)] = label or BACKGROUND
        else:
            label = int(rng.choice(labels, p=sizes / sizes.sum()))
            painted[_stroke(rng, wrong & (truth == label))] = label or BACKGROUND
    return painted


def _stroke(rng: np.random.Generator, region: Region) -> Region:
    """Paint one stroke in a region: a scribble along its middle, a curve, or a dot; empty if the region is."""
    if not region.any():
        return region
    parts, n = connected_regions(region, EIGHT_NEIGHBOURS)
    sizes = np.bincount(parts.ravel(), minlength=n + 1)[1:].astype(float)
    part = parts == 1 + int(rng.choice(n, p=sizes / sizes.sum()))
    kind = rng.random()
    if kind < 0.3:
        return scribble(part, skeletonize)
    if kind < 0.5:
        return click(part)
    return _curve(rng, part)


def _curve(rng: np.random.Generator, region: Region) -> Region:
    """Paint a smooth curve through a few random places of a region, thin or thick; it stops at the region's border."""
    depth = distance_transform_edt(np.pad(region, 1))[1:-1, 1:-1]
    places = np.argwhere(depth >= min(3.0, 0.5 * float(depth.max())))
    n = int(rng.integers(2, 5))
    knots = places[rng.integers(len(places), size=n)].astype(float)
    if rng.random() < 0.5:  # a short stroke, not one across everything
        knots = knots[0] + (knots - knots[0]) * rng.uniform(0.1, 0.6)
    t = np.linspace(0, 1, 1 + int(2 * np.abs(np.diff(knots, axis=0)).sum()))
    curve: NDArray[np.intp] = np.rint(binom.pmf(np.arange(n), n - 1, t[:, None]) @ knots).astype(np.intp)
    inside = region[tuple(curve.T)]
    if not inside[0]:
        return click(region)
    end = len(inside) if inside.all() else int(inside.argmin())
    elsewhere = np.ones(region.shape, bool)
    elsewhere[tuple(curve[:end].T)] = False
    stroke: Region = (distance_transform_edt(elsewhere) <= rng.uniform(0.5, 5)) & region
    return stroke
