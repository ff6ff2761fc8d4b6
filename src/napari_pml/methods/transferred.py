"""Reference pixels of other videos, which count in this one too."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray

from napari_pml.embedding.protocol import Embedder
from napari_pml.embedding.video_embeddings import VideoEmbeddings
from napari_pml.errors import AnnotationError
from napari_pml.methods.annotated import AnnotatedReferences
from napari_pml.methods.references import FRAME_SHIFT, KIND_BITS, KIND_SHIFT, ReferencePixels, ReferenceSource
from napari_pml.types import BACKGROUND, Annotations
from napari_pml.video.video import Video


@dataclass(frozen=True, eq=False)
class TransferredReferences:
    """References of other videos, as arrays that can be kept.

    Attributes:
        embeddings: (N, D) float16.
        labels: (N, 2) int64, the objects or `BACKGROUND`.
        shares: (N, 2) float32, see `ReferencePixels`.
        keys: (N,) int64, rising; their frames are beyond those of the video that borrows.
    """

    embeddings: NDArray[np.float16]
    labels: NDArray[np.int64]
    shares: NDArray[np.float32]
    keys: NDArray[np.int64]

    @classmethod
    def gather(
        cls,
        others: Iterable[tuple[Annotations, Video]],
        embedder: Embedder,
        n_frames: int,
        resolution: str = "auto",
    ) -> TransferredReferences:
        """Gather the references of everything that is annotated on other videos.

        Args:
            others: one or several, each with at least one annotated frame.
            embedder: of the video that borrows.
            n_frames: of the video that borrows.
            resolution: in which that one is embedded.

        Raises:
            AnnotationError: nothing is annotated on one of them.
        """
        parts = []
        for annotated, video in others:
            if not annotated.frames:
                raise AnnotationError(
                    f"Nothing is annotated on {video.name}, so there is nothing to learn from it. Paint a stroke there."
                )
            labels = (BACKGROUND, *annotated.object_ids)
            embeddings = VideoEmbeddings(video, embedder, resolution=resolution)
            found = AnnotatedReferences(embeddings)(embeddings.video.annotations(annotated), labels, thin=False)
            ids = torch.tensor(labels)
            parts.append(
                cls(
                    found.embeddings.half().cpu().numpy(),
                    ids[found.labels.cpu()].numpy(),
                    found.shares.cpu().numpy(),
                    found.keys.cpu().numpy() + (n_frames << FRAME_SHIFT),
                )
            )
            n_frames += annotated.shape[0]
        return cls(*(np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(cls)))

    @property
    def arrays(self) -> Mapping[str, NDArray[np.generic]]:
        """The arrays by their names: `TransferredReferences(**arrays)` is the same again."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @cached_property
    def digest(self) -> str:
        """16 characters that differ where the references do."""
        found = hashlib.sha256()
        for array in self.arrays.values():
            found.update(np.ascontiguousarray(array).tobytes())
        return found.hexdigest()[:16]

    @cached_property
    def object_ids(self) -> tuple[int, ...]:
        """The objects that there are references of, in increasing order."""
        return tuple(np.setdiff1d(self.labels[:, 0], [BACKGROUND]).tolist())

    @property
    def has_complete_frames(self) -> bool:
        """Whether some come from a complete frame."""
        return bool((((self.keys >> KIND_SHIFT) & (2**KIND_BITS - 1)) == ReferenceSource.GIVEN).any())

    def references(self, ids: Sequence[int], device: torch.device) -> ReferencePixels:
        """Return the references in the order of their keys.

        Args:
            ids: object ids, `BACKGROUND` first, then in increasing order; all of `object_ids` are among them.
            device: where they are needed.
        """
        places = np.searchsorted(ids[1:], self.labels) + 1
        places = np.where(self.labels == BACKGROUND, 0, places)
        return ReferencePixels(
            embeddings=torch.from_numpy(self.embeddings).to(device).float(),
            labels=torch.from_numpy(places).to(device),
            shares=torch.from_numpy(self.shares).to(device),
            keys=torch.from_numpy(self.keys).to(device),
        )
