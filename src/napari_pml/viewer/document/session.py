"""The part of `napari_pml.Session` that the viewer uses."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from numpy.typing import ArrayLike

if TYPE_CHECKING:
    import torch

    from napari_pml.embedding.protocol import Embedder
    from napari_pml.embedding.video_embeddings import VideoEmbeddings
    from napari_pml.engine.session import Session
    from napari_pml.methods.config import MethodConfig
    from napari_pml.methods.protocol import LearningProgress
    from napari_pml.methods.references import ReferencePixels
    from napari_pml.methods.transferred import TransferredReferences
    from napari_pml.store.masks import MaskStore
    from napari_pml.store.project import Project
    from napari_pml.types import Annotations, FrameMask
    from napari_pml.video.video import Video


class SessionLike(Protocol):
    """One video being segmented, as `napari_pml.Session` does it; see there."""

    video: Video
    annotations: Annotations
    masks: MaskStore
    project: Project | None
    config: MethodConfig
    embedder: Embedder
    resolution: str

    @property
    def device(self) -> torch.device:
        """Where the network runs."""

    @property
    def embeddings(self) -> VideoEmbeddings:
        """The video's embeddings, computed lazily."""

    @property
    def uses_embeddings(self) -> bool:
        """Whether the method looks at embeddings at all."""

    @property
    def transferred(self) -> TransferredReferences | None:
        """References from other videos."""

    @property
    def object_ids(self) -> tuple[int, ...]:
        """The objects annotated here or on the other videos, in increasing order."""

    def annotate_frames(self, frames: Mapping[int, ArrayLike], *, complete: Collection[int] = ()) -> bool:
        """Replace the annotations of several frames; return whether anything changed."""

    def learn(self) -> Iterator[LearningProgress]:
        """Let the method learn what is annotated, a step at a time."""

    def transfer_from(self, *others: Any) -> bool:
        """Let the annotations of other sessions or projects count here; return whether anything changed."""

    def segment(self, t: int) -> FrameMask:
        """Segment one frame now."""

    def propagate(self, start: int = 0) -> Iterator[FrameMask]:
        """Segment every frame whose mask is outdated."""

    def prepare(self, start: int = 0) -> Iterator[tuple[int, int]]:
        """Embed frames ahead of time; yield how many are embedded, and how many will be."""

    def embed(self, t: int) -> None:
        """Embed frame t."""

    def keep_in(self, project: Project) -> None:
        """Copy everything to another project, and go on there."""

    def reference_pixels(self) -> ReferencePixels | None:
        """Return the reference pixels of everything that is annotated."""

    def stale_frames(self) -> list[int]:
        """Return the frames without a mask of the present annotations."""

    def next_frame_to_annotate(self) -> int | None:
        """Return the frame where an annotation would help most."""


if TYPE_CHECKING:
    _: type[SessionLike] = Session
