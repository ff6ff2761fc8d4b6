"""What finished frames offer as references, and online adaptation with it (PML section 3.2)."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
import torch

from napari_pml.embedding.video_embeddings import VideoEmbeddings
from napari_pml.grid import resize_cells
from napari_pml.methods.references import ReferencePixels, dense_references
from napari_pml.recent import Recent
from napari_pml.types import BACKGROUND, CONFIDENCE_STRIDE, FrameMask

ADAPTATION_FRAMES = 8
ADAPTATION_PIXELS = 150
"""Online adaptation takes about so many pixels of each label at most, of so many finished frames, evenly spread over
all that there are: the pool stays bounded whatever the length of the video. (The paper's pool grows without end.)"""


CELL_BYTES = 32 * 1024**2
SAMPLE_BYTES = 64 * 1024**2
"""Bytes of the references that are kept of the frames used last: whole, some 16 frames of 854 x 480; and samples."""

Key = tuple[int, str]


class FinishedFrames:
    """The references that the finished frames of one video offer, gathered when they are first asked for.

    They are known by what a mask shows: the store may let go of it and read it again, and provisional masks of a frame
    differ though they have the same revision.
    """

    def __init__(
        self,
        embeddings: VideoEmbeddings,
        ids: Sequence[int],
        unanimous: float,
        context_frames: int = 0,
        pixels: int = ADAPTATION_PIXELS,
    ):
        """Gather nothing yet.

        Args:
            embeddings: of the video.
            ids: object ids, `BACKGROUND` first; other objects are background.
            unanimous: a cell's confidence from which on it is sure enough to be matched with.
            context_frames: number of frames that the next one needs whole; they are kept, however large.
            pixels: number of cells of each label in a sample, about.
        """
        self.embeddings, self.ids, self.unanimous, self._pixels = embeddings, ids, unanimous, pixels
        self._cells: Recent[Key, ReferencePixels] = Recent(CELL_BYTES, lambda cells: cells.nbytes, context_frames)
        self._samples: Recent[Key, ReferencePixels] = Recent(SAMPLE_BYTES, lambda sample: sample.nbytes)

    def cells(self, mask: FrameMask) -> ReferencePixels:
        """Return all cells of a frame, row by row."""
        key = mask.t, mask.digest
        cells = self._cells.get(key)
        if cells is None:
            known = np.isin(mask.labels, self.ids)  # an object that has been deleted since is background now
            labels = np.where(known & (mask.labels != 0), mask.labels, np.uint16(BACKGROUND))
            embeddings = self.embeddings[mask.t]
            stride = self.embeddings.embedder.stride
            every = dense_references(mask.t, labels, embeddings, self.ids, stride, painted=False)
            cells = every.select(slice(embeddings.shape[0] * embeddings.shape[1]))
            self._cells.put(key, cells)
        return cells

    def sample(self, mask: FrameMask) -> ReferencePixels:
        """Return a sample of the cells that are sure enough."""
        key = mask.t, mask.digest
        sample = self._samples.get(key)
        if sample is None:
            cells = self.cells(mask)
            stride = self.embeddings.embedder.stride
            confidence = torch.tensor(mask.confidence)
            confidence = resize_cells(confidence, CONFIDENCE_STRIDE, self.embeddings.grid, stride)
            agreed = (confidence.flatten() >= self.unanimous).to(cells.embeddings.device)
            sample = cells.select(agreed).thinned(self._pixels)
            self._samples.put(key, sample)
        return sample

    def adaptation(self, finished: Sequence[FrameMask], annotated: Collection[int]) -> list[ReferencePixels]:
        """Return the cells of finished frames that join the pool.

        Args:
            finished: the masks on the way to the present frame.
            annotated: frames whose pixels are in the pool already.
        """
        if not finished:
            return []
        if finished[-1].t not in annotated:  # which may be asked for when its embedding is no longer in memory
            self.sample(finished[-1])
        step = 1 << max(0, len(finished).bit_length() - 7)  # of a long video, not other ones after every frame
        last = (len(finished) - 1) // step * step
        pick = np.unique(np.linspace(0, last, ADAPTATION_FRAMES).round().astype(int))
        masks = (finished[i] for i in pick)
        parts = [self.sample(mask) for mask in masks if mask.t not in annotated]
        return [part for part in parts if len(part)]
