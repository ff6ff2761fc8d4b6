"""Polygons of any number of corners, filled in seconds."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image, ImageDraw

MANY = 5000
"""With more corners than these, Pillow looks at too many sides on every row."""

MAX_CROSSINGS = 2**29
"""Of sides with rows of pixels: some ten seconds. Outlines that anybody draws have a millionth of that."""

CROSSINGS_AT_ONCE = 2**22


def fill_polygon(image: Image.Image, corners: ArrayLike, label: int) -> None:
    """Paint a polygon as Pillow does; one with a great many corners by the rule of even and odd, and its outline.

    Args:
        image: to paint on.
        corners: (N, 2) coordinates x, y, of which, as Pillow has it, the whole part counts.
        label: to paint with.

    Raises:
        ValueError: its sides are too many and too long.
    """
    whole = np.trunc(np.asarray(corners, float)).astype(np.int64).reshape(-1, 2)
    whole = whole[np.append(True, (whole[1:] != whole[:-1]).any(1))] if len(whole) else whole
    points, draw = [tuple(corner) for corner in whole.tolist()], ImageDraw.Draw(image)
    if len(points) <= MANY:
        draw.polygon(points, fill=label)
    else:
        image.paste(label, (0, 0), Image.fromarray(_even_odd(whole, image.width, image.height)))
        draw.line([*points, points[0]], fill=label)


def _even_odd(corners: NDArray[np.int64], width: int, height: int) -> NDArray[np.bool_]:
    """Return which pixels have an odd number of sides to their left, as (height, width)."""
    start, end = corners, np.roll(corners, -1, axis=0)
    downward = (start[:, 1] <= end[:, 1])[:, None]
    (x, y), (x_end, y_end) = np.where(downward, start, end).T, np.where(downward, end, start).T
    first, last = y.clip(0, height), y_end.clip(0, height)
    n_rows = last - first  # a side begins with its upper end, and stops before its lower one
    if (n := int(n_rows.sum())) > MAX_CROSSINGS:
        raise ValueError(f"the sides of a polygon cross {n} rows of pixels, more than {MAX_CROSSINGS}")
    crossed = np.zeros(height * (width + 1), np.uint8)  # so many times, modulo 256
    ends = np.cumsum(n_rows)
    parts = np.searchsorted(ends, np.arange(CROSSINGS_AT_ONCE, n, CROSSINGS_AT_ONCE))
    for sides in np.split(np.arange(len(corners)), np.unique(parts)):
        side = np.repeat(sides, n_rows[sides])
        row = np.arange(len(side)) - np.repeat(np.cumsum(n_rows[sides]) - n_rows[sides], n_rows[sides]) + first[side]
        crossing = x[side] + (row - y[side]) * ((x_end - x) / np.maximum(1, y_end - y))[side]
        column = np.ceil(crossing).clip(0, width).astype(np.int64)
        np.add.at(crossed, row * (width + 1) + column, np.uint8(1))
    return np.logical_xor.accumulate(crossed.reshape(height, width + 1)[:, :width] % 2 == 1, axis=1)
