"""Reference pixels: the cells whose label is known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import IntEnum

import numpy as np
import torch
import torch.nn.functional as F

from napari_pml.grid import pixel_counts
from napari_pml.types import BACKGROUND, UNLABELLED, Annotations, Labels

SIMILARITY_PENALTY = 205 / 2048
"""Similarity margin by which a stroke outranks a fully annotated pixel. A multiple of the unit of embeddings, see
`VideoEmbeddings`, so that the difference is exact."""

CELL_BITS, KIND_BITS, LABEL_BITS = 23, 2, 16
"""Of the keys of references; 22 bits are left for the frame."""

KIND_SHIFT = LABEL_BITS
FRAME_SHIFT = CELL_BITS + KIND_BITS + LABEL_BITS
"""Where the kind and the frame begin in a key."""


class ReferenceSource(IntEnum):
    """Where the label of a reference comes from; part of its key."""

    GIVEN = 0  # a complete frame, or a finished one
    PAINTED = 1  # a stroke
    IMPLIED = 2  # background that nobody painted


@dataclass(frozen=True)
class ReferencePixels:
    """The cells whose label is known (the pool of PML section 3.2).

    Attributes:
        embeddings: (N, D) float32.
        labels: (N, 2) int64, the two commonest labels of each cell as places in the list of object ids (0 is
            background), the commonest first.
        shares: (N, 2) float32, their shares of the cell's annotated pixels; a cell of one label has (1, 0).
        keys: (N,) int64, see `reference_keys`: what a reference is, whatever else there is. All are different.
    """

    embeddings: torch.Tensor
    labels: torch.Tensor
    shares: torch.Tensor
    keys: torch.Tensor

    def __len__(self) -> int:
        return len(self.embeddings)

    @property
    def frames(self) -> torch.Tensor:
        """(N,) int64 frame numbers."""
        return self.keys >> FRAME_SHIFT

    @property
    def cells(self) -> torch.Tensor:
        """(N,) int64 cell numbers, row by row."""
        cells: torch.Tensor = (self.keys >> (KIND_BITS + LABEL_BITS)) & (2**CELL_BITS - 1)
        return cells

    @property
    def objects(self) -> torch.Tensor:
        """(N,) int64, the commonest label of each as annotated: the object, or `BACKGROUND`."""
        objects: torch.Tensor = self.keys & (2**LABEL_BITS - 1)
        return objects

    @property
    def kinds(self) -> torch.Tensor:
        """(N,) int64 `ReferenceSource`."""
        kinds: torch.Tensor = (self.keys >> KIND_SHIFT) & (2**KIND_BITS - 1)
        return kinds

    @property
    def similarity_penalty(self) -> torch.Tensor:
        """(N,) float32, taken off the similarity of each in the search."""
        return (self.kinds == ReferenceSource.GIVEN) * SIMILARITY_PENALTY

    @property
    def nbytes(self) -> int:
        """How much memory they take."""
        return sum(getattr(self, name).nbytes for name in self.__dataclass_fields__)

    def at(self, index: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return labels and shares, both (..., 2), of the references numbered `index` (...)."""
        return self.labels[index], self.shares[index]

    def select(self, which: torch.Tensor | slice) -> ReferencePixels:
        """Return the references chosen by `which`: (N,) bool, numbers, or a slice."""
        return ReferencePixels(*(getattr(self, name)[which] for name in self.__dataclass_fields__))

    def as_painted(self) -> ReferencePixels:
        """Return the same references without a penalty."""
        return replace(self, keys=self.keys | (ReferenceSource.PAINTED << KIND_SHIFT))

    def sorted(self) -> ReferencePixels:
        """Return the references in the order of their keys."""
        return self.select(self.keys.argsort())

    def thinned(self, limit: int) -> ReferencePixels:
        """Keep about `limit` references of each label at most, evenly spread, and all that hold two labels.

        Where an object ends is what matters most; inside of it one cell stands for its neighbours.
        """
        if not len(self):
            return self
        label = torch.where(self.shares[:, 1] > 0, -1, self.labels[:, 0]) + 1
        order = label.argsort(stable=True)
        sizes = torch.bincount(label)
        place = torch.arange(len(order), device=order.device) - (sizes.cumsum(0) - sizes)[label[order]]
        step = ((sizes + limit - 1) // limit).clamp_min(1)
        step[0] = 1
        kept = place % step[label[order]] == 0
        return self.select(order[kept].sort().values)

    @staticmethod
    def concatenate(parts: Sequence[ReferencePixels]) -> ReferencePixels:
        """Join references, in order."""
        return ReferencePixels(
            *(torch.cat([getattr(p, name) for p in parts]) for name in ReferencePixels.__dataclass_fields__)
        )


def reference_keys(t: int, cells: torch.Tensor, labels: torch.Tensor, kind: int) -> torch.Tensor:
    """Return the (N,) int64 keys of references: frame, cell, kind and label in one number.

    Args:
        t: frame number, below 2 ** 22.
        cells: (N,) int64 cell numbers, below 2 ** 23.
        labels: (N,) int64, the commonest label of each, as annotated (`BACKGROUND`, or the object).
        kind: `ReferenceSource.GIVEN`, `ReferenceSource.PAINTED` or `ReferenceSource.IMPLIED`.
    """
    return (((t << CELL_BITS) + cells << KIND_BITS) + kind << LABEL_BITS) + labels


def dense_references(
    t: int, labels: Labels, embeddings: torch.Tensor, ids: Sequence[int], stride: int, *, painted: bool
) -> ReferencePixels:
    """Turn every labelled cell of one frame into a reference.

    A label that is commonest in none of its cells, as a small object between larger ones may be, gets a reference of
    its own, behind the others, in the cell where it has most pixels: no stroke goes without one.

    Args:
        t: frame number.
        labels: (H, W) uint16 annotation; `UNLABELLED` pixels are ignored.
        embeddings: (h, w, D) float32 of the frame.
        ids: object ids, `BACKGROUND` first.
        stride: side of a cell in pixels.
        painted: these are strokes, which outdo the pixels of complete and of finished frames.
    """
    counts = pixel_counts(labels, ids, stride)
    top = counts.topk(min(2, len(ids)), dim=1)
    cells = (top.values[:, 0] > 0).nonzero()[:, 0]
    values, winners = (F.pad(x[cells], (0, 2 - x.shape[1])) for x in (top.values, top.indices))

    seen = torch.zeros(len(ids), dtype=torch.bool)
    seen[winners[:, 0]] = True
    unseen = (counts.any(0) & ~seen).nonzero()[:, 0]
    cells = torch.cat([cells, counts[:, unseen].argmax(0)])
    winners = torch.cat([winners, torch.stack([unseen, torch.zeros_like(unseen)], 1)])
    values = torch.cat([values, torch.tensor([1.0, 0.0]).expand(len(unseen), 2)])

    device = embeddings.device
    return ReferencePixels(
        embeddings=embeddings.flatten(0, 1)[cells.to(device)],
        labels=winners.to(device),
        shares=(values / values.sum(1, keepdim=True)).to(device),
        keys=reference_keys(
            t, cells, torch.tensor(ids)[winners[:, 0]], ReferenceSource.PAINTED if painted else ReferenceSource.GIVEN
        ).to(device),
    )


def explicit_background(annotations: Annotations, t: int) -> Labels:
    """Return the (H, W) annotation of frame t in which unpainted pixels of a complete frame are `BACKGROUND`."""
    labels = annotations.frames[t]
    if t in annotations.complete:
        return np.where(labels == UNLABELLED, np.uint16(BACKGROUND), labels)
    return labels
