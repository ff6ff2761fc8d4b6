"""J over the frames of a video as an inline SVG."""

from __future__ import annotations

from html import escape

import numpy as np
from numpy.typing import NDArray

from napari_pml.evaluation.measures import RECALL_THRESHOLD

WIDTH, HEIGHT = 340, 150
LEFT, RIGHT, TOP, BOTTOM = 30, 10, 10, 22


def region_chart(region: NDArray[np.float64], name: str) -> str:
    """Draw J of every object (thin) and their mean (bold) over the frames.

    Args:
        region: (O, N) J in 0..1 of frames 1 to N.
        name: of the video, for those who cannot see it.

    Returns:
        An <svg> element.
    """
    n_objects, n_frames = region.shape
    x = LEFT + (WIDTH - LEFT - RIGHT) * (np.arange(n_frames) / max(1, n_frames - 1))
    parts = [_level(value, dashed=value == RECALL_THRESHOLD) for value in (0.0, RECALL_THRESHOLD, 1.0)]
    if n_objects > 1:
        opacity = max(0.12, 0.8 / n_objects**0.5)  # many lines stay behind their mean
        parts.append(f'<g opacity="{opacity:.2f}">{"".join(_line(x, row, "object") for row in region)}</g>')
    parts.append(_line(x, region.mean(0), "mean"))
    for place, t, anchor in ((LEFT, 1, "start"), (WIDTH - RIGHT, n_frames, "end")):
        parts.append(f'<text x="{place}" y="{HEIGHT - 6}" text-anchor="{anchor}">{t}</text>')
    parts.append(f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 6}" text-anchor="middle">frame</text>')
    label = escape(f"J of {name} over its frames", quote=True)
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{label}">{"".join(parts)}</svg>'


def _height(value: float) -> float:
    return TOP + (HEIGHT - TOP - BOTTOM) * (1 - value)


def _level(value: float, *, dashed: bool) -> str:
    y = _height(value)
    return (
        f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y}" y2="{y}" class="{"threshold" if dashed else "level"}"/>'
        f'<text x="{LEFT - 6}" y="{y + 3.5}" text-anchor="end">{100 * value:.0f}</text>'
    )


def _line(x: NDArray[np.float64], values: NDArray[np.float64], kind: str) -> str:
    if len(x) == 1:
        return f'<circle cx="{x[0]:.1f}" cy="{_height(values[0]):.1f}" r="2.5" class="{kind}"/>'
    points = " ".join(f"{a:.1f},{_height(b):.1f}" for a, b in zip(x, values, strict=True))
    return f'<polyline points="{points}" class="{kind}"/>'
