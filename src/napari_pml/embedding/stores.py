"""Where embeddings stay once they are computed."""

from __future__ import annotations

from collections import OrderedDict

import torch


class MemoryStore:
    """Keeps the most recently used frames' embeddings in main memory, up to a number of bytes."""

    def __init__(self, max_bytes: int = 2 * 1024**3):
        """Hold at most `max_bytes`; the default is about 1300 frames of 854 x 480 at stride 8."""
        self.max_bytes = max_bytes
        self.n_bytes = 0
        self._frames: OrderedDict[int, torch.Tensor] = OrderedDict()

    def __contains__(self, t: int) -> bool:
        return t in self._frames

    def get(self, t: int) -> torch.Tensor | None:
        """Return frame t's embeddings and count that as a use, or None."""
        if t in self._frames:
            self._frames.move_to_end(t)
        return self._frames.get(t)

    def put(self, t: int, embeddings: torch.Tensor) -> None:
        """Keep frame t's embeddings, and let go of the least recently used frames if there is no room."""
        replaced = self._frames.pop(t, None)
        self._frames[t] = embeddings
        self.n_bytes += embeddings.nbytes - (0 if replaced is None else replaced.nbytes)
        while self.n_bytes > self.max_bytes and len(self._frames) > 1:
            self.n_bytes -= self._frames.popitem(last=False)[1].nbytes
