"""The state of every frame of a video as plain numbers, for the timeline."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from napari_pml.types import PREVIEW_REVISION

if TYPE_CHECKING:
    from napari_pml.viewer.document.session import SessionLike


class State(IntEnum):
    """How far a frame is; the higher, the further."""

    NONE = 0
    PREVIEW = 1
    OUTDATED = 2
    DONE = 3


WORDS = {
    State.NONE: "no mask yet",
    State.PREVIEW: "a preview",
    State.OUTDATED: "from earlier strokes",
    State.DONE: "done",
}
"""Labels of the states in the panel."""


@dataclass(frozen=True, eq=False)
class Overview:
    """T frames, or the same in fewer columns.

    Attributes:
        states: (T,) uint8 `State`.
        certainties: (T,) float32 in 0..1, NaN without a mask.
        annotated: (T,) bool, whether something is annotated.
        complete: (T,) bool, whether everything is.
        damaged: (T,) bool, whether the frame is known to be damaged, and shown as a repeat of its neighbour.
    """

    states: NDArray[np.uint8]
    certainties: NDArray[np.float32]
    annotated: NDArray[np.bool_]
    complete: NDArray[np.bool_]
    damaged: NDArray[np.bool_]

    @classmethod
    def of(cls, session: SessionLike) -> Overview:
        """Return what is known now; a few operations on arrays of T numbers, whatever has changed."""
        annotations, revisions = session.annotations, session.masks.revisions
        states = np.full(len(revisions), State.NONE, np.uint8)
        states[revisions >= PREVIEW_REVISION] = State.OUTDATED
        states[revisions == PREVIEW_REVISION] = State.PREVIEW
        states[revisions >= max(annotations.revision, PREVIEW_REVISION + 1)] = State.DONE
        annotated, complete, damaged = np.zeros((3, len(revisions)), bool)
        annotated[list(annotations.frames)] = True
        complete[list(annotations.complete)] = True
        damaged[session.video.damaged] = True
        return cls(states, session.masks.certainties, annotated, complete, damaged)

    def in_columns(self, n: int) -> Overview:
        """Return the same in n columns, each as wide as any other.

        A column of several frames shows whether any is annotated or damaged, the least of their states and of their
        certainties.
        """
        firsts = np.arange(n) * len(self.states) // n
        if n >= len(self.states):
            return Overview(
                self.states[firsts],
                self.certainties[firsts],
                self.annotated[firsts],
                self.complete[firsts],
                self.damaged[firsts],
            )
        return Overview(
            np.minimum.reduceat(self.states, firsts),
            np.fmin.reduceat(self.certainties, firsts),
            np.logical_or.reduceat(self.annotated, firsts),
            np.logical_or.reduceat(self.complete, firsts),
            np.logical_or.reduceat(self.damaged, firsts),
        )
