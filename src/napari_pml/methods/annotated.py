"""The reference pixels of everything that is annotated, and of the background that follows from it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.ndimage import distance_transform_edt
from skimage.filters import threshold_multiotsu

from napari_pml.embedding.video_embeddings import VideoEmbeddings
from napari_pml.methods.neighbours import nearest
from napari_pml.methods.references import (
    SIMILARITY_PENALTY,
    ReferencePixels,
    ReferenceSource,
    dense_references,
    explicit_background,
    reference_keys,
)
from napari_pml.methods.retrieval import Retrieval
from napari_pml.types import BACKGROUND, Annotations, Labels

DISTANCE_COST = 1.0
"""Similarity penalty at one frame diagonal from the nearest stroke.
Measured on one stroke along the middle of the object, mean J of 17 frames: 64.6 with a single Otsu threshold, 69.8
with the lower of two, 71.4 with this cost."""

COMPLETE_PIXELS, MIN_COMPLETE_PIXELS = 1500, 300
"""Approximate maximum number of cells that stand for a label, over all complete frames and on each. Fewer are not only
faster: background, of which there is most, no longer outvotes what is small."""

IMPLIED_PIXELS = 2000
"""Approximate maximum number of cells, evenly spread, that stand for background nobody painted."""

GOLDEN = (5**0.5 - 1) / 2
"""Its multiples, less their whole part, are evenly spread however many there are (Weyl)."""

UNLIKE, ALIKE = 0, 2
"""The outer ones of three classes of likeness."""


@dataclass(frozen=True)
class _Frame:
    """The references of one annotated frame, and what they depend on."""

    labels: Labels
    painted: bool
    ids: Sequence[int]
    limit: int | None
    found: ReferencePixels


class AnnotatedReferences:
    """Gathers the references of everything that is annotated on a video; what has not changed is not gathered again."""

    def __init__(self, embeddings: VideoEmbeddings):
        """Gather in a video with these embeddings."""
        self._embeddings = embeddings
        self._frames: Mapping[int, _Frame] = {}
        self._likest = Retrieval(1)

    def __call__(
        self,
        annotations: Annotations,
        ids: Sequence[int],
        *,
        thin: bool,
        imply: bool = True,
        transferred: ReferencePixels | None = None,
    ) -> ReferencePixels:
        """Return the references of all annotated frames, in the order of their keys.

        Strokes and what surrounds them outdo complete frames: a correction is worth more than what it corrects.

        Args:
            annotations: at least one frame, unless there are transferred references.
            ids: object ids, `BACKGROUND` first.
            thin: of complete frames, keep a sample of each label's cells; otherwise all.
            imply: on a frame that is not complete, cells that look unlike every annotated object stand for the
                background, so that one stroke on an object already gives a sensible mask.
            transferred: references of other videos, which count too.
        """
        n_complete = max(1, len(annotations.complete))
        limit = max(MIN_COMPLETE_PIXELS, COMPLETE_PIXELS // n_complete) if thin else None
        self._frames = {t: self._frame(annotations, t, ids, limit) for t in annotations.frames}
        parts = [frame.found for frame in self._frames.values()]
        if transferred is not None:
            parts.append(transferred.thinned(limit) if limit else transferred)
        given = ReferencePixels.concatenate(parts).sorted()
        incomplete = sorted(annotations.frames.keys() - annotations.complete) if imply else []
        room = max(100, IMPLIED_PIXELS // max(1, len(incomplete)))
        implied = [self._implied(given, t, room) for t in incomplete]
        return ReferencePixels.concatenate([given, *implied]).sorted() if implied else given

    def _frame(self, annotations: Annotations, t: int, ids: Sequence[int], limit: int | None) -> _Frame:
        """Return the references of one annotated frame."""
        labels, painted = annotations.frames[t], t not in annotations.complete
        limit = None if painted else limit
        known = self._frames.get(t)
        if (
            known is not None
            and known.labels is labels
            and (painted, ids, limit)
            == (
                known.painted,
                known.ids,
                known.limit,
            )
        ):
            return known
        stride = self._embeddings.embedder.stride
        every = explicit_background(annotations, t)
        found = dense_references(t, every, self._embeddings[t], ids, stride, painted=painted)
        return _Frame(labels, painted, ids, limit, found.thinned(limit) if limit else found)

    def _implied(self, given: ReferencePixels, t: int, limit: int) -> ReferencePixels:
        """Find cells of a partly annotated frame that are surely no annotated object: unlike them, far from strokes.

        Args:
            given: all annotated references.
            t: frame number.
            limit: approximate maximum of cells, evenly spread. Which may be chosen does not depend on the strokes, so
                that another stroke changes little.
        """
        embeddings = self._embeddings[t]
        flat = embeddings.flatten(0, 1)
        objects = given.select(given.labels[:, 0] > 0)
        free = torch.zeros(len(flat), dtype=torch.bool, device=flat.device)
        if len(objects):  # if only background is painted, nothing is known of anything else
            here = objects.cells[objects.frames == t]
            remoteness = DISTANCE_COST * _distance(here, *embeddings.shape[:2]) if len(here) else 0.0
            likest = self._likest(t, flat, objects.as_painted(), torch.ones_like(free))
            free = _classes(likest.similarities[:, 0] - remoteness) == UNLIKE
        free[given.cells[given.frames == t]] = False
        number = torch.arange(len(flat), dtype=torch.float64, device=flat.device)
        cells = (free & (number * GOLDEN % 1 < limit / len(flat))).nonzero()[:, 0]
        share = torch.tensor([1.0, 0.0], device=flat.device)
        return ReferencePixels(
            embeddings=flat[cells],
            labels=torch.zeros(len(cells), 2, dtype=torch.int64, device=flat.device),
            shares=share.expand(len(cells), 2),
            keys=reference_keys(t, cells, torch.full_like(cells, BACKGROUND), ReferenceSource.IMPLIED),
        )


def looks_like(cells: torch.Tensor, strokes: torch.Tensor) -> torch.Tensor:
    """Return which cells of a frame look like any of the strokes on it: about them, the strokes outdo everything else.

    Args:
        cells: (h * w, D) float32.
        strokes: (N, D) float32, N > 0.

    Returns:
        (h * w,) bool.
    """
    return nearest(cells, strokes, 1)[0][:, 0] > 1 - SIMILARITY_PENALTY


def contradicted(references: ReferencePixels, complete: Collection[int]) -> torch.Tensor:
    """Find references that look like a stroke of another label, and yield to it: a correction outdoes what was found.

    What a person has given is contradicted in one case only: the background of a complete frame by an object that was
    not known yet when the frame was annotated.

    Args:
        references: annotated ones and those of finished frames.
        complete: numbers of the complete frames.

    Returns:
        (N,) bool.
    """
    painted = references.select(references.kinds == ReferenceSource.PAINTED)
    yields = references.kinds == ReferenceSource.GIVEN
    if not len(painted) or not yields.any():
        return torch.zeros_like(yields)
    similarity, index = nearest(references.embeddings, painted.embeddings, 1)
    labels, rivals = references.labels[:, 0], painted.labels[index[:, 0], 0]
    for t in complete:
        here = references.frames == t
        is_new = ~torch.isin(rivals, labels[here])
        yields = yields & (~here | ((labels == 0) & is_new))
    return yields & (similarity[:, 0] > 1 - SIMILARITY_PENALTY) & (labels != rivals)


def _classes(values: torch.Tensor) -> torch.Tensor:
    """Divide (n,) values into three classes, lowest first, by Otsu's method (Liao, Chen and Chung, 2001).

    Where fewer than three different values leave nothing to divide, all are in the highest class.
    """
    try:
        thresholds = torch.from_numpy(threshold_multiotsu(values.cpu().numpy(), classes=3)).to(values)
    except ValueError:  # fewer than three different values
        return torch.full_like(values, ALIKE, dtype=torch.int64)
    return torch.bucketize(values.contiguous(), thresholds, right=True)


def _distance(cells: torch.Tensor, h: int, w: int) -> torch.Tensor:
    """Return how far each of h * w cells is from the nearest of `cells`, as a share of the diagonal, (h * w,)."""
    elsewhere = np.ones(h * w, bool)
    elsewhere[cells.cpu().numpy()] = False
    distance = distance_transform_edt(elsewhere.reshape(h, w)) / np.hypot(h, w)
    return torch.from_numpy(distance.astype(np.float32).ravel()).to(cells.device)
