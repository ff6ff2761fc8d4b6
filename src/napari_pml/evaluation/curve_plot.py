"""A picture of accuracy against work, as SVG that needs nothing but itself."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from napari_pml.evaluation.curve import at_interactions, at_seconds
from napari_pml.evaluation.robot_study import Run

WIDTH, HEIGHT = 460, 380
"""Of one of the two panels, in pixels."""

LEFT, RIGHT, TOP, BOTTOM = 64, 20, 36, 56
"""Margins of the axes in a panel, in pixels."""


def plot_curves(runs: Sequence[Run]) -> str:
    """Draw J&F against interactions and against seconds: every run thin and grey, their mean bold.

    Args:
        runs: at least one.

    Returns:
        An SVG document of two panels.
    """
    n = max(len(run) for run in runs)
    scores = at_interactions(runs, "j_and_f", n)
    floor = min(0.9, float(np.floor(10 * scores.min())) / 10)
    numbers = np.arange(1.0, n + 1)
    end = max(run[-1].seconds_in_all for run in runs)
    seconds = np.linspace(0, end, 200)
    over_time = np.array([at_seconds(run, seconds) for run in runs])
    caption = f"mean of {len(runs)} runs" if len(runs) > 1 else "one run"
    panels = [
        panel(numbers, scores, (min(1, n - 1), n), floor, "interactions", caption, dots=True),
        panel(seconds, over_time, (0, end), floor, "seconds of computing", caption, dots=False),
    ]
    return document(panels)


def document(panels: Sequence[str]) -> str:
    """Return an SVG document of panels side by side."""
    width = len(panels) * WIDTH
    moved = "".join(f'<g transform="translate({i * WIDTH} 0)">{panel}</g>\n' for i, panel in enumerate(panels))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{HEIGHT}" '
        f'viewBox="0 0 {width} {HEIGHT}" font-family="sans-serif" font-size="13">\n'
        f'<rect width="100%" height="100%" fill="white"/>\n'
        f"{moved}</svg>\n"
    )


def panel(
    x: NDArray[np.float64],
    runs: NDArray[np.float64],
    x_limits: tuple[float, float],
    floor: float,
    x_label: str,
    caption: str,
    *,
    dots: bool,
    measure: str = "J&amp;F",
) -> str:
    """Draw axes and curves.

    Args:
        x: (N,).
        runs: (R, N) values of every run, in 0..1.
        x_limits: of the axis.
        floor: where the other axis begins; it ends at 1. What is lower is left out.
        x_label: under the axis.
        caption: above the curves.
        dots: mark the values of the mean.
        measure: what the values are, as XML.
    """
    low, high = x_limits
    bottom, right = HEIGHT - BOTTOM, WIDTH - RIGHT

    def across(value: float) -> float:
        return LEFT + (value - low) / (high - low) * (right - LEFT)

    def up(value: float) -> float:
        return bottom - (value - floor) / (1 - floor) * (bottom - TOP)

    def curve(values: NDArray[np.float64], style: str) -> str:
        shown = values >= floor
        points = " ".join(f"{across(a):.1f},{up(b):.1f}" for a, b in zip(x[shown], values[shown], strict=True))
        return f'<polyline points="{points}" fill="none" {style}/>'

    parts = []
    for tick in np.arange(round(10 * floor), 11) / 10:
        parts.append(f'<path d="M{LEFT} {up(tick):.1f}H{right}" stroke="#e4e4e4"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{up(tick) + 4:.1f}" text-anchor="end">{tick:.1f}</text>')
    for tick in _ticks(low, high, 1 if dots else 0):
        parts.append(f'<path d="M{across(tick):.1f} {bottom}v5" stroke="black"/>')
        parts.append(f'<text x="{across(tick):.1f}" y="{bottom + 20}" text-anchor="middle">{tick:g}</text>')
    parts += [curve(run, 'stroke="#b4b4b4"') for run in runs]
    mean = runs.mean(axis=0)
    parts.append(curve(mean, 'stroke="#0b5fa5" stroke-width="2.5"'))
    if dots:
        parts += [
            f'<circle cx="{across(a):.1f}" cy="{up(b):.1f}" r="4" fill="#0b5fa5"/>'
            for a, b in zip(x, mean, strict=True)
        ]
    parts.append(f'<path d="M{LEFT} {TOP}V{bottom}H{right}" fill="none" stroke="black"/>')
    parts.append(f'<text x="{(LEFT + right) / 2}" y="{HEIGHT - 14}" text-anchor="middle">{x_label}</text>')
    parts.append(f'<text x="{LEFT}" y="{TOP - 14}"><tspan font-weight="bold">{measure}</tspan>, {caption}</text>')
    return "\n".join(parts)


def _ticks(low: float, high: float, smallest_step: float) -> NDArray[np.float64]:
    """Return at most about eight round numbers in low..high."""
    steps = [m * 10.0**e for e in range(-3, 6) for m in (1, 2, 5)]
    step = next(s for s in steps if s >= smallest_step and (high - low) / s <= 8)
    return np.arange(np.ceil(low / step), np.floor(high / step) + 1) * step
