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
        provisional: those that are segmented only to reach the annotated frame at the end of the chain; their final
            masks come from there, in another chain.
    """

    frames: range
    provisional: range = range(0)


def chains(annotations: Annotations, start: int) -> list[Chain]:
    """Divide the video into chains, so that every frame is final in a chain from the annotated frame nearest to it.

    Masks spread from the complete frames, or from the frame on which most is painted if none is complete, forwards and
    backwards in time. Every other frame with strokes is a correction: masks spread to it first, so that it keeps what
    was right there, and from it in both directions.

    Masks depend on the annotations alone, not on `start`; chains near `start` come first, and each comes after the
    one that it builds on.

    Args:
        annotations: of the video; if nothing is annotated on it, masks spread from its first frame.
        start: the frame that the person looks at.
    """
    if not annotations.frames:
        return [Chain(range(annotations.shape[0]))]
    annotated = sorted(annotations.frames)
    sources = [t for t in annotated if t in annotations.complete] or [annotations.main_frame]
    shares = [*((a + b) // 2 for a, b in pairwise(annotated)), annotations.shape[0] - 1]  # last frame of each share
    last = dict(zip(annotated, shares, strict=True))
    first = dict(zip(annotated, [0, *(edge + 1 for edge in shares)], strict=False))
    groups = []
    for source, following in zip(sources, [*sources[1:], annotations.shape[0]], strict=True):
        later = [t for t in annotated if source <= t < following]
        groups.append(_spread(later, [last[t] for t in later], 1))
        earlier = [t for t in reversed(annotated) if t <= source] if source == sources[0] else [source]
        groups.append(_spread(earlier, [first[t] for t in earlier], -1))

    def distance(group: list[Chain]) -> int:
        return min(abs(t - start) for chain in group for t in (chain.frames[0], chain.frames[-1]))

    groups.sort(key=lambda group: (all(start not in chain.frames for chain in group), distance(group)))
    return [chain for group in groups for chain in group]


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


def _spread(annotated: Sequence[int], limits: Sequence[int], step: int) -> list[Chain]:
    """Return the chains from a source through the corrections that follow it.

    Args:
        annotated: the source, then the corrections in the order in which they are reached.
        limits: for each, the last frame on the far side that is nearest to it.
        step: 1 forwards in time, -1 backwards.
    """
    found = []
    for here, limit, following in zip(annotated, limits, [*annotated[1:], None], strict=True):
        if following is None:
            found.append(Chain(range(here, limit + step, step)))
        else:
            found.append(Chain(range(here, following + step, step), range(limit + step, following, step)))
            found.append(Chain(range(following, limit, -step)))
    return found
