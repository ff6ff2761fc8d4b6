"""The values that pass between the parts: annotations, masks, scores.

Everything here is immutable, so that the viewer's thread and the worker's thread may hold the same value.
"""

from __future__ import annotations

import hashlib
import operator
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_pml.errors import AnnotationError

if TYPE_CHECKING:
    import torch

UNLABELLED = 0
"""In an annotation: nobody has said what this pixel is."""

BACKGROUND = 65535
"""In an annotation: this pixel belongs to no object. (In a mask, background is 0.)"""

MAX_REVISION = 2**62
"""No work gets so far; what says so is damaged."""

PREVIEW_REVISION = 0
"""The revision of a preview: smaller than that of any annotation."""

CONFIDENCE_STRIDE = 8
"""Side in pixels of the cells in which confidence is kept, whatever cells a network has."""

UNREADABLE = (OSError, ValueError, LookupError, TypeError, AttributeError, RuntimeError, OverflowError, MemoryError)
"""What reading damaged Zarr arrays and records may raise."""

PIECE = 2**20
"""So many pixels at a time are looked up in a table: as indices, they take four times as much memory as labels."""

Labels = NDArray[np.uint16]
Confidence = NDArray[np.float32]


def labels_in(labels: NDArray[np.integer[Any]]) -> NDArray[np.intp]:
    """Return the labels that an image of any shape holds, in increasing order."""
    flat = labels.reshape(-1)
    found = np.zeros(int(flat.max(initial=0)) + 1, bool)
    for start in range(0, flat.size, PIECE):
        found[flat[start : start + PIECE]] = True
    return np.flatnonzero(found)


def frame_number(t: int, n_frames: int) -> int:
    """Return t as a plain int; AnnotationError if a video of `n_frames` has no such frame."""
    try:
        number = operator.index(t)
    except TypeError as error:
        raise AnnotationError(f"Frame {t!r} does not exist: frames have whole numbers. Give one of them.") from error
    if not 0 <= number < n_frames:
        raise AnnotationError(f"Frame {t} does not exist: the video has frames 0 to {n_frames - 1}.")
    return number


@dataclass(frozen=True)
class Annotations:
    """An immutable snapshot of everything a person has annotated on one video.

    Attributes:
        shape: (T, H, W): frames, rows, columns of the video.
        frames: frame number -> (H, W) uint16, read-only. `UNLABELLED` (0) is not annotated, `BACKGROUND` (65535)
            is background, 1..65534 are objects. Only frames with an annotation are present.
        complete: frames on which every pixel is annotated: their unpainted pixels are background, and propagation
            never overwrites them.
        revision: grows with every change; a mask computed from a smaller revision is stale.
    """

    shape: tuple[int, int, int]
    frames: Mapping[int, Labels] = field(default_factory=lambda: MappingProxyType({}))
    complete: frozenset[int] = frozenset()
    revision: int = 0
    _known_labels: Mapping[int, NDArray[np.intp]] = field(default_factory=dict, repr=False, compare=False)

    def with_frame(self, t: int, labels: ArrayLike, *, complete: bool = False) -> Annotations:
        """Return a snapshot in which frame `t` is annotated by `labels` alone.

        Args:
            t: frame number, 0..T-1.
            labels: (H, W) integers as in `frames`; all 0 and not complete takes the frame's annotation away.
            complete: unpainted pixels are background.

        Returns:
            A snapshot with the next revision, or this very object when nothing changes.

        Raises:
            AnnotationError: `t` is outside the video, or `labels` has another size, type or range.
        """
        t = frame_number(t, self.shape[0])
        new = self._checked(t, labels)
        old = self.frames.get(t)
        present = complete or bool(new.any())
        unchanged = old is None if not present else old is not None and np.array_equal(old, new)
        if unchanged and complete == (t in self.complete):
            return self
        frames = {s: a for s, a in self.frames.items() if s != t}
        if present:
            frames[t] = new
        return replace(
            self,
            frames=MappingProxyType(dict(sorted(frames.items()))),
            complete=self.complete | {t} if complete else self.complete - {t},
            revision=self.revision + 1,
            _known_labels={s: values for s, values in self._labels.items() if s != t},
        )

    def renewed(self) -> Annotations:
        """Return the same annotations under the next revision, so that every mask counts as stale."""
        return replace(self, revision=self.revision + 1)

    @cached_property
    def object_ids(self) -> tuple[int, ...]:
        """The objects annotated on any frame, in increasing order."""
        seen = {label for labels in self._labels.values() for label in labels.tolist()}
        return tuple(sorted(seen - {UNLABELLED, BACKGROUND}))

    @cached_property
    def main_frame(self) -> int:
        """The annotated frame from which masks spread: it shows most objects, then most of them; the earliest of these.

        Background does not count: a correction that paints both an object and the background is no better a source.
        """

        def rank(t: int) -> tuple[int, int, int]:
            n_objects = len(set(self._labels[t].tolist()) - {UNLABELLED, BACKGROUND})
            painted = int(np.count_nonzero((self.frames[t] != UNLABELLED) & (self.frames[t] != BACKGROUND)))
            return -n_objects, -painted, t

        return min(self.frames, key=rank)

    @cached_property
    def _labels(self) -> Mapping[int, NDArray[np.intp]]:
        """The labels on each frame; those of frames that did not change are known from the snapshot before."""
        known = self._known_labels
        return {t: known[t] if t in known else labels_in(labels) for t, labels in self.frames.items()}

    def _checked(self, t: int, labels: ArrayLike) -> Labels:
        _, *size = self.shape
        try:
            array = np.asarray(labels)
        except (TypeError, ValueError) as error:
            raise AnnotationError(f"The annotation of frame {t} is no array: {error}. Give a label image.") from error
        if array.shape != tuple(size):
            raise AnnotationError(
                f"The annotation of frame {t} has shape {array.shape}, but frames of this video are "
                f"{size[0]} x {size[1]} (rows x columns). Give a label image of exactly that size."
            )
        if array.dtype == bool:
            array = array.astype(np.uint16)
        if array.dtype.kind not in "iu":
            raise AnnotationError(
                f"The annotation of frame {t} holds {array.dtype} values; labels must be whole numbers: "
                f"0 = not annotated, 1..65534 = objects, {BACKGROUND} = background."
            )
        if array.size and (array.min() < 0 or array.max() > BACKGROUND):
            raise AnnotationError(
                f"The annotation of frame {t} holds labels from {array.min()} to {array.max()}; "
                f"they must lie in 0..{BACKGROUND}."
            )
        array = array.astype(np.uint16)  # always a copy: the caller's layer may go on changing
        array.flags.writeable = False
        return array


@dataclass(frozen=True)
class Scores:
    """How much each cell of one frame belongs to each label.

    Attributes:
        values: (O+1, h, w) float32 on the CPU or GPU as a torch tensor; the sum over axis 0 is 1,
            or less where background is only assumed.
        object_ids: O+1 labels, `BACKGROUND` first, then objects in increasing order.
        stride: side of a cell in pixels.
    """

    values: torch.Tensor
    object_ids: tuple[int, ...]
    stride: int


@dataclass(frozen=True)
class PixelLabels:
    """Which object each pixel of one frame belongs to, of a method that leaves nothing to refine.

    Attributes:
        labels: (H, W) uint16, 0 = background, otherwise the object.
        confidence: (H, W) float32 in 0..1.
    """

    labels: Labels
    confidence: Confidence


@dataclass(frozen=True, eq=False)
class FrameMask:
    """The segmentation of one frame. Two are equal only if they are the same object.

    Attributes:
        t: frame number.
        labels: (H, W) uint16, 0 = background, otherwise the object.
        confidence: (h, w) float32 in 0..1, the winner's share of the votes in each cell of `CONFIDENCE_STRIDE` pixels.
        revision: of the annotations it was computed from.
    """

    t: int
    labels: Labels
    confidence: Confidence
    revision: int

    @cached_property
    def digest(self) -> str:
        """16 characters that differ where labels or confidence do, whatever the revision."""
        found = hashlib.sha256()
        for array in (self.labels, self.confidence):
            found.update(np.ascontiguousarray(array).data)
        return found.hexdigest()[:16]
