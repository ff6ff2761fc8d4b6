"""Embedders made of a trunk and the head of the paper."""

from __future__ import annotations

from pathlib import Path

import torch

from napari_pml.embedding.networks.compact import CompactNet
from napari_pml.embedding.networks.details import MASK_HEAD, N_DETAILS, load_detail_layers
from napari_pml.embedding.networks.efficientnet import EfficientNetTrunk
from napari_pml.embedding.protocol import Embedder
from napari_pml.grid import pad_to_cells


class NetworkEmbedder:
    """A trunk under the head of the paper, see `CompactNet`; in half precision on a GPU."""

    stride = CompactNet.stride

    def __init__(self, name: str, net: CompactNet, fingerprint: str, device: torch.device, weights: Path | None = None):
        """Embed with `net`, whose weights, from the file `weights`, have a fingerprint."""
        self.name, self._net, self.fingerprint, self.dim = name, net, fingerprint, net.dim
        self.weights = weights
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


class NetworkEmbedderWithDetails(NetworkEmbedder):
    """The same with an EfficientNet trunk, and a mask head beside its weights."""

    n_details = N_DETAILS

    def __init__(
        self,
        name: str,
        net: CompactNet,
        fingerprint: str,
        device: torch.device,
        weights: Path,
        head: Path,
        trunk: EfficientNetTrunk,
    ):
        """Embed with `net`, whose trunk is `trunk`; the layers for details are in `head`, the file of the mask head."""
        self.head, self._trunk = head, trunk
        self._layers, self.details_fingerprint = load_detail_layers(head, fingerprint)
        super().__init__(name, net, fingerprint, device, weights)

    def to(self, device: torch.device) -> None:
        """Move to another device."""
        super().to(device)
        self._layers.to(device).to(memory_format=torch.channels_last).eval()  # type: ignore[call-overload]

    @torch.inference_mode()
    def embed_with_details(self, frames: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        """Embed frames with details, see `DetailedEmbedder`."""
        frames = pad_to_cells(frames.to(self.device), self.stride).contiguous(memory_format=torch.channels_last)
        with torch.autocast(self.device.type, torch.float16, enabled=self.device.type == "cuda"):
            half, quarter, fine, coarse = self._trunk.all_depths(frames)
            eighth = torch.cat([fine, coarse], 1)
            embeddings = self._net.head(eighth, t.to(self.device))
            details = self._layers.packed(half, quarter, eighth)
        return torch.cat([embeddings.float(), details.float()], 1)


def network_embedder(name: str, path: Path, device: torch.device) -> Embedder:
    """Return the embedder whose weights are in a file, with details if the weights of a mask head lie beside it.

    Raises:
        WeightsError: one of the two is damaged, or they do not belong together.
    """
    net, fingerprint = CompactNet.from_file(path)
    head = path.with_name(MASK_HEAD)
    if head.exists() and isinstance(net.trunk, EfficientNetTrunk):
        return NetworkEmbedderWithDetails(name, net, fingerprint, device, path, head, net.trunk)
    return NetworkEmbedder(name, net, fingerprint, device, path)
