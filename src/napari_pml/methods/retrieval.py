"""The k nearest references of every frame's cells, brought up to date instead of searched anew.

Similarities are exact (see `VideoEmbeddings`) and references have an order, their keys. So the k nearest are always the
same ones, however they were found: all at once, or piece by piece as strokes came and went.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from napari_pml.methods.neighbours import nearest
from napari_pml.methods.references import ReferencePixels
from napari_pml.recent import Recent

FEW = 256
"""Number of added references up to which cells are screened first: most have nearer ones already."""


@dataclass(frozen=True)
class Neighbours:
    """The k nearest references of each of Q cells.

    Attributes:
        similarities: (Q, k) float32, less the references' penalties, falling; -inf where there are fewer than k.
        keys: (Q, k) int64 keys of the references, the lower first where two are equally similar.
    """

    similarities: torch.Tensor
    keys: torch.Tensor

    @property
    def nbytes(self) -> int:
        """Bytes in memory."""
        return self.similarities.nbytes + self.keys.nbytes

    def __getitem__(self, rows: torch.Tensor) -> Neighbours:
        return Neighbours(self.similarities[rows], self.keys[rows])

    def __setitem__(self, rows: torch.Tensor, found: Neighbours) -> None:
        self.similarities[rows], self.keys[rows] = found.similarities, found.keys


@dataclass(frozen=True)
class Known:
    """What is known of a frame: `found` among the references with `keys`, by all cells but the (Q,) `missing` ones."""

    keys: torch.Tensor
    missing: torch.Tensor
    found: Neighbours


class Retrieval:
    """Remembers for the frames seen last which references their cells found, and among which.

    When strokes are added, only these are searched; when some are erased, only the cells that had found them are
    searched again.
    """

    def __init__(self, k: int, max_bytes: int = 128 * 1024**2):
        """Find k references; remember at most about `max_bytes`, some 340 frames of 854 x 480."""
        self.k = k
        self._known: Recent[int, Known] = Recent(max_bytes, lambda known: known.found.nbytes)
        self._keys = torch.empty(0, dtype=torch.int64)
        self._last: tuple[torch.Tensor, ReferencePixels, tuple[torch.Tensor, ReferencePixels]] | None = None

    def __call__(self, t: int, cells: torch.Tensor, pool: ReferencePixels, wanted: torch.Tensor) -> Neighbours:
        """Find the nearest references of some cells of frame t.

        Args:
            t: frame number.
            cells: (Q, D) float32 embeddings of the frame.
            pool: the references, in the order of their keys.
            wanted: (Q,) bool, which cells are searched; what is returned of the others means nothing.
        """
        if not torch.equal(self._keys, pool.keys):  # frames that searched the same references share their keys
            self._keys = pool.keys
        known = self._known.get(t)
        if known is None:
            missing = torch.ones_like(wanted)
            known = Known(pool.keys[:0], missing, nobody(cells, self.k))
        known = self._updated(known, cells, pool, wanted)
        self._known.put(t, known)
        return known.found

    def _difference(self, before: torch.Tensor, pool: ReferencePixels) -> tuple[torch.Tensor, ReferencePixels]:
        """Return the keys that are gone, and the references that have come; the same for many frames in a row."""
        if self._last is None or self._last[0] is not before or self._last[1] is not pool:
            erased = before[~torch.isin(before, pool.keys)]
            self._last = before, pool, (erased, pool.select(~torch.isin(pool.keys, before)))
        return self._last[2]

    def _updated(self, known: Known, cells: torch.Tensor, pool: ReferencePixels, wanted: torch.Tensor) -> Known:
        """Return what is known once the `wanted` cells have found their nearest references in `pool`."""
        erased, added = self._difference(known.keys, pool)
        lost = known.missing | torch.isin(known.found.keys, erased).any(1) if len(erased) else known.missing
        found = Neighbours(known.found.similarities.clone(), known.found.keys.clone())
        better = ~lost & may_find(cells, found, added)
        if better.any():
            found[better] = search(cells[better], added, found[better])
        again = lost & wanted
        if again.any():
            found[again] = search(cells[again], pool, nobody(cells[again], self.k))
        return Known(self._keys, lost & ~wanted, found)


def may_find(cells: torch.Tensor, found: Neighbours, added: ReferencePixels) -> torch.Tensor:
    """Say which (Q,) cells may have some of the `added` references among their nearest; all, if there are many."""
    if not 0 < len(added) <= FEW:
        return torch.full_like(cells[:, 0], len(added) > 0, dtype=torch.bool)
    best = (cells @ added.embeddings.T - added.similarity_penalty).amax(1)
    return best >= found.similarities[:, -1]


def nobody(cells: torch.Tensor, k: int) -> Neighbours:
    """Return what (Q, D) cells have found before they search."""
    similarities = cells.new_full((len(cells), k), -torch.inf)
    return Neighbours(similarities, torch.full_like(similarities, -1, dtype=torch.int64))


def search(cells: torch.Tensor, pool: ReferencePixels, found: Neighbours) -> Neighbours:
    """Find the nearest for (Q, D) float32 cells among some references and those that they have `found` already."""
    parts, k = [found], found.keys.shape[1]
    for penalty in pool.similarity_penalty.unique():
        part = pool.select(pool.similarity_penalty == penalty)
        similarities, index = nearest(cells, part.embeddings, k)
        parts.append(Neighbours(similarities - penalty, part.keys[index]))
    return nearest_of(parts, k)


def nearest_of(found: Sequence[Neighbours], k: int) -> Neighbours:
    """Return the k nearest of what several searches found, for the same cells among different references."""
    keys, order = torch.cat([f.keys for f in found], 1).sort(dim=1)
    similarities = torch.cat([f.similarities for f in found], 1).gather(1, order)
    similarities, order = similarities.sort(dim=1, descending=True, stable=True)
    return Neighbours(similarities[:, :k].contiguous(), keys.gather(1, order[:, :k]))
