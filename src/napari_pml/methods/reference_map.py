"""The reference pixels as points in a plane, for a person to look at."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from napari_pml.embedding.components import PrincipalComponents
from napari_pml.methods.references import ReferencePixels, ReferenceSource

MAX_POINTS = 3000
"""More points would hide each other."""

FIT_POINTS = 300
"""Number of points of each label that decide on the directions, repeated if there are fewer."""


@dataclass(frozen=True, eq=False)
class ReferenceMap:
    """Reference pixels, alike ones near each other. Two are equal only if they are the same object.

    What a person looks for comes last, to be drawn over the rest: what is painted, and of this the objects.

    Attributes:
        positions: (N, 2) float32, along the two directions in which they differ most if each label counts the same.
        labels: (N,) uint16, `BACKGROUND` or the object.
        painted: (N,) bool, whether under a stroke; the others are of complete frames, or implied background.
        frames: (N,) int64 frame numbers; -1 for those of other videos.
        pixels: (N, 2) float32, row and column of each cell's centre in the frame, in pixels; NaN for those.
    """

    positions: NDArray[np.float32]
    labels: NDArray[np.uint16]
    painted: NDArray[np.bool_]
    frames: NDArray[np.int64]
    pixels: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.labels)


def reference_map(references: ReferencePixels, cell: tuple[float, float], columns: int, n_frames: int) -> ReferenceMap:
    """Lay out all painted references and an even sample of the others, `MAX_POINTS` at most.

    Args:
        references: at least one.
        cell: height and width of a cell, in pixels.
        columns: cells in a row of a frame.
        n_frames: of the video; references of later frames are those of other videos, see `TransferredReferences`.
    """
    references = references.select((-references.objects).argsort(stable=True))
    painted = references.kinds == ReferenceSource.PAINTED
    strokes = _evenly(painted.nonzero()[:, 0], MAX_POINTS)
    others = _evenly((~painted).nonzero()[:, 0], MAX_POINTS - len(strokes))
    chosen = references.select(torch.cat([others, strokes]))
    embeddings, labels, frames, cells = (
        part.cpu().numpy() for part in (chosen.embeddings, chosen.objects, chosen.frames, chosen.cells)
    )
    examples = [embeddings[labels == label] for label in np.unique(labels)]
    balanced = [part[np.arange(FIT_POINTS) * len(part) // FIT_POINTS] for part in examples]
    here = frames < n_frames
    pixels = np.array(cell) * np.stack(np.divmod(cells, columns), 1) + (np.array(cell) - 1) / 2
    return ReferenceMap(
        positions=PrincipalComponents.fit(balanced).positions(embeddings)[:, :2],
        labels=labels.astype(np.uint16),
        painted=np.arange(len(chosen)) >= len(others),
        frames=np.where(here, frames, -1),
        pixels=np.where(here[:, None], pixels, np.nan).astype(np.float32),
    )


def _evenly(numbers: torch.Tensor, limit: int) -> torch.Tensor:
    """Return `limit` of the numbers at most, evenly spread."""
    n = min(limit, len(numbers))
    return numbers[torch.arange(n, device=numbers.device) * len(numbers) // max(1, n)]
