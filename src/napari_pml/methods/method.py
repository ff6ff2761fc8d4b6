"""What a method is, and which ones there are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol

from napari_pml.methods.references import ReferencePixels
from napari_pml.types import Annotations, FrameMask, Scores


class Method(Protocol):
    """Segments the frames of one video from its annotations.

    Attributes:
        order: "any" if frames do not depend on each other; "outward" if a frame builds on the masks of the frames
            between it and the annotation.
    """

    order: Literal["any", "outward"]

    @property
    def references(self) -> ReferencePixels | None:
        """The pixels whose label is known, as learned last; None before, or if the method has none."""

    def learn(self, annotations: Annotations) -> None:
        """Take in what is annotated, in place of what was learned before."""

    def segment(self, t: int, finished: Sequence[FrameMask]) -> Scores:
        """Score the cells of a frame.

        Args:
            t: frame number.
            finished: masks of the frames on the way from the annotation to `t`, the nearest last; may be empty.
        """
        ...
