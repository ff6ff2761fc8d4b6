"""What an embedder is, which ones there are, and where they run."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import torch

from napari_pml.embedding.compact import CompactNet
from napari_pml.embedding.weights import bundled
from napari_pml.grid import pad_to_cells
from napari_pml.types import DeviceError, WeightsError


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


class CompactEmbedder:
    """The bundled network, see `CompactNet`; in half precision on a GPU."""

    name = CompactNet.name
    stride = CompactNet.stride

    def __init__(self, device: torch.device, weights: Path | None = None):
        """Load weights, by default the bundled ones.

        Raises:
            WeightsError: `weights` does not exist, is damaged, or belongs to another network.
        """
        path = weights or bundled(CompactNet.name)
        self._net, self.fingerprint = CompactNet.from_file(path)
        self.weights: Path | None = path
        self.dim = self._net.dim
        self.to(device)

    def to(self, device: torch.device) -> None:
        """Move to another device."""
        self.device = device
        self._net.to(device).to(memory_format=torch.channels_last).eval()  # type: ignore[call-overload]  # torch's stub

    @torch.inference_mode()
    def embed(self, frames: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        """Embed frames, see `Embedder.embed`."""
        frames = pad_to_cells(frames.to(self.device), self.stride).contiguous(memory_format=torch.channels_last)
        with torch.autocast(self.device.type, torch.float16, enabled=self.device.type == "cuda"):
            embeddings: torch.Tensor = self._net(frames, t.to(self.device))
        return embeddings.float()


EMBEDDERS: dict[str, Callable[[torch.device], Embedder]] = {"compact": CompactEmbedder}
"""Every embedder by its name."""


def load_embedder(name: str, device: torch.device) -> Embedder:
    """Return the embedder of that name, or the one trained into a .safetensors file.

    Args:
        name: a key of `EMBEDDERS`, or the path of weights that `napari-pml train` wrote.
        device: where it shall run.

    Raises:
        WeightsError: neither a known name nor a usable file.
    """
    # On Linux PyTorch then asks for memory in large pages, which takes a quarter off the time of a frame. It looks at
    # this variable once, when it first needs a lot of memory.
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    if name in EMBEDDERS:
        return EMBEDDERS[name](device)
    if name.endswith(".safetensors"):
        return CompactEmbedder(device, Path(name))
    raise WeightsError(
        f"There is no embedder {name!r}. Choose one of {', '.join(EMBEDDERS)}, or give the path of a .safetensors file."
    )


def choose_device(wanted: str | None = None) -> torch.device:
    """Return the device asked for, or the best one there is: CUDA, then Apple's MPS, then the CPU.

    Raises:
        DeviceError: PyTorch cannot use the device asked for.
    """
    if wanted is not None:
        try:
            torch.empty(0, device=wanted)
        except (RuntimeError, AssertionError) as error:
            reason = str(error).splitlines()[0]
            raise DeviceError(
                f"The device {wanted!r} cannot be used ({reason}). Leave it out, or use 'cpu'."
            ) from error
        return torch.device(wanted)
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
