"""What finished frames offer as references, and online adaptation with it (PML section 3.2)."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Sequence
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


CONTEXT_FRAMES = 16
"""So many frames' references are kept whole, the last used ones, at 2 MB for 854 x 480; of others, the sample stays."""


class FinishedFrames:
    """The references that the finished frames of one video offer, gathered when they are first asked for."""

    def __init__(self, embeddings: VideoEmbeddings, ids: Sequence[int], unanimous: float):
        """Gather nothing yet.

        Args:
            embeddings: of the video.
            ids: object ids, `BACKGROUND` first; other objects are background.
            unanimous: a cell's confidence from which on it is sure enough to be matched with.
        """
        self.embeddings, self.ids, self.unanimous = embeddings, ids, unanimous
        self._cells: OrderedDict[FrameMask, ReferencePixels] = OrderedDict()
        self._samples: WeakKeyDictionary[FrameMask, ReferencePixels] = WeakKeyDictionary()

    def cells(self, mask: FrameMask) -> ReferencePixels:
        """Return all cells of a frame, row by row."""
        cells = self._cells.pop(mask, None)
        if cells is None:
            known = np.isin(mask.labels, self.ids)  # an object that has been deleted since is background now
            labels = np.where(known & (mask.labels != 0), mask.labels, np.uint16(BACKGROUND))
            embeddings = self.embeddings[mask.t]
            stride = self.embeddings.embedder.stride
            every = dense_references(mask.t, labels, embeddings, self.ids, stride, painted=False)
            cells = every.select(slice(embeddings.shape[0] * embeddings.shape[1]))
        self._cells[mask] = cells
        if len(self._cells) > CONTEXT_FRAMES:
            self._cells.popitem(last=False)
        return cells

    def sample(self, mask: FrameMask) -> ReferencePixels:
        """Return a sample of the cells that are sure enough."""
        if mask not in self._samples:
            cells = self.cells(mask)
            confidence = resize_cells(torch.tensor(mask.confidence), self.embeddings.grid)
            agreed = (confidence.flatten() >= self.unanimous).to(cells.embeddings.device)
            self._samples[mask] = cells.select(agreed).thinned(ADAPTATION_PIXELS)
        return self._samples[mask]

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
        parts = [self.sample(mask) for mask in masks if mask.t not in annotated]
        return [part for part in parts if len(part)]
