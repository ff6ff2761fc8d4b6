"""From annotated pixels to reference pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from scipy.ndimage import distance_transform_edt
from skimage.filters import threshold_multiotsu

from napari_pml.embedding.video_embeddings import VideoEmbeddings
from napari_pml.grid import pixel_counts
from napari_pml.methods.neighbours import nearest
from napari_pml.types import BACKGROUND, UNLABELLED, Annotations, Labels

CORRECTION_ADVANTAGE = 205 / 2048
"""In similarity: so much less alike may a stroke be than a pixel of a complete frame, and still outdo it. A multiple of
the unit of embeddings, see `VideoEmbeddings`, so that the difference is exact."""

DISTANCE_COST = 1.0
"""In similarity: a cell that is the frame's diagonal away from every stroke looks so much less like the object.
Measured on one stroke along the middle of the object, mean J of 17 frames: 64.6 with a single Otsu threshold, 69.8
with the lower of two, 71.4 with this cost."""

COMPLETE_PIXELS, MIN_COMPLETE_PIXELS = 1500, 300
"""At most about so many cells of a label stand for it, over all complete frames and on each. Fewer references are not
only faster: background, of which there is most, no longer outvotes what is small."""

IMPLIED_PIXELS = 2000
"""At most about so many cells, evenly spread, stand for the background that nobody painted."""

UNLIKE, ALIKE = 0, 2
"""The outer classes of `likeness`."""

CELL_BITS, KIND_BITS, LABEL_BITS = 23, 2, 16
"""Of the keys of references; 22 bits are left for the frame."""

KIND_SHIFT = LABEL_BITS
FRAME_SHIFT = CELL_BITS + KIND_BITS + LABEL_BITS
"""Where the kind and the frame begin in a key."""

GIVEN, PAINTED, IMPLIED = 0, 1, 2
"""Kinds of references: on a complete or a finished frame; a stroke; background that follows from strokes."""


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
        """(N,) int64, `GIVEN`, `PAINTED` or `IMPLIED`."""
        kinds: torch.Tensor = (self.keys >> KIND_SHIFT) & (2**KIND_BITS - 1)
        return kinds

    @property
    def handicaps(self) -> torch.Tensor:
        """(N,) float32, taken off the similarity of each in the search."""
        return (self.kinds == GIVEN) * CORRECTION_ADVANTAGE

    def at(self, index: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return labels and shares, both (..., 2), of the references numbered `index` (...)."""
        return self.labels[index], self.shares[index]

    def select(self, which: torch.Tensor | slice) -> ReferencePixels:
        """Return the references chosen by `which`: (N,) bool, numbers, or a slice."""
        return ReferencePixels(*(getattr(self, name)[which] for name in self.__dataclass_fields__))

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
        kind: `GIVEN`, `PAINTED` or `IMPLIED`.
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
        keys=reference_keys(t, cells, torch.tensor(ids)[winners[:, 0]], PAINTED if painted else GIVEN).to(device),
    )


def annotated_references(
    annotations: Annotations,
    embeddings: VideoEmbeddings,
    *,
    thin: bool = True,
    ids: Sequence[int] | None = None,
    borrowed: ReferencePixels | None = None,
) -> ReferencePixels:
    """Gather the references of everything that is annotated, in the order of their keys.

    On a frame that is not complete, cells that look unlike every annotated object stand for the background, so that
    one stroke on an object already gives a sensible mask. Strokes and what surrounds them outdo complete frames: a
    correction is worth more than what it corrects.

    Args:
        annotations: at least one frame, unless there are borrowed references.
        embeddings: of the same video.
        thin: of complete frames, keep a sample of each label's cells; otherwise all.
        ids: object ids, `BACKGROUND` first; by default the annotated ones.
        borrowed: references of other videos, which count too.
    """
    ids = ids or (BACKGROUND, *annotations.object_ids)
    stride = embeddings.embedder.stride
    limit = max(MIN_COMPLETE_PIXELS, COMPLETE_PIXELS // max(1, len(annotations.complete)))
    parts = []
    for t in annotations.frames:
        labels = explicit_background(annotations, t)
        found = dense_references(t, labels, embeddings[t], ids, stride, painted=t not in annotations.complete)
        parts.append(found.thinned(limit) if thin and t in annotations.complete else found)
    if borrowed is not None:
        parts.append(borrowed.thinned(limit) if thin else borrowed)
    given = ReferencePixels.concatenate(parts)
    incomplete = sorted(annotations.frames.keys() - annotations.complete)
    room = max(100, IMPLIED_PIXELS // max(1, len(incomplete)))
    implied = [implied_background(given, t, embeddings[t], room) for t in incomplete]
    return ReferencePixels.concatenate([given, *implied]).sorted()


def explicit_background(annotations: Annotations, t: int) -> Labels:
    """Return the (H, W) annotation of frame t in which unpainted pixels of a complete frame are `BACKGROUND`."""
    labels = annotations.frames[t]
    if t in annotations.complete:
        return np.where(labels == UNLABELLED, np.uint16(BACKGROUND), labels)
    return labels


def implied_background(given: ReferencePixels, t: int, embeddings: torch.Tensor, limit: int) -> ReferencePixels:
    """Find cells of a partly annotated frame that are surely no annotated object: unlike them, and far from strokes.

    Args:
        given: all annotated references.
        t: frame number.
        embeddings: (h, w, D) float32 of frame t.
        limit: at most so many cells, evenly spread.
    """
    flat = embeddings.flatten(0, 1)
    objects = given.select(given.labels[:, 0] > 0)
    free = torch.zeros(len(flat), dtype=torch.bool, device=flat.device)
    if len(objects):  # if only background is painted, nothing is known of anything else
        here = objects.cells[objects.frames == t]
        remoteness = DISTANCE_COST * _distance(here, *embeddings.shape[:2]) if len(here) else 0.0
        free = likeness(flat, objects.embeddings, remoteness) == UNLIKE
    free[given.cells[given.frames == t]] = False
    cells = free.nonzero()[:, 0]
    cells = cells[:: max(1, -(-len(cells) // limit))]
    share = torch.tensor([1.0, 0.0], device=flat.device)
    return ReferencePixels(
        embeddings=flat[cells],
        labels=torch.zeros(len(cells), 2, dtype=torch.int64, device=flat.device),
        shares=share.expand(len(cells), 2),
        keys=reference_keys(t, cells, torch.full_like(cells, BACKGROUND), IMPLIED),
    )


def likeness(cells: torch.Tensor, examples: torch.Tensor, cost: torch.Tensor | float = 0.0) -> torch.Tensor:
    """Divide the cells of a frame into those unlike some examples (0), those between (1), and those alike (2).

    A cell's likeness is its similarity to the most similar example, less a cost; the classes are those of Otsu's
    method with two thresholds (Liao, Chen and Chung, 2001). On a frame without contrast every cell is alike.

    Args:
        cells: (h * w, D) float32.
        examples: (N, D) float32, N > 0.
        cost: (h * w,) float32.

    Returns:
        (h * w,) int64, `UNLIKE`, between, or `ALIKE`.
    """
    values = nearest(cells, examples, 1)[0][:, 0] - cost
    try:
        thresholds = torch.from_numpy(threshold_multiotsu(values.cpu().numpy(), classes=3)).to(values)
    except ValueError:  # fewer than three different values
        return torch.full_like(values, ALIKE, dtype=torch.int64)
    return torch.bucketize(values, thresholds, right=True)


def _distance(cells: torch.Tensor, h: int, w: int) -> torch.Tensor:
    """Return how far each of h * w cells is from the nearest of `cells`, as a share of the diagonal, (h * w,)."""
    elsewhere = np.ones(h * w, bool)
    elsewhere[cells.cpu().numpy()] = False
    distance = distance_transform_edt(elsewhere.reshape(h, w)) / np.hypot(h, w)
    return torch.from_numpy(distance.astype(np.float32).ravel()).to(cells.device)
