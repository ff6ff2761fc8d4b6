"""The embeddings of one video, computed when first asked for."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

import torch

from napari_pml.embedding.cache import EmbeddingCache
from napari_pml.embedding.networks.details import FrameFeatures, unpacked
from napari_pml.embedding.protocol import DetailedEmbedder, Embedder, n_channels
from napari_pml.embedding.read_ahead import ReadAhead
from napari_pml.embedding.stores import MemoryStore
from napari_pml.grid import grid_shape, pad_to_cells
from napari_pml.video.video import Video
from napari_pml.video.working import WorkingVideo

UNIT = 2.0**-11
"""Components of embeddings are multiples of this. Their products then have 22 bits after the point, and sums of these
are at most about 1, so that float32 holds every similarity exactly: it is the same whatever computes it, in whatever
order. (float16 holds the components exactly as well.)"""


MEMORY_BYTES = round(0.4 * 1024**3)
"""Room in main memory for the embeddings of a video: some 520 frames of 854 x 480."""


class VideoEmbeddings:
    """`embeddings[t]` is the (h, w, D) float32 embedding of frame t, on the embedder's device.

    Each frame is computed once, rounded to multiples of `UNIT` and kept in float16, in memory and in a cache on disk if
    there is one. Safe to use from several threads.

    Attributes:
        video: in the resolution in which the embedder sees it; all cells are of its pixels.
        resolution: which one that is, one of `RESOLUTIONS`.
        seconds: what the last frame took to read and to embed; None before.
    """

    def __init__(
        self,
        video: Video,
        embedder: Embedder,
        memory_bytes: int = MEMORY_BYTES,
        cache: EmbeddingCache | None = None,
        resolution: str = "auto",
    ):
        """Embed the frames of `video` with `embedder`, keeping up to `memory_bytes` in memory, and all in `cache`."""
        self.video, self.embedder, self.cache = WorkingVideo(video, resolution), embedder, cache
        self.resolution = resolution
        self.memory = MemoryStore(memory_bytes)
        self.disk = cache.open(self.video, embedder) if cache is not None else None
        self._kind = embedder.device.type  # of the embeddings on disk: another device rounds differently
        self._frames = ReadAhead(self.video)
        n_frames, height, width = self.video.shape
        self.grid = grid_shape(height, width, embedder.stride)
        self._n_frames = n_frames
        self.seconds: float | None = None
        self._lock = threading.Lock()

    def __contains__(self, t: int) -> bool:
        return t in self.memory or (self.disk is not None and t in self.disk)

    @property
    def frame_bytes(self) -> int:
        """What one frame's embeddings take."""
        h, w = self.grid
        return h * w * n_channels(self.embedder) * torch.float16.itemsize

    @property
    def capacity(self) -> int:
        """How many frames can be kept beside each other."""
        return max(self.memory.max_bytes // self.frame_bytes, self.disk.capacity if self.disk is not None else 0)

    @property
    def n_missing(self) -> int:
        """How many frames are not there yet; waits for none that is under way."""
        return sum(t not in self for t in range(self._n_frames))

    def missing(self, frames: Sequence[int]) -> list[int]:
        """Return the frames that are not there yet; those that are will be let go of last, the first of all last."""
        with self._lock:
            return [t for t in reversed(frames) if self.memory.get(t) is None and t not in self][::-1]

    @property
    def cell(self) -> tuple[float, float]:
        """Height and width of a cell in pixels of the native video."""
        vertical, horizontal = self.video.factor
        return self.embedder.stride / vertical, self.embedder.stride / horizontal

    def frame(self, t: int) -> torch.Tensor:
        """Return frame t as the embedder sees it: (3, H', W') float32, H' and W' multiples of its stride."""
        frame = torch.from_numpy(self._frames.rgb(t)).permute(2, 0, 1)[None]
        return pad_to_cells(frame, self.embedder.stride)[0]

    def __getitem__(self, t: int) -> torch.Tensor:
        return self._cells(t)[..., : self.embedder.dim]

    def features(self, t: int) -> FrameFeatures:
        """Return the embeddings of frame t with the details, if the embedder is a `DetailedEmbedder`."""
        return unpacked(self._cells(t))

    def _cells(self, t: int) -> torch.Tensor:
        """Return everything that is known of the cells of frame t, (h, w, n) float32."""
        with self._lock:
            cells = self.memory.get(t)
            if cells is None and self.disk is not None:
                cells = self.disk.get(t)
                if cells is not None:
                    self.memory.put(t, cells)
            if cells is None:
                began = time.perf_counter()
                frame = self.frame(t)[None]
                place = torch.tensor([2 * t / max(1, self._n_frames - 1) - 1.0])
                embedder = self.embedder
                embed = embedder.embed_with_details if isinstance(embedder, DetailedEmbedder) else embedder.embed
                exact = embed(frame, place)[0].permute(1, 2, 0)
                embedding, details = exact.tensor_split([self.embedder.dim], 2)
                cells = torch.cat([(embedding / UNIT).round() * UNIT, details], 2).half().cpu().contiguous()
                self.memory.put(t, cells)
                if self.disk is not None and self.embedder.device.type == self._kind:
                    self.disk.put(t, cells)
                self.seconds = time.perf_counter() - began
        return cells.to(self.embedder.device).float()
