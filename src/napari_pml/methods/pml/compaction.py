"""Where very many frames are complete, pixels of them for which others can stand are left out."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from itertools import takewhile

import torch

from napari_pml.methods.neighbours import nearest
from napari_pml.methods.protocol import LearningProgress
from napari_pml.methods.references import ReferencePixels, ReferenceSource

MANY = 40_000
"""Number of references of complete frames up to which all are searched; six frames of 854 x 480 have as many."""

ALIKE = 0.9
"""So similar to a reference must those be that stand for it."""

DISTANCE = (2 - 2 * ALIKE) ** 0.5
"""The same as the distance of unit vectors, 0.45."""


@dataclass(frozen=True)
class _Frame:
    """A complete frame: its (N,) keys and whether each has two labels; which (N,) are kept, and these."""

    keys: torch.Tensor
    mixed: torch.Tensor
    which: torch.Tensor
    kept: ReferencePixels


class Compaction:
    """Keeps a reference of a complete frame if it has two labels, or if fewer than k kept ones of its label are alike.

    By the triangle inequality each of the k nearest references of a label is then at most `DISTANCE` further from any
    cell than among all references, and never nearer; no stroke is left out. Which are kept depends on the references
    alone, not on the order in which frames were annotated.
    """

    def __init__(self, k: int, many: int = MANY):
        """Keep what k neighbours need, once there are more than `many` references of complete frames."""
        self.k, self.many = k, many
        self._frames: list[_Frame] = []

    def __call__(self, pool: ReferencePixels) -> Generator[LearningProgress, None, ReferencePixels]:
        """Leave out of `pool`, which is in the order of its keys, what others can stand for.

        What was looked at before and is the same, down to the first frame that is not, is not looked at again.

        Yields:
            How many frames were looked at; stop whenever you like.

        Returns:
            What is kept of the pool.
        """
        given = pool.kinds == ReferenceSource.GIVEN
        if given.sum() <= self.many:
            self._frames = []
            return pool
        places, mixed = given.nonzero()[:, 0], pool.shares[:, 1] > 0
        _, sizes = pool.frames[places].unique_consecutive(return_counts=True)
        frames = places.split(sizes.tolist())

        def same(pair: tuple[_Frame, torch.Tensor]) -> bool:
            known, place = pair
            return torch.equal(known.keys, pool.keys[place]) and torch.equal(known.mixed, mixed[place])

        self._frames = [known for known, _ in takewhile(same, zip(self._frames, frames, strict=False))]
        for place in frames[len(self._frames) :]:
            frame = pool.select(place)
            which = mixed[place] | ~self._stood_for(frame, [known.kept for known in self._frames])
            self._frames.append(_Frame(frame.keys, mixed[place], which, frame.select(which)))
            yield LearningProgress(len(self._frames), len(frames))
        kept = ~given
        kept[places] = torch.cat([frame.which for frame in self._frames])
        return pool.select(kept)

    def _stood_for(self, frame: ReferencePixels, kept: Sequence[ReferencePixels]) -> torch.Tensor:
        """Say for which (N,) references of a frame k of their label among those `kept` can stand."""
        found = torch.zeros(len(frame), dtype=torch.bool, device=frame.keys.device)
        if kept:
            pool = ReferencePixels.concatenate(kept)
            for label in frame.objects.unique():
                ours, theirs = frame.objects == label, pool.embeddings[pool.objects == label]
                if len(theirs) >= self.k:
                    similarities, _ = nearest(frame.embeddings[ours], theirs, self.k)
                    found[ours] = similarities[:, -1] >= ALIKE
        return found
