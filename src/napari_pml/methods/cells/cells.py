"""Cells: motion takes every mask to the next frame, and a watershed from its inner part finds where the cell ends now.

What is cell and what is not, a network says that knows all of them as one object, and so do the image's intensities and
edges; which of these is to be trusted, an annotated frame shows.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from napari_pml.embedding.protocol import Embedder
from napari_pml.embedding.video_embeddings import VideoEmbeddings
from napari_pml.errors import SettingsError
from napari_pml.grid import upsample
from napari_pml.methods.cells.landscape import Frame, Landscape, Threshold
from napari_pml.methods.cells.newcomers import Kind, new_numbers, with_newcomers
from napari_pml.methods.cells.seeds import SEED_DEPTH, corrected, diameter_of, eroded
from napari_pml.methods.config import MethodConfig
from napari_pml.methods.motion import Motion
from napari_pml.methods.pml.pml import PmlConfig
from napari_pml.methods.protocol import LearningProgress, Method
from napari_pml.methods.references import ReferencePixels
from napari_pml.methods.transferred import TransferredReferences
from napari_pml.types import BACKGROUND, UNLABELLED, Annotations, FrameMask, Labels, PixelLabels, Scores

CELL = 1
"""The object that all cells are to the network."""

SQUARE = 1.5
"""Side of the squares in which the foreground of an annotated frame is found from the others, in median diameters."""

FOREGROUND = PmlConfig()
"""The method that tells cells from background."""


@dataclass(frozen=True)
class CellsConfig(MethodConfig):
    """Settings of the method for many cells."""

    method: ClassVar[str] = "cells"

    refine: Annotated[
        Literal["none"], {"label": "outlines", "tooltip": "A watershed draws them: there is nothing to refine."}
    ] = "none"
    find_new: Annotated[
        bool,
        {
            "label": "find new cells",
            "tooltip": "What looks like the annotated cells becomes a new object; a cell that divides ends, and two "
            "begin. Annotate all cells of one frame completely.",
        },
    ] = False

    def fingerprint(self, embedder: Embedder) -> str:
        """Return that of the method that tells cells from background, see `MethodConfig`."""
        return replace(FOREGROUND, refine="none").fingerprint(embedder)

    def make(self, embeddings: VideoEmbeddings, transferred: TransferredReferences | None) -> Cells:
        """Return the method for one video, see `MethodConfig`.

        Raises:
            SettingsError: it shall learn from other videos.
        """
        if transferred is not None:
            raise SettingsError(
                "The method cells follows what is annotated on this video; it cannot learn from other videos. "
                "Choose another method, or annotate a frame."
            )
        return Cells(embeddings, FOREGROUND.make(embeddings, None), find_new=self.find_new)


class Cells:
    """Follows many objects that look alike."""

    order: Literal["any", "outward"] = "outward"
    uses_embeddings = True

    def __init__(self, embeddings: VideoEmbeddings, foreground: Method, *, find_new: bool = False):
        """Segment frames of the video with these embeddings.

        Args:
            embeddings: of the video.
            foreground: tells cells from background.
            find_new: cells that nobody has annotated become objects, once a frame is complete.
        """
        self._find_new = find_new
        self._embeddings, self._foreground = embeddings, foreground
        self._motion = Motion(embeddings.video)
        self._annotations: Annotations | None = None
        self._landscape: Landscape | None = None
        self._kind: Kind | None = None
        self._largest = 0  # number of an object on the first complete frame

    @property
    def references(self) -> ReferencePixels | None:
        """The reference pixels of the foreground, see `Method`."""
        return self._foreground.references

    def learn(self, annotations: Annotations) -> Iterator[LearningProgress]:
        """Learn what cells look like, and on the first complete frame how they are told from each other."""
        shown = (t for t in sorted(annotations.complete) if set(np.unique(annotations.frames[t])) - {0, BACKGROUND})
        t = next(shown, None)
        self._landscape = self._kind = None
        if t is not None:
            frame = Frame(self._intensity(t), self._unseen_foreground(annotations, t))
            yield LearningProgress(1, 2)
            labels = np.where(annotations.frames[t] == BACKGROUND, np.uint16(0), annotations.frames[t])
            self._landscape, _ = Landscape.fitted(frame, labels)
            if self._find_new:
                self._kind = Kind.fitted(frame, labels, self._landscape.threshold)
                self._largest = int(labels.max())
        self._annotations = annotations
        yield from self._foreground.learn(_as_one(annotations))

    def state(self) -> Mapping[str, NDArray[Any]]:
        """Return nothing: what is learned costs little."""
        return {}

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Do nothing, since there is no state."""

    def segment(self, t: int, finished: Sequence[FrameMask]) -> PixelLabels:
        """Label the pixels of frame t, see `Method.segment`."""
        assert self._annotations is not None
        painted = self._annotations.frames.get(t, np.zeros(self._embeddings.video.shape[1:], np.uint16))
        previous = [finished[-1]] if len(finished) else []
        frame = Frame(self._intensity(t), self._cellness(t, [_mask_as_one(mask) for mask in previous]))
        if previous:
            moved = corrected(self._motion.moved(self._known(previous[0].labels), t, previous[0].t), painted)
            landscape = self._landscape or Landscape("both", Threshold(1, 0.5), diameter_of(moved))
        else:
            moved = corrected(np.zeros_like(painted), painted)
            landscape = Landscape("both", Threshold(1, 0.5), math.inf)
        seeds = np.where(painted == UNLABELLED, eroded(moved, SEED_DEPTH), painted)
        strokes = (painted != UNLABELLED) & (painted != BACKGROUND)
        labels = landscape.cells(frame, moved, seeds, strokes if strokes.any() else None)
        if previous and self._kind is not None:
            numbers = new_numbers(t, len(self._embeddings.video), self._largest, backwards=t < previous[0].t)
            labels = with_newcomers(self._kind, frame, moved, labels, numbers)
        return PixelLabels(labels, stability(moved, labels))

    def _known(self, labels: Labels) -> Labels:
        """Return a mask without the objects that have been deleted since."""
        assert self._annotations is not None
        known = np.isin(labels, self._annotations.object_ids)
        if self._kind is not None:
            known |= labels > self._largest
        return np.where(known, labels, np.uint16(0))

    def _intensity(self, t: int) -> NDArray[np.float32]:
        return np.asarray(np.sqrt(self._embeddings.video.rgb(t).mean(-1)), np.float32)

    def _cellness(self, t: int, finished: Sequence[FrameMask]) -> NDArray[np.float32]:
        """Return how likely each pixel of frame t belongs to a cell, (H, W) float32."""
        scores = self._foreground.segment(t, finished)
        assert isinstance(scores, Scores)
        pixels = upsample(scores.values[1:2], self._embeddings.video.shape[1:], scores.stride)[0]
        return np.asarray(pixels.cpu().numpy(), np.float32)

    def _unseen_foreground(self, annotations: Annotations, t: int) -> NDArray[np.float32]:
        """Return the foreground of an annotated frame, where every other square is found from what is around it."""
        labels = np.where(annotations.frames[t] == UNLABELLED, BACKGROUND, annotations.frames[t])
        side = max(1, round(SQUARE * diameter_of(np.where(labels == BACKGROUND, 0, labels))))
        rows, columns = (np.arange(n) // side for n in labels.shape)
        odd = (rows[:, None] + columns) % 2 == 1
        found = np.zeros(labels.shape, np.float32)
        for hidden in (odd, ~odd):
            shown = _as_one(Annotations(annotations.shape).with_frame(t, np.where(hidden, UNLABELLED, labels)))
            if CELL in shown.object_ids:
                for _ in self._foreground.learn(shown):
                    pass
                found[hidden] = self._cellness(t, [])[hidden]
        return found


def stability(moved: Labels, labels: Labels) -> NDArray[np.float32]:
    """Return how little each pixel's object differs from its moved mask: their IoU; 1 for background that was one."""
    n = int(max(moved.max(), labels.max())) + 1
    before, after, both = (
        np.bincount(x.ravel(), minlength=n) for x in (moved, labels, np.where(moved == labels, labels, 0))
    )
    ious = both / np.maximum(1, before + after - both)
    ious[0] = 1
    return np.asarray(np.minimum(ious[moved], ious[labels]), np.float32)


def _as_one(annotations: Annotations) -> Annotations:
    """Return the annotations with all objects as one."""
    one = Annotations(annotations.shape, revision=annotations.revision)
    for t, labels in annotations.frames.items():
        one = one.with_frame(t, _labels_as_one(labels), complete=t in annotations.complete)
    return one


def _mask_as_one(mask: FrameMask) -> FrameMask:
    return replace(mask, labels=_labels_as_one(mask.labels))


def _labels_as_one(labels: Labels) -> Labels:
    return np.where((labels == UNLABELLED) | (labels == BACKGROUND), labels, CELL).astype(np.uint16)
