"""Frames enlarged before they are embedded, for objects of a few pixels."""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F

from napari_pml.disk.untrusted import check_pixels
from napari_pml.embedding.protocol import Embedder
from napari_pml.errors import VideoError


class Enlarged:
    """An embedder that sees every frame enlarged, so that its cells are smaller: by 2, four times as many.

    Time and memory grow with the number of cells, and so does, even faster, the time of retrieval.
    """

    def __init__(self, embedder: Embedder, factor: int):
        """Let `embedder` see frames `factor` times as large; a divisor of its stride."""
        self._embedder, self._factor, self.device = embedder, factor, embedder.device
        self.weights: Path | None = None  # what was trained on the embedder's own cells does not fit smaller ones
        self.dim, self.stride = embedder.dim, embedder.stride // factor
        self.name = f"{embedder.name}@{factor}x"
        self.fingerprint = f"{embedder.fingerprint}@{factor}x"

    def to(self, device: torch.device) -> None:
        """Move to another device."""
        self._embedder.to(device)
        self.device = device

    def embed(self, frames: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        """Embed frames, see `Embedder.embed`."""
        height, width = (side * self._factor for side in frames.shape[-2:])
        try:
            check_pixels(height, width)
        except ValueError as error:
            raise VideoError(
                f"Frames enlarged by {self._factor} are too large: {error}. Use the embedder without @{self._factor}x."
            ) from error
        large = F.interpolate(frames, (height, width), mode="bilinear", align_corners=False)
        return self._embedder.embed(large, t)
