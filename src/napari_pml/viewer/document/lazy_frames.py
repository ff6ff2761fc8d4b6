"""Lazy arrays for napari: a frame is computed when it is displayed."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from napari_pml.embedding.components import PrincipalComponents
from napari_pml.video.indexing import take

if TYPE_CHECKING:
    from napari_pml.embedding.video_embeddings import VideoEmbeddings
    from napari_pml.viewer.document.session import SessionLike

BASIS_FRAMES = 5
"""Maximum number of frames that the colours of embeddings are chosen for, spread over those already embedded."""

KEPT_FRAMES = 1000
"""Number of frames whose colours stay in memory, about 25 kB each for 854 x 480 pixels."""

_BASES: WeakKeyDictionary[VideoEmbeddings, PrincipalComponents] = WeakKeyDictionary()
"""Principal components of each video, computed once: a layer that is removed and added again has the same colours."""


class LazyFrames(ABC):
    """Values of pixels or cells, (T, h, w) or (T, h, w, C), of which single frames are cheap, in any thread.

    Attributes:
        session: whose they are.
        shape: of the array.
        dtype: of the array.
    """

    def __init__(self, session: SessionLike, dtype: Any, grid: tuple[int, int], *channels: int) -> None:
        self.session = session
        self.shape = (len(session.video), *grid, *channels)
        self.dtype = np.dtype(dtype)

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def is_of_today(self) -> bool:
        """Whether the session still has the same cells."""
        return True

    @abstractmethod
    def frame(self, t: int) -> NDArray[Any]:
        """Return frame t, at once."""

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: Any) -> NDArray[Any]:
        return take(self.frame, self.shape, self.dtype, key)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.asarray(self[:], dtype)

    def __deepcopy__(self, memo: Any) -> NDArray[Any]:
        return self[:]  # napari's "Duplicate layer": the copy stays as it is, and may be painted in


class MaskFrames(LazyFrames):
    """(T, H, W) uint16 labels, 0 on frames without a mask; a preview hides the finished mask of earlier annotations."""

    def __init__(self, session: SessionLike) -> None:
        super().__init__(session, np.uint16, session.video.shape[1:])

    def frame(self, t: int) -> NDArray[np.uint16]:
        """Return the labels of frame t as they are now."""
        return self.session.masks.latest_labels(t)


class ConfidenceFrames(LazyFrames):
    """(T, h, w) float32 in 0..1, how sure the winner is; NaN on frames without a mask."""

    def __init__(self, session: SessionLike) -> None:
        super().__init__(session, np.float32, session.masks.grid)
        self._none = np.full(self.shape[1:], np.nan, np.float32)

    def frame(self, t: int) -> NDArray[np.float32]:
        """Return the confidence of frame t as it is now."""
        try:
            return self.session.masks.confidence(t)
        except KeyError:
            return self._none


class EmbeddingFrames(LazyFrames):
    """(T, h, w, 4) uint8 RGBA, the embeddings' principal components; transparent where they are not made yet."""

    def __init__(self, session: SessionLike) -> None:
        super().__init__(session, np.uint8, session.embeddings.grid, 4)
        self._embeddings = session.embeddings
        self._made: dict[int, NDArray[np.uint8]] = {}
        self._none = np.zeros(self.shape[1:], np.uint8)

    def __contains__(self, t: int) -> bool:
        return t in self._made

    @property
    def is_of_today(self) -> bool:
        """Whether the session has no other network now."""
        return self._embeddings is self.session.embeddings

    def frame(self, t: int) -> NDArray[np.uint8]:
        """Return the colours of frame t, if they are made."""
        return self._made.get(t, self._none)

    def make(self, t: int) -> None:
        """Make the colours of frame t; takes as long as embedding it."""
        if self._embeddings not in _BASES:
            embedded = [s for s in range(self.shape[0]) if s == t or s in self._embeddings]
            spread = embedded[:: -(-len(embedded) // BASIS_FRAMES)]
            _BASES[self._embeddings] = PrincipalComponents.fit([self._embedding(s) for s in spread])
        colours = _BASES[self._embeddings].rgb(self._embedding(t))
        self._made[t] = np.pad((255 * colours).round().astype(np.uint8), ((0, 0), (0, 0), (0, 1)), constant_values=255)
        if len(self._made) > KEPT_FRAMES:
            del self._made[next(iter(self._made))]

    def _embedding(self, t: int) -> NDArray[np.float32]:
        return self._embeddings[t].cpu().numpy()
