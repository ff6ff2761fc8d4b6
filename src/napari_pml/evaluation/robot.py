"""A robot that annotates like a person: it compares a mask with the truth and paints a stroke where they differ.

Strokes follow the description of the robot of the DAVIS interactive challenge (Caelles et al., "The 2018 DAVIS
challenge on video object segmentation", 2018); clicks the simulated person of PML (CVPR 2018).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt
from scipy.sparse import coo_array
from scipy.sparse.csgraph import dijkstra, minimum_spanning_tree
from scipy.spatial import cKDTree
from scipy.stats import binom
from skimage.measure import label as connected_regions
from skimage.morphology import medial_axis

from napari_pml.types import BACKGROUND, UNLABELLED, Labels

Tool = Literal["scribble", "click"]
Region = NDArray[np.bool_]

OPENING = 0.5 * 0.15
"""Before a stroke is laid through a region, the region is opened with a disk whose radius is this share of the square
root of its area (DAVIS 2018)."""

MAX_OPENING = 16
"""Largest radius of that disk, in pixels (DAVIS 2018)."""

SHRINKING = 0.9
"""Factor by which the radius shrinks until the opening leaves something (DAVIS 2018)."""

SHORTEST_PATH = 4
"""Number of pixels below which a path is no stroke, unless all are so short (DAVIS 2018)."""

STROKE_RADIUS = 1
"""In pixels: a stroke is three pixels wide, much thinner than the viewer's brush."""

DOT_RADIUS = 2
"""In pixels: a click is a dot five pixels wide."""


def first_strokes(truth: Labels, tool: Tool, *, background: bool = False) -> Labels:
    """Mark every object of a frame on which nothing is annotated yet.

    Args:
        truth: (H, W) uint16 true labels, 0 = background.
        tool: scribbles or one click on each.
        background: mark the background too.

    Returns:
        (H, W) uint16 annotation, `UNLABELLED` where nothing is painted; all of it if there is nothing to mark.
    """
    painted = np.full_like(truth, UNLABELLED)
    for label in np.unique(truth):
        if label or background:
            _paint(painted, truth == label, label, tool)
    return painted


def correction(mask: Labels, truth: Labels, tool: Tool) -> Labels:
    """Paint what a person would to correct a mask.

    Scribbles: one for every connected part of the pixels that should have a label (the background too) and do not.
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
    else:
        region = _largest(np.where(mask == truth, -1, truth.astype(np.int32)))
        _paint(painted, region, truth[region].max(initial=0), tool)
    return painted


def _medial_axis(region: Region) -> Region:
    axis: Region = medial_axis(region, rng=0)
    return axis


def scribble(region: Region, thin: Callable[[Region], Region] = _medial_axis) -> Region:
    """Lay a stroke through every connected part of what an opening leaves of a region.

    A stroke is the longest path in the medial axis, smoothed as a Bezier curve whose control points are its pixels.

    Args:
        region: (H, W).
        thin: reduces a region to lines one pixel wide, by default to its medial axis, as the robot of DAVIS does.

    Returns:
        (H, W), inside `region`; empty if that is.
    """
    stroke = np.zeros_like(region)
    if region.any():
        box = tuple(slice(i.min(), i.max() + 1) for i in region.nonzero())
        inside = np.pad(region[box], 1)  # the border of the image is a border of the region
        axis = thin(_opened(inside))
        parts = connected_regions(axis, connectivity=2)
        paths = [_longest_path(parts == i) for i in range(1, parts.max() + 1)]
        shortest = min(SHORTEST_PATH, max(map(len, paths)))
        smooth = [_bezier(path, inside) for path in paths if len(path) >= shortest]
        stroke[box] = _stamp(np.concatenate(smooth) - 1, STROKE_RADIUS, region[box])
    return stroke


def _opened(region: Region) -> Region:
    """Return what an opening with a disk leaves of a region: the largest disk of the DAVIS robot that leaves anything.

    An opening with a disk is every pixel within its radius of a pixel that is deeper than it.
    """
    depth = distance_transform_edt(region)
    radius = min(OPENING * np.sqrt(np.count_nonzero(region)), MAX_OPENING)
    while not (core := depth > radius).any():
        radius *= SHRINKING
    opened: Region = distance_transform_edt(~core) <= radius
    return opened & region


def _bezier(path: NDArray[np.intp], inside: Region) -> NDArray[np.intp]:
    """Smooth a path of (N, 2) pixels; where the curve leaves the region, the path itself stays."""
    n = len(path) - 1
    place = np.linspace(0, 1, n + 1)
    smooth = np.rint(binom.pmf(np.arange(n + 1), n, place[:, None]) @ path).astype(np.intp)
    return np.where(inside[tuple(smooth.T)][:, None], smooth, path)


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
    """Return the (N, 2) pixels of the longest path through a connected skeleton, in order.

    Neighbouring pixels form a graph, whose spanning trees have no detours. In a tree, whatever is furthest from any
    pixel is one end of the longest path, and whatever is furthest from that end is the other.
    """
    pixels = np.argwhere(skeleton)
    pairs = cKDTree(pixels).query_pairs(1.5, output_type="ndarray").astype(np.int32)  # SciPy's graphs know no others
    lengths = np.linalg.norm(pixels[pairs[:, 0]] - pixels[pairs[:, 1]], axis=1)
    tree = minimum_spanning_tree(coo_array((lengths, tuple(pairs.T)), shape=(len(pixels), len(pixels))))
    end = int(dijkstra(tree, directed=False, indices=0).argmax())
    distance, before = dijkstra(tree, directed=False, indices=end, return_predecessors=True)
    path = [int(distance.argmax())]
    while before[path[-1]] >= 0:
        path.append(int(before[path[-1]]))
    return pixels[path]
