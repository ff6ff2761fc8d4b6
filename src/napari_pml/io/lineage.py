"""Who descends from whom, as masks tell it: where a cell ends, those that begin in its place are its daughters."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from skimage.segmentation import expand_labels

from napari_pml.types import FrameMask, Labels, labels_in

REACH = 0.5
"""A daughter begins at most so far from its parent's last mask, as a share of the parent's diameter."""


@dataclass(frozen=True)
class Track:
    """One object without gaps.

    Attributes:
        label: number of the track.
        first: frame on which it begins.
        last: frame on which it ends.
        parent: the track from which it descends; 0 if there is none.
        source: number of the object in the masks.
    """

    label: int
    first: int
    last: int
    parent: int
    source: int


def find_parents(masks: Iterable[FrameMask]) -> dict[int, int]:
    """Return the parent of every daughter.

    An object that is on a frame and never again is the parent of the two or more objects that begin on the next one,
    each with most of its pixels in or near the parent's last mask.

    Args:
        masks: of consecutive frames, in order of time.
    """
    seen: set[int] = set()
    last: dict[int, int] = {}
    candidates: dict[int, tuple[int, list[int]]] = {}
    before: FrameMask | None = None
    for mask in masks:
        present = set(labels_in(mask.labels).tolist()) - {0}
        last.update(dict.fromkeys(present, mask.t))
        new = present - seen
        if before is not None and before.t == mask.t - 1 and len(new) > 1:
            ended = sorted(set(labels_in(before.labels).tolist()) - {0} - present)
            for parent, daughters in _heirs(before.labels, mask.labels, ended, sorted(new)):
                candidates[parent] = before.t, daughters
        seen |= present
        before = mask
    return {d: parent for parent, (t, daughters) in candidates.items() if last[parent] == t for d in daughters}


def _heirs(before: Labels, after: Labels, ended: list[int], new: list[int]) -> Iterator[tuple[int, list[int]]]:
    """Yield each object that ended with the new ones that begin in its place."""
    if not ended:
        return
    kept = np.where(np.isin(before, ended), before, 0)
    radius = np.sqrt(np.bincount(kept.ravel())[ended] / np.pi)
    places = expand_labels(kept, 2 * REACH * float(radius.max()))
    heirs: dict[int, list[int]] = {}
    for label in new:
        counts = np.bincount(places[after == label], minlength=1)
        parent = int(counts.argmax())
        if parent and 2 * counts[parent] > counts.sum():
            heirs.setdefault(parent, []).append(label)
    for parent, daughters in heirs.items():
        if len(daughters) > 1:
            yield parent, daughters


def find_tracks(masks: Iterable[FrameMask], parents: Mapping[int, int]) -> list[Track]:
    """Return the tracks in the order of their labels.

    An object that is away for some frames comes back as another track, whose label is the next free number and whose
    parent is the track before the gap, as the Cell Tracking Challenge wants it.

    Args:
        masks: of every frame, in order of time.
        parents: see `find_parents`.
    """
    spans: dict[int, list[tuple[int, int]]] = {}
    for mask in masks:
        for label in set(labels_in(mask.labels).tolist()) - {0}:
            parts = spans.setdefault(label, [])
            goes_on = parts and parts[-1][1] == mask.t - 1
            parts.append((parts.pop()[0] if goes_on else mask.t, mask.t))
    tracks, last_part = [], {label: label for label in spans}
    free = max(spans, default=0) + 1
    for label, parts in sorted(spans.items()):
        for first, last in parts[1:]:
            tracks.append(Track(free, first, last, last_part[label], label))
            last_part[label], free = free, free + 1
    for label, parts in spans.items():
        tracks.append(Track(label, *parts[0], last_part.get(parents.get(label, 0), 0), label))
    return sorted(tracks, key=lambda track: track.label)
