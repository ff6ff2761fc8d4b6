"""The k nearest references of every frame's cells, brought up to date instead of searched anew.

Similarities are exact (see `VideoEmbeddings`) and references have an order, their keys. So the k nearest are always the
same ones, however they were found: all at once, or piece by piece as strokes came and went.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from napari_pml.methods.neighbours import nearest
from napari_pml.methods.references import ReferencePixels


@dataclass(frozen=True)
class Neighbours:
    """The k nearest references of each of Q cells.

    Attributes:
        similarities: (Q, k) float32, less the references' handicaps, falling.
        keys: (Q, k) int64 keys of the references, the lower first where two are equally similar.
    """

    similarities: torch.Tensor
    keys: torch.Tensor


class Retrieval:
    """Remembers for the frames seen last which references their cells found, and among which.

    When strokes are added, only these are searched; when some are erased, only the cells that had found them are
    searched again.
    """

    def __init__(self, k: int, max_bytes: int = 128 * 1024**2):
        """Find k references; remember at most about `max_bytes`, some 340 frames of 854 x 480."""
        self.k, self.max_bytes = k, max_bytes
        self._known: OrderedDict[int, tuple[torch.Tensor, Neighbours]] = OrderedDict()

    def __call__(self, t: int, cells: torch.Tensor, pool: ReferencePixels) -> Neighbours:
        """Find the nearest references of all cells of frame t.

        Args:
            t: frame number.
            cells: (Q, D) float32 embeddings of the frame.
            pool: the references, in the order of their keys.
        """
        known = self._known.pop(t, None)
        found = search(cells, pool, self.k) if known is None else self._updated(cells, pool, *known)
        self._known[t] = pool.keys, found
        room = self.max_bytes // (found.keys.nbytes + found.similarities.nbytes)
        while len(self._known) > max(1, room):
            self._known.popitem(last=False)
        return found

    def _updated(
        self, cells: torch.Tensor, pool: ReferencePixels, known_keys: torch.Tensor, known: Neighbours
    ) -> Neighbours:
        """Return the nearest references in `pool`, given those in an earlier one."""
        if known_keys is pool.keys:
            return known
        erased = known_keys[~torch.isin(known_keys, pool.keys)]
        added = pool.select(~torch.isin(pool.keys, known_keys))
        lost = torch.isin(known.keys, erased).any(1)
        if not len(pool) or lost.all():
            return search(cells, pool, self.k)
        found = nearest_of([known, search(cells, added, self.k)], self.k) if len(added) else known
        if lost.any():
            again = search(cells[lost], pool, self.k)
            found = Neighbours(found.similarities.clone(), found.keys.clone())
            found.similarities[lost], found.keys[lost] = again.similarities, again.keys
        return found


def search(cells: torch.Tensor, pool: ReferencePixels, k: int) -> Neighbours:
    """Find the k nearest of some references, in the order of their keys, for (Q, D) float32 cells."""
    found = []
    for handicap in pool.handicaps.unique():
        part = pool.select(pool.handicaps == handicap)
        similarities, index = nearest(cells, part.embeddings, k)
        found.append(Neighbours(similarities - handicap, part.keys[index]))
    return nearest_of(found, k)


def nearest_of(found: Sequence[Neighbours], k: int) -> Neighbours:
    """Return the k nearest of what several searches found, for the same cells among different references."""
    keys, order = torch.cat([f.keys for f in found], 1).sort(dim=1)
    similarities = torch.cat([f.similarities for f in found], 1).gather(1, order)
    similarities, order = similarities.sort(dim=1, descending=True, stable=True)
    return Neighbours(similarities[:, :k].contiguous(), keys.gather(1, order[:, :k]))
