"""What finished frames offer as references, and online adaptation with it (PML section 3.2)."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import numpy as np
import torch

from napari_pml.embedding.video_embeddings import VideoEmbeddings
from napari_pml.grid import resize_cells
from napari_pml.methods.references import ReferencePixels, dense_references
from napari_pml.types import BACKGROUND, FrameMask

ADAPTATION_FRAMES = 8
ADAPTATION_PIXELS = 150
"""Online adaptation takes about so many pixels of each label at most, of so many finished frames, evenly spread over
all that there are: the pool stays bounded whatever the length of the video. (The paper's pool grows without end.)"""


@dataclass(frozen=True)
class FinishedFrame:
    """The references that a finished frame offers.

    Attributes:
        cells: all of its cells, row by row.
        unanimous: a sample of those that are sure enough to be matched with.
    """

    cells: ReferencePixels
    unanimous: ReferencePixels


class FinishedFrames:
    """The references of the finished frames of one video, gathered when they are first asked for."""

    def __init__(self, embeddings: VideoEmbeddings, ids: Sequence[int], unanimous: float):
        """Gather nothing yet.

        Args:
            embeddings: of the video.
            ids: object ids, `BACKGROUND` first; other objects are background.
            unanimous: a cell's confidence from which on it is sure enough.
        """
        self.embeddings, self.ids, self.unanimous = embeddings, ids, unanimous
        self._known: WeakKeyDictionary[FrameMask, FinishedFrame] = WeakKeyDictionary()

    def __getitem__(self, mask: FrameMask) -> FinishedFrame:
        if mask not in self._known:
            known = np.isin(mask.labels, self.ids)  # an object that has been deleted since is background now
            labels = np.where(known & (mask.labels != 0), mask.labels, np.uint16(BACKGROUND))
            embeddings = self.embeddings[mask.t]
            stride = self.embeddings.embedder.stride
            every = dense_references(mask.t, labels, embeddings, self.ids, stride, painted=False)
            cells = every.select(slice(embeddings.shape[0] * embeddings.shape[1]))
            confidence = resize_cells(torch.tensor(mask.confidence), (embeddings.shape[0], embeddings.shape[1]))
            agreed = (confidence.flatten() >= self.unanimous).to(cells.embeddings.device)
            self._known[mask] = FinishedFrame(cells, cells.select(agreed).thinned(ADAPTATION_PIXELS))
        return self._known[mask]

    def adaptation(self, finished: Sequence[FrameMask], annotated: Collection[int]) -> list[ReferencePixels]:
        """Return the cells of finished frames that join the pool.

        Args:
            finished: the masks on the way to the present frame.
            annotated: frames whose pixels are in the pool already.
        """
        if not finished:
            return []
        step = 1 << max(0, len(finished).bit_length() - 7)  # of a long video, not other ones after every frame
        last = (len(finished) - 1) // step * step
        pick = np.unique(np.linspace(0, last, ADAPTATION_FRAMES).round().astype(int))
        masks = (finished[i] for i in pick)
        parts = [self[mask].unanimous for mask in masks if mask.t not in annotated]
        return [part for part in parts if len(part)]
