"""Where very many frames are complete, pixels of them for which others can stand are left out."""

from __future__ import annotations

from itertools import takewhile

import torch

from napari_pml.methods.neighbours import nearest
from napari_pml.methods.references import GIVEN, ReferencePixels

MANY = 40_000
"""So many references of complete frames are searched as they are; six frames of 854 x 480 have as many."""

ALIKE = 0.9
"""So similar to a reference must those be that stand for it."""

DISTANCE = (2 - 2 * ALIKE) ** 0.5
"""The same as the distance of unit vectors, 0.45."""


class Compaction:
    """Keeps a reference of a complete frame only if fewer than k kept ones of its label are alike.

    By the triangle inequality each of the k nearest references of a label is then at most `DISTANCE` further from any
    cell than among all references, and never nearer; no stroke is left out. Which are kept depends on the references
    alone, not on the order in which frames were annotated.
    """

    def __init__(self, k: int, many: int = MANY):
        """Keep what k neighbours need, once there are more than `many` references of complete frames."""
        self.k, self.many = k, many
        self._seen: list[tuple[torch.Tensor, ReferencePixels]] = []  # the keys of each frame, and what is kept of it

    def __call__(self, pool: ReferencePixels) -> ReferencePixels:
        """Leave out of `pool`, which is in the order of its keys, what others can stand for."""
        given = pool.kinds == GIVEN
        if given.sum() <= self.many:
            self._seen = []
            return pool
        complete = pool.select(given)
        frames = [complete.select(complete.frames == t) for t in complete.frames.unique()]
        # What was looked at before and is the same, down to the first frame that is not, need not be looked at again.
        pairs = zip(self._seen, frames, strict=False)
        self._seen = [seen for seen, _ in takewhile(lambda pair: torch.equal(pair[0][0], pair[1].keys), pairs)]
        for frame in frames[len(self._seen) :]:
            kept = [found for _, found in self._seen]
            self._seen.append((frame.keys, frame.select(~self._stood_for(frame, kept)) if kept else frame))
        kept_keys = torch.cat([found.keys for _, found in self._seen])
        return pool.select(~given | torch.isin(pool.keys, kept_keys))

    def _stood_for(self, frame: ReferencePixels, kept: list[ReferencePixels]) -> torch.Tensor:
        """Say which (N,) references of a frame have k of their label among those `kept` that are alike."""
        pool = ReferencePixels.concatenate(kept)
        found = torch.zeros(len(frame), dtype=torch.bool, device=frame.keys.device)
        for label in frame.objects.unique():
            ours, theirs = frame.objects == label, pool.objects == label
            if theirs.sum() >= self.k:
                similarities, _ = nearest(frame.embeddings[ours], pool.embeddings[theirs], self.k)
                found[ours] = similarities[:, -1] >= ALIKE
        return found
