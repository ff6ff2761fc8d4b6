"""What a method is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from numpy.typing import NDArray

from napari_pml.methods.references import ReferencePixels
from napari_pml.types import Annotations, FrameMask, PixelLabels, Scores


@dataclass(frozen=True)
class LearningProgress:
    """How far a method is in learning what is annotated.

    Attributes:
        done: steps taken.
        total: steps in all, as far as that is known.
        loss: of the last step, if there is one.
    """

    done: int
    total: int
    loss: float | None = None


class Method(Protocol):
    """Segments the frames of one video from its annotations.

    Attributes:
        order: "any" if frames do not depend on each other; "outward" if a frame builds on the masks of the frames
            between it and the annotation.
        uses_embeddings: whether frames are segmented by their embeddings, so that it is worth preparing these.
    """

    order: Literal["any", "outward"]
    uses_embeddings: bool

    @property
    def references(self) -> ReferencePixels | None:
        """The pixels whose label is known, as learned last; None before, or if the method has none."""

    def learn(self, annotations: Annotations) -> Iterator[LearningProgress]:
        """Take in what is annotated, in place of what was learned before; it is learned when the iterator ends.

        An iterator that is closed before leaves the method able to learn something else, not to segment.
        """

    def state(self) -> Mapping[str, NDArray[Any]]:
        """Return what learning has cost most, to be kept in a project; arrays of the same name are equal."""

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Take over what `state` returned, in this process or in another, for the same video.

        `learn` is called all the same; it finds in the state what it need not learn again.
        """

    def segment(self, t: int, finished: Sequence[FrameMask]) -> Scores | PixelLabels:
        """Score the cells of a frame, of any stride, or label its pixels at once.

        Args:
            t: frame number.
            finished: masks of the frames on the way from the annotation to `t`, the nearest last; may be empty.
        """
        ...
