"""From annotated pixels to reference pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from skimage.filters import threshold_otsu

from napari_pml.embedding.video_embeddings import VideoEmbeddings
from napari_pml.grid import pixel_counts
from napari_pml.methods.neighbours import nearest
from napari_pml.types import BACKGROUND, UNLABELLED, Annotations, Labels

CORRECTION_ADVANTAGE = 0.1
"""In similarity: so much less alike may a stroke be than a pixel of a complete frame, and still outdo it."""


@dataclass(frozen=True)
class ReferencePixels:
    """The cells whose label is known (the pool of PML section 3.2).

    Attributes:
        embeddings: (N, D) float32.
        labels: (N, 2) int64, the two commonest labels of each cell as places in the list of object ids (0 is
            background), the commonest first.
        shares: (N, 2) float32, their shares of the cell's annotated pixels; a cell of one label has (1, 0).
        frames: (N,) int64 frame numbers.
        cells: (N,) int64 cell numbers, row by row.
        handicaps: (N,) float32, taken off the similarity of each in the search.
    """

    embeddings: torch.Tensor
    labels: torch.Tensor
    shares: torch.Tensor
    frames: torch.Tensor
    cells: torch.Tensor
    handicaps: torch.Tensor

    def __len__(self) -> int:
        return len(self.embeddings)

    def at(self, index: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return labels and shares, both (..., 2), of the references numbered `index` (...)."""
        return self.labels[index], self.shares[index]

    def select(self, which: torch.Tensor) -> ReferencePixels:
        """Return the references where `which`, (N,) bool, is true."""
        return ReferencePixels(*(getattr(self, name)[which] for name in self.__dataclass_fields__))

    @staticmethod
    def concatenate(parts: Sequence[ReferencePixels]) -> ReferencePixels:
        """Join references, in order."""
        return ReferencePixels(
            *(torch.cat([getattr(p, name) for p in parts]) for name in ReferencePixels.__dataclass_fields__)
        )


def dense_references(
    t: int, labels: Labels, embeddings: torch.Tensor, ids: Sequence[int], stride: int, handicap: float = 0.0
) -> ReferencePixels:
    """Turn every labelled cell of one frame into a reference.

    A label that is commonest in none of its cells, as a small object between larger ones may be, is given the cell
    that it fills most: no stroke goes without a reference.

    Args:
        t: frame number.
        labels: (H, W) uint16 annotation; `UNLABELLED` pixels are ignored.
        embeddings: (h, w, D) float32 of the frame.
        ids: object ids, `BACKGROUND` first.
        stride: side of a cell in pixels.
        handicap: of all these references.
    """
    counts = pixel_counts(labels, ids, stride)
    unseen = counts.any(0)
    unseen[counts.argmax(1)[counts.any(1)]] = False
    unseen_labels = unseen.nonzero()[:, 0]
    best_cells = counts[:, unseen_labels].argmax(0)
    counts[best_cells] = 0
    counts[best_cells, unseen_labels] = 1

    top = counts.topk(min(2, len(ids)), dim=1)
    cells = (top.values[:, 0] > 0).nonzero()[:, 0]
    values, winners = top.values[cells], top.indices[cells]
    if len(ids) == 1:
        values, winners = (torch.nn.functional.pad(x, (0, 1)) for x in (values, winners))
    device = embeddings.device
    return ReferencePixels(
        embeddings=embeddings.flatten(0, 1)[cells.to(device)],
        labels=winners.to(device),
        shares=(values / values.sum(1, keepdim=True)).to(device),
        frames=torch.full_like(cells, t).to(device),
        cells=cells.to(device),
        handicaps=torch.full((len(cells),), handicap, device=device),
    )


def annotated_references(annotations: Annotations, embeddings: VideoEmbeddings) -> ReferencePixels:
    """Gather the references of everything that is annotated.

    On a frame that is not complete, cells that look unlike every annotated object stand for the background, so that
    one stroke on an object already gives a sensible mask. Strokes and what surrounds them outdo complete frames: a
    correction is worth more than what it corrects.

    Args:
        annotations: at least one frame.
        embeddings: of the same video.
    """
    ids = (BACKGROUND, *annotations.object_ids)
    stride = embeddings.embedder.stride
    handicap = dict.fromkeys(annotations.complete, CORRECTION_ADVANTAGE)
    parts = [
        dense_references(t, explicit_background(annotations, t), embeddings[t], ids, stride, handicap.get(t, 0.0))
        for t in annotations.frames
    ]
    painted = ReferencePixels.concatenate(parts)
    implied = [
        implied_background(painted, t, embeddings[t]) for t in annotations.frames if t not in annotations.complete
    ]
    return ReferencePixels.concatenate([painted, *implied])


def explicit_background(annotations: Annotations, t: int) -> Labels:
    """Return the (H, W) annotation of frame t in which unpainted pixels of a complete frame are `BACKGROUND`."""
    labels = annotations.frames[t]
    if t in annotations.complete:
        return np.where(labels == UNLABELLED, np.uint16(BACKGROUND), labels)
    return labels


def implied_background(painted: ReferencePixels, t: int, embeddings: torch.Tensor) -> ReferencePixels:
    """Find cells of a partly annotated frame that are surely no annotated object.

    Args:
        painted: all painted references.
        t: frame number.
        embeddings: (h, w, D) float32 of frame t.
    """
    flat = embeddings.flatten(0, 1)
    objects = painted.select(painted.labels[:, 0] > 0)
    # If only background is painted, nothing is known of anything else.
    free = ~resembling(flat, objects.embeddings) if len(objects) else flat.new_zeros(len(flat), dtype=torch.bool)
    free[painted.cells[painted.frames == t]] = False
    cells = free.nonzero()[:, 0]
    share = torch.tensor([1.0, 0.0], device=flat.device)
    return ReferencePixels(
        embeddings=flat[cells],
        labels=torch.zeros(len(cells), 2, dtype=torch.int64, device=flat.device),
        shares=share.expand(len(cells), 2),
        frames=torch.full_like(cells, t),
        cells=cells,
        handicaps=torch.zeros(len(cells), device=flat.device),
    )


def resembling(cells: torch.Tensor, examples: torch.Tensor) -> torch.Tensor:
    """Divide the cells of a frame into those that look like some examples and those that do not.

    Every cell is as like the examples as the most similar of them; Otsu's threshold splits the cells in two.

    Args:
        cells: (h * w, D) float32.
        examples: (N, D) float32, N > 0.

    Returns:
        (h * w,) bool.
    """
    likeness = nearest(cells, examples, 1)[0][:, 0]
    threshold: float = threshold_otsu(likeness.cpu().numpy())
    return likeness >= threshold
