"""The losses of a run as a picture, so that one look says whether training still gets anywhere."""

from __future__ import annotations

import csv
from itertools import cycle, pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

WIDTH, HEIGHT = 720, 360
LEFT, RIGHT, TOP, BOTTOM = 56, 190, 20, 44
"""Margins around the axes, in pixels; the right one holds the names of the curves."""

COLOURS = ("#0072b2", "#d55e00", "#009e73")
"""Told apart with every kind of colour vision (Okabe and Ito, 2008)."""


def plot_log(log: Path, picture: Path) -> None:
    """Draw every loss of a run over the steps: each row of the log pale, their running mean strong.

    The running mean is over a tenth of the rows, centred, shorter at both ends. What is not finite is left out.

    Args:
        log: CSV file with a column `step`, a column for each loss, and `gradient_norm`, which is not drawn.
        picture: SVG file to write.
    """
    with log.open(newline="") as file:
        rows = list(csv.DictReader(file))
    names = [name for name in rows[0] if name not in ("step", "gradient_norm")]
    points = {name: np.array([(float(row["step"]), float(row[name])) for row in rows]) for name in names}
    finite = {name: every[np.isfinite(every[:, 1])] for name, every in points.items()}
    losses = {name: found for name, found in finite.items() if len(found)}
    x_ticks = _ticks(float(rows[-1]["step"]))
    y_ticks = _ticks(max((float(found[:, 1].max()) for found in losses.values()), default=0.0))

    def x(step: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * step / x_ticks[-1]

    def y(loss: float) -> float:
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * loss / y_ticks[-1]

    def line(found: NDArray[np.float64], colour: str, look: str) -> str:
        places = [f"{x(step):.1f},{y(loss):.1f}" for step, loss in found]
        path = f"M{places[0]} L{' '.join(places)}"  # of a single point, round ends leave a dot
        return f'<path d="{path}" fill="none" stroke="{colour}" stroke-linecap="round" {look}/>'

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" font-family="sans-serif" '
        f'font-size="12" fill="#333">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>',
        f'<text x="{x(x_ticks[-1] / 2):.1f}" y="{HEIGHT - 8}" text-anchor="middle">step</text>',
    ]
    for tick in y_ticks:
        parts.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(tick):.1f}" y2="{y(tick):.1f}" stroke="#ddd"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{y(tick) + 4:.1f}" text-anchor="end">{tick:g}</text>')
    for tick in x_ticks:
        parts.append(f'<text x="{x(tick):.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{tick:g}</text>')
    means = {name: _running_mean(found, len(rows) // 10) for name, found in losses.items()}
    heights = _apart([y(mean[-1, 1]) for mean in means.values()])
    for (name, found), colour, height in zip(losses.items(), cycle(COLOURS), heights, strict=False):
        parts.append(line(found, colour, 'stroke-opacity="0.3"'))
        parts.append(line(means[name], colour, 'stroke-width="2"'))
        label = f"{name.replace('_', ' ')} {means[name][-1, 1]:.3f}"
        parts.append(f'<text x="{WIDTH - RIGHT + 8}" y="{height + 4:.1f}" fill="{colour}">{label}</text>')
    picture.write_text("\n".join([*parts, "</svg>", ""]))


def _ticks(largest: float) -> list[float]:
    """Return 0 and up to five more round numbers at equal distance, the last not below `largest`."""
    largest = max(largest, 1e-9)
    rough = largest / 5
    power = 10.0 ** np.floor(np.log10(rough))
    step = next(power * m for m in (1, 2, 2.5, 5, 10) if power * m >= rough * (1 - 1e-9))
    return [float(step * i) for i in range(int(np.ceil(largest / step - 1e-9)) + 1)]


def _running_mean(points: NDArray[np.float64], width: int) -> NDArray[np.float64]:
    """Return (N, 2) steps and values, of the latter the mean over `width` of them around each."""
    half = width // 2
    means = [points[max(0, i - half) : i + half + 1, 1].mean() for i in range(len(points))]
    return np.column_stack([points[:, 0], means])


def _apart(heights: list[float]) -> list[float]:
    """Move labels down until 16 pixels lie between neighbours."""
    moved = list(heights)
    order = np.argsort(heights)
    for above, below in pairwise(order):
        moved[below] = max(moved[below], moved[above] + 16)
    return moved
