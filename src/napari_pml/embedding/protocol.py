"""What an embedder is."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol, runtime_checkable

import torch


class Embedder(Protocol):
    """Gives every cell of a frame a vector, without seeing any annotation.

    Attributes:
        name: as shown to people.
        dim: D, length of the vectors.
        stride: side of a cell in pixels.
        fingerprint: changes whenever the vectors would; part of the key of every stored embedding.
        weights: the file that it was loaded from, beside which further networks for these vectors may lie; None if
            there is none.
        device: where it runs.
    """

    name: str
    dim: int
    stride: int
    fingerprint: str
    weights: Path | None
    device: torch.device

    def to(self, device: torch.device) -> None:
        """Move to another device."""

    def embed(self, frames: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        """Embed frames.

        Args:
            frames: (B, 3, H, W) float32 RGB in 0..1, any size.
            t: (B,) float32, place of each frame in its video, -1 (first) to 1 (last).

        Returns:
            (B, D, h, w) float32 of length 1 over axis 1, h = ceil(H / stride), w = ceil(W / stride).
        """
        ...


@runtime_checkable
class DetailedEmbedder(Embedder, Protocol):
    """An embedder with a mask head, which sees more of a frame than its embedding.

    Attributes:
        head: file with the weights of the mask head.
        n_details: numbers that describe a cell beside its embedding.
        details_fingerprint: changes whenever the details would.
    """

    head: Path
    n_details: int
    details_fingerprint: str

    def embed_with_details(self, frames: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        """Embed frames, see `embed`, and put the details behind the embeddings: (B, D + n_details, h, w) float32."""
        ...


def n_channels(embedder: Embedder) -> int:
    """Return how many numbers are kept of a cell: the length of its embedding, and of its details if there are any."""
    return embedder.dim + (embedder.n_details if isinstance(embedder, DetailedEmbedder) else 0)
