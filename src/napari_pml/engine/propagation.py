"""In which order the frames of a video are segmented."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from napari_pml.types import Annotations


@dataclass(frozen=True)
class Chain:
    """Consecutive frames that are segmented one after the other, each building on those before it.

    Attributes:
        frames: the first is annotated, where anything is.
        provisional: those whose final masks come from the chain that follows, which meets this one from the other side
            and blends its masks with those found here.
    """

    frames: range
    provisional: range = range(0)


def chains(annotations: Annotations, start: int) -> list[Chain]:
    """Divide the video into chains.

    Masks spread from the complete frames, or from the main frame if none is complete. Every other frame with strokes is
    a correction: masks spread to it first, so that it keeps what was right there. Between two annotated frames masks
    spread from both sides, from the one that is reached first to the other, and back.

    Masks depend on the annotations alone, not on `start`; chains near `start` come first, and each comes after the
    one that it builds on.

    Args:
        annotations: of the video; if nothing is annotated on it, masks spread from its first frame.
        start: the frame that the person looks at.
    """
    n_frames = annotations.shape[0]
    if not annotations.frames:
        return [Chain(range(n_frames))]
    annotated = sorted(annotations.frames)
    sources = [t for t in annotated if t in annotations.complete] or [annotations.main_frame]
    groups = []
    for source, following in zip(sources, [*sources[1:], None], strict=True):
        stops = [t for t in annotated if t >= source and (following is None or t <= following)]
        groups.append([c for a, b in pairwise(stops) for c in _between(a, b, reached=b == following)])
        if following is None:
            groups.append([*groups.pop(), Chain(range(stops[-1], n_frames))])
    before = [t for t in reversed(annotated) if t <= sources[0]]
    groups.append([*(c for a, b in pairwise(before) for c in _between(a, b)), Chain(range(before[-1], -1, -1))])

    def distance(group: list[Chain]) -> int:
        return min(abs(t - start) for chain in group for t in (chain.frames[0], chain.frames[-1]))

    groups.sort(key=lambda group: (all(start not in chain.frames for chain in group), distance(group)))
    return [chain for group in groups for chain in group]


def _between(a: int, b: int, *, reached: bool = False) -> list[Chain]:
    """Return the chains between two annotated frames, from `a` to `b` and back.

    Args:
        a: the frame from which masks spread first.
        b: the other one; a correction, which is segmented in passing.
        reached: `b` has its mask already.
    """
    step = 1 if b > a else -1
    return [
        Chain(range(a, b if reached else b + step, step), range(a + step, b, step)),
        Chain(range(b, a, -step)),
    ]


def way_to(t: int, found: Sequence[Chain]) -> range:
    """Return the frames before t in the chain in which its mask becomes final."""
    frames = next(chain.frames for chain in found if t in chain.frames and t not in chain.provisional)
    return frames[: frames.index(t)]


def outward_from(start: int, n_frames: int) -> Iterator[int]:
    """Yield start, start + 1, start - 1, start + 2, ... until every frame has come."""
    yield start
    for step in range(1, n_frames):
        if start + step < n_frames:
            yield start + step
        if start - step >= 0:
            yield start - step
