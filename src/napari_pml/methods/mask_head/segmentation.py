"""PML with a mask head: retrieval says how near every cell is to what is annotated, a network draws the masks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from napari_pml.embedding.networks.details import FrameFeatures
from napari_pml.embedding.video_embeddings import VideoEmbeddings
from napari_pml.grid import pixel_counts
from napari_pml.methods.adaptation import FinishedFrames
from napari_pml.methods.annotated import AnnotatedReferences, contradicted
from napari_pml.methods.mask_head.evidence import Evidence, PreviousMask, References, gather_evidence
from napari_pml.methods.mask_head.network import MaskHead, scores_of
from napari_pml.methods.motion import Motion
from napari_pml.methods.protocol import LearningProgress
from napari_pml.methods.references import ReferencePixels, ReferenceSource
from napari_pml.methods.transferred import TransferredReferences
from napari_pml.types import BACKGROUND, UNLABELLED, Annotations, FrameMask, Labels, Scores

PREVIOUS_FRAMES = 5
"""Largest distance in frames at which a finished frame counts as the previous one; training shows no longer gaps."""

SURE = 0.8
"""Confidence above which a cell of a finished frame becomes a reference for others."""

MARGIN, STROKE_MARGIN = 12, 24
"""Cells around everything that may be an object that the head sees too: on other frames, and on one with strokes on it,
which show but a part of it. Even numbers."""

MOST_VALUES = 2**25
"""Number of logits of all objects beyond which they are kept in larger cells: bounds the memory."""

NOWHERE = -10.0
"""Logit of an object where it cannot be."""


class MaskHeadPml:
    """One network scores every object from strokes, retrieved distances and the previous mask."""

    order: Literal["any", "outward"] = "outward"
    uses_embeddings = True

    def __init__(self, embeddings: VideoEmbeddings, transferred: TransferredReferences | None, net: MaskHead):
        """Segment frames of the video with these embeddings; `net` was trained on embeddings of the same network."""
        self.embeddings, self.transferred, self.net = embeddings, transferred, net
        self._ids: tuple[int, ...] = (BACKGROUND,)
        self._motion = Motion(embeddings.video)
        self._gather = AnnotatedReferences(embeddings)
        self._references: ReferencePixels | None = None
        self._matched = torch.empty(0)
        self._annotations: Annotations | None = None
        self._finished = FinishedFrames(embeddings, self._ids, SURE)

    @property
    def references(self) -> ReferencePixels | None:
        """The reference pixels of what is annotated, see `Method`."""
        return self._references

    @torch.no_grad()
    def learn(self, annotations: Annotations) -> Iterator[LearningProgress]:
        """Gather the reference pixels of everything that is annotated, here or on other videos, in one step."""
        transferred, device = self.transferred, self.embeddings.embedder.device
        self.net.to(device)
        self._annotations = annotations
        ids = (BACKGROUND, *sorted({*annotations.object_ids, *(transferred.object_ids if transferred else ())}))
        if ids != self._ids:
            self._ids, self._finished = ids, FinishedFrames(self.embeddings, ids, SURE)
        references = self._gather(
            annotations,
            ids,
            thin=True,
            imply=False,
            transferred=transferred.references(ids, device) if transferred else None,
        )
        self._references = references.select(~contradicted(references, annotations.complete))
        self._matched = self.net.matched(self._references.embeddings)
        yield from ()

    def state(self) -> Mapping[str, NDArray[Any]]:
        """Return nothing: references are gathered at once."""
        return {}

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Do nothing, since there is no state."""

    @torch.no_grad()
    def segment(self, t: int, finished: Sequence[FrameMask]) -> Scores:
        """Score the cells of frame t, see `Method.segment`."""
        features = self.embeddings.features(t)
        if len(self._ids) == 1:  # background alone is annotated
            return Scores(torch.ones(1, *features.embeddings.shape[1:]), self._ids, self.embeddings.embedder.stride)
        matched = self.net.matched(features.embeddings.permute(1, 2, 0))
        previous = self._previous(t, finished)
        prior = (
            None if previous is None else self._shares(self._motion.moved(self._known(finished[-1]), t, finished[-1].t))
        )
        evidence = gather_evidence(matched, self._strokes(t), self._elsewhere(t, finished), previous, prior)
        scores = scores_of(self._logits(features, evidence))
        return Scores(scores, self._ids, self.embeddings.embedder.stride * len(matched) // scores.shape[1])

    def _logits(self, features: FrameFeatures, evidence: Evidence) -> torch.Tensor:
        """Run the head on every object, each where it can be.

        Returns:
            (N, 4 h / n, 4 w / n): n is 1, but 2 or 4 where hundreds of objects would take too much memory.
        """
        h, w = features.embeddings.shape[1:]
        n_objects = len(self._ids) - 1
        pool = next(n for n in (1, 2, 4) if n == 4 or n_objects * 16 * h * w // n**2 <= MOST_VALUES)
        logits = features.embeddings.new_full((n_objects, 4 * h // pool, 4 * w // pool), NOWHERE)
        for i in range(n_objects):
            coarse, fine = evidence.of(i + 1)
            box = possible_box(coarse)
            while box is not None:
                found = self._part(features, coarse, fine, box)
                logits[i, *_scaled(box, 4 // pool)] = F.avg_pool2d(found[None], pool)[0]
                box = wider_box(box, found > 0, (h, w))
        return logits

    def _part(
        self, features: FrameFeatures, coarse: torch.Tensor, fine: torch.Tensor, box: tuple[slice, slice]
    ) -> torch.Tensor:
        """Return the logits of one object in a box of cells of the embeddings."""
        half = _scaled(box, 2)
        part = FrameFeatures(features.embeddings[:, *box], features.context[:, *box], features.detail[:, *half])
        logits: torch.Tensor = self.net(part, coarse[None, :, *box], fine[None, :, *half])[0]
        return logits

    def _elsewhere(self, t: int, finished: Sequence[FrameMask]) -> References:
        """Return the references of other frames: what is annotated there, and sure cells of finished frames on the way.

        The latter are the paper's online adaptation (PML section 3.2). Where masks spread from strokes, only the mask
        of the frame with these strokes is trusted.

        On a frame that masks spread from, its own strokes alone speak for the objects that are painted there: a few
        strokes on other frames, with hardly any background among them, would claim whatever looks like them.
        """
        if self._references is None or self._annotations is None:
            raise RuntimeError("learn() comes before segment()")
        annotated = self._references
        others = annotated.frames != t
        if not finished:
            here = annotated.labels[~others, 0].unique()
            others &= (annotated.kinds == ReferenceSource.GIVEN) | ~torch.isin(annotated.labels[:, 0], here)
        matched, labels = [self._matched[others]], [annotated.labels[others, 0]]
        source = [finished[0]] if len(finished) else []
        trusted = finished if source and source[0].t in self._annotations.complete else source
        for sample in self._finished.adaptation(trusted, self._annotations.complete):
            matched.append(self.net.matched(sample.embeddings))
            labels.append(sample.labels[:, 0])
        return References(torch.cat(matched), torch.cat(labels))

    def _previous(self, t: int, finished: Sequence[FrameMask]) -> PreviousMask | None:
        """Return the mask of the last finished frame, if it is near enough."""
        if not finished or abs(finished[-1].t - t) > PREVIOUS_FRAMES:
            return None
        mask = finished[-1]
        return PreviousMask(self.net.matched(self.embeddings[mask.t]), self._shares(self._known(mask)))

    def _known(self, mask: FrameMask) -> Labels:
        """Return the labels of a mask, 0 the background; an object deleted since is background now."""
        return np.where(np.isin(mask.labels, self._ids), mask.labels, 0).astype(np.uint16)

    def _shares(self, labels: Labels) -> torch.Tensor:
        """Return the share of each label of a mask in each cell of half the stride, (L, 2 h, 2 w)."""
        counts = self._counts(np.where(labels == 0, np.uint16(BACKGROUND), labels))
        return counts / counts.sum(0).clamp_min(1)

    def _strokes(self, t: int) -> torch.Tensor:
        """Return the share of each cell of half the stride that is painted with each label, (L, 2 h, 2 w)."""
        assert self._annotations is not None
        painted = self._annotations.frames.get(t)
        if painted is None:
            painted = np.full(self.embeddings.video.shape[1:], UNLABELLED, np.uint16)
        return self._counts(painted) / (self.embeddings.embedder.stride // 2) ** 2

    def _counts(self, labels: Labels) -> torch.Tensor:
        """Return how many pixels of each label are in each cell of half the stride, (L, 2 h, 2 w)."""
        h, w = self.embeddings.grid
        stride = self.embeddings.embedder.stride // 2
        rows, columns = -(-labels.shape[0] // stride), -(-labels.shape[1] // stride)
        counts = pixel_counts(labels, self._ids, stride).T.reshape(len(self._ids), rows, columns)
        counts = F.pad(counts[None], (0, 2 * w - columns, 0, 2 * h - rows), mode="replicate")[0]
        return counts.to(self.embeddings.embedder.device)


def possible_box(coarse: torch.Tensor) -> tuple[slice, slice] | None:
    """Return the rows and columns of cells where an object can be, with a margin; None if it can be nowhere.

    It can be around its strokes, where it was before, and where the nearest references of other frames are its own.

    Args:
        coarse: (14, h, w), see `Evidence`.
    """
    _, anywhere, _, _, rival, _, painted, *_, prior, _ = coarse
    possible = (painted > 0) | (prior > 0) | ((anywhere < rival) & (anywhere < 1))
    if not possible.any():
        return None
    margin = STROKE_MARGIN if painted.any() else MARGIN
    return _span(possible.any(1), margin), _span(possible.any(0), margin)


def wider_box(box: tuple[slice, slice], inside: torch.Tensor, grid: tuple[int, int]) -> tuple[slice, slice] | None:
    """Return a box that is wider wherever an object reaches the border of `box`; None if it does so nowhere.

    Args:
        box: rows and columns of cells.
        inside: (rows, columns) bool of smaller cells, where the object was found in the box.
        grid: (h, w), rows and columns of the frame.
    """
    wider = []
    for span, n, edge in zip(box, grid, (inside.any(1), inside.any(0)), strict=True):
        start = max(0, span.start - STROKE_MARGIN) if edge[0] else span.start
        stop = min(n, span.stop + STROKE_MARGIN) if edge[-1] else span.stop
        wider.append(slice(start, stop))
    return None if (wider[0], wider[1]) == box else (wider[0], wider[1])


def _span(hit: torch.Tensor, margin: int) -> slice:
    """Return a slice, from an even number on, that holds every True of (n,) and a margin."""
    where = hit.nonzero()[:, 0]
    return slice(max(0, int(where[0]) - margin) // 2 * 2, min(len(hit), int(where[-1]) + 1 + margin))


def _scaled(box: tuple[slice, slice], factor: int) -> tuple[slice, slice]:
    """Return the box in cells that are smaller by a factor."""
    rows, columns = (slice(span.start * factor, span.stop * factor) for span in box)
    return rows, columns
