"""A robot that annotates like a person: it compares a mask with the truth and paints a stroke where they differ.

Strokes follow the description of the robot of the DAVIS interactive challenge (Caelles et al., "The 2018 DAVIS
challenge on video object segmentation", 2018); clicks the simulated person of PML (CVPR 2018).
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt, gaussian_filter1d
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components, dijkstra, minimum_spanning_tree
from scipy.spatial import cKDTree
from skimage.measure import label as connected_regions
from skimage.morphology import medial_axis

from napari_pml.types import BACKGROUND, UNLABELLED, Labels

Tool = Literal["scribble", "click"]
Region = NDArray[np.bool_]

EROSION = 0.15
"""A region is eroded by so much of the square root of its area before a stroke is laid through it (DAVIS 2018)."""

MAX_EROSION = 16
"""It is eroded by at most so many pixels (DAVIS 2018)."""

SMOOTHING = 5.0
"""Standard deviation of the Gaussian that takes the jitter out of a stroke, in pixels along it."""

STROKE_RADIUS = 1
"""In pixels: a stroke is three pixels wide, much thinner than the viewer's brush."""

DOT_RADIUS = 2
"""In pixels: a click is a dot five pixels wide."""


def first_strokes(truth: Labels, tool: Tool, *, background: bool = False) -> Labels:
    """Mark every object of a frame on which nothing is annotated yet.

    Args:
        truth: (H, W) uint16 true labels, 0 = background.
        tool: one scribble or one click on each; a click, too, on what is too thin for a scribble.
        background: mark the background too.

    Returns:
        (H, W) uint16 annotation, `UNLABELLED` where nothing is painted; all of it if there is nothing to mark.
    """
    painted = np.full_like(truth, UNLABELLED)
    for label in np.unique(truth):
        if label or background:
            region = truth == label
            _paint(painted, region, label, tool)
            if not painted[region].any():
                _paint(painted, region, label, "click")
    return painted


def correction(mask: Labels, truth: Labels, tool: Tool) -> Labels:
    """Paint what a person would to correct a mask.

    Scribbles: one for every label (the background too) through the pixels that should have it and do not. Regions
    so thin that nothing is left of them after erosion are passed over, as long as there is another one.
    Clicks: a single one, in the middle of the largest connected region of pixels that should have one label.

    Args:
        mask: (H, W) uint16 labels to correct, 0 = background.
        truth: (H, W) uint16 true labels likewise.
        tool: what to paint with.

    Returns:
        (H, W) uint16 annotation, painted on wrong pixels only; `UNLABELLED` everywhere if `mask` is right.
    """
    painted = np.full_like(truth, UNLABELLED)
    if tool == "scribble":
        for label in np.unique(truth):
            _paint(painted, (truth == label) & (mask != label), label, tool)
    if not painted.any():
        region = _largest(np.where(mask == truth, -1, truth.astype(np.int32)))
        _paint(painted, region, truth[region].max(initial=0), "click")
    return painted


def scribble(region: Region) -> Region:
    """Lay a stroke through a region: the longest path in the medial axis of what is left of it after erosion.

    Args:
        region: (H, W).

    Returns:
        (H, W), inside `region`; empty if nothing is left.
    """
    inside = np.pad(region, 1)  # the border of the image is a border of the region
    depth = distance_transform_edt(inside)
    core = depth > min(EROSION * np.sqrt(np.count_nonzero(inside)), MAX_EROSION)
    if not core.any():
        return np.zeros_like(region)
    path = _longest_path(medial_axis(core, rng=0))
    smooth = np.rint(gaussian_filter1d(path.astype(np.float64), SMOOTHING, axis=0, mode="nearest")).astype(np.intp)
    path = np.where(inside[tuple(smooth.T)][:, None], smooth, path)
    return _stamp(path - 1, STROKE_RADIUS, region)


def click(region: Region) -> Region:
    """Put a dot on the point of a region that is furthest from its border.

    Args:
        region: (H, W).

    Returns:
        (H, W), inside `region`; empty if that is.
    """
    if not region.any():
        return np.zeros_like(region)
    depth = distance_transform_edt(np.pad(region, 1))[1:-1, 1:-1]
    return _stamp(np.argwhere(depth == depth.max())[:1], DOT_RADIUS, region)


def _paint(painted: Labels, region: Region, label: int, tool: Tool) -> None:
    """Mark a region of `painted` with a true label, 0 being `BACKGROUND`."""
    draw = scribble if tool == "scribble" else click
    painted[draw(region)] = label or BACKGROUND


def _largest(labels: NDArray[np.int32]) -> Region:
    """Return the largest connected region of one label as (H, W); -1 belongs to none, empty if there is none."""
    regions = connected_regions(labels, background=-1, connectivity=2)
    sizes = np.bincount(regions.ravel())
    sizes[0] = 0
    largest: Region = (regions == sizes.argmax()) & (regions > 0)
    return largest


def _stamp(points: NDArray[np.intp], radius: float, region: Region) -> Region:
    """Return the pixels of a region at most `radius` away from any of its (N, 2) points."""
    elsewhere = np.ones(region.shape, bool)
    elsewhere[tuple(points.T)] = False
    stamped: Region = (distance_transform_edt(elsewhere) <= radius) & region
    return stamped


def _longest_path(skeleton: Region) -> NDArray[np.intp]:
    """Return the (N, 2) pixels of the longest path through a skeleton, in order.

    Neighbouring pixels form a graph, whose spanning trees have no detours. In a tree, whatever is furthest from any
    pixel is one end of the longest path, and whatever is furthest from that end is the other.
    """
    pixels = np.argwhere(skeleton)
    pairs = cKDTree(pixels).query_pairs(1.5, output_type="ndarray").astype(np.int32)  # SciPy's graphs know no others
    lengths = np.linalg.norm(pixels[pairs[:, 0]] - pixels[pairs[:, 1]], axis=1)
    tree = minimum_spanning_tree(coo_array((lengths, tuple(pairs.T)), shape=(len(pixels), len(pixels))))
    part = connected_components(tree, directed=False)[1]
    distance = dijkstra(tree, directed=False, indices=np.unique(part, return_index=True)[1], min_only=True)
    order = np.lexsort((distance, part))
    ends = order[np.flatnonzero(np.diff(part[order], append=-1))]
    distance, before, _ = dijkstra(tree, directed=False, indices=ends, min_only=True, return_predecessors=True)
    path = [int(distance.argmax())]
    while before[path[-1]] >= 0:
        path.append(int(before[path[-1]]))
    return pixels[path]
