"""What an embedder is, which ones there are, and where they run."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch

from napari_pml.disk.untrusted import exists
from napari_pml.embedding.catalogue import CATALOGUE, find
from napari_pml.embedding.details import MASK_HEAD, N_DETAILS, load_detail_layers
from napari_pml.embedding.enlarged import Enlarged
from napari_pml.embedding.networks.compact import CompactNet, photographs, trained_trunk
from napari_pml.embedding.networks.efficientnet import EfficientNetTrunk
from napari_pml.embedding.networks.foundation import FoundationEmbedder
from napari_pml.embedding.weights import bundled, digest
from napari_pml.errors import DeviceError, WeightsError
from napari_pml.grid import pad_to_cells

DEEPLAB = "deeplab-resnet101"
"""The paper's network, but for the training of its head."""


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
        details_fingerprint: changes whenever the details would.
    """

    head: Path
    details_fingerprint: str

    def embed_with_details(self, frames: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        """Embed frames, see `embed`, and put the details behind the embeddings: (B, D + N_DETAILS, h, w) float32."""
        ...


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


def n_channels(embedder: Embedder) -> int:
    """Return how many numbers are kept of a cell: the length of its embedding, and of its details if there are any."""
    return embedder.dim + (N_DETAILS if isinstance(embedder, DetailedEmbedder) else 0)


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


def _compact(device: torch.device) -> Embedder:
    return network_embedder(CompactNet.name, bundled(CompactNet.name), device)


def _deeplab(device: torch.device) -> Embedder:
    """Return the paper's trunk as published; its head begins with the principal components of a few photographs."""
    (path,) = find(DEEPLAB)
    net = CompactNet(trained_trunk(path))
    net.start_from_principal_components(photographs())
    return NetworkEmbedder(DEEPLAB, net, f"{DEEPLAB}-{digest(path)}", device)


def _foundation(name: str, device: torch.device) -> Embedder:
    config, _ = find(name)
    return FoundationEmbedder(name, config.parent, device)


EMBEDDERS: dict[str, Callable[[torch.device], Embedder]] = {
    CompactNet.name: _compact,
    DEEPLAB: _deeplab,
    **{name: partial(_foundation, name) for name in CATALOGUE if name != DEEPLAB},
}
"""Every embedder by its name; all but the first have to be downloaded, see `catalogue`."""

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""Parameters of glibc's mallopt: how much free memory is kept, and from what size on memory is never kept."""

ENLARGEMENTS = {"2x": 2, "4x": 4}
"""What may stand behind the @ of an embedder's name."""


def load_embedder(name: str, device: torch.device) -> Embedder:
    """Return the embedder of that name, or the one in a file or folder.

    Args:
        name: a key of `EMBEDDERS`; the path of weights that `napari-pml train` wrote (.safetensors); or of a folder
            with a vision transformer in the format of transformers (config.json, model.safetensors). With "@2x" or
            "@4x" behind it, frames are enlarged first, see `Enlarged`.
        device: where it shall run.

    Raises:
        WeightsError: there is no such embedder, it is not on this computer, or cannot be read.
    """
    _reuse_memory()
    whole, at, factor = name.rpartition("@")
    if at and factor in ENLARGEMENTS:
        embedder = load_embedder(whole, device)
        if isinstance(embedder, Enlarged):
            raise WeightsError(f"{name} would enlarge frames twice. Give one of @{', @'.join(ENLARGEMENTS)}.")
        return Enlarged(embedder, ENLARGEMENTS[factor])
    if name in EMBEDDERS:
        return EMBEDDERS[name](device)
    path = Path(name).absolute()  # a project has to find it again from any folder
    if path.suffix == ".safetensors":
        return network_embedder(str(path), path, device)
    if exists(path / "config.json"):
        return FoundationEmbedder(str(path), path, device)
    raise WeightsError(
        f"There is no embedder {name!r}. Choose one of {', '.join(EMBEDDERS)}, or give the path of a .safetensors file "
        "or of a folder with config.json and model.safetensors."
    )


def _reuse_memory() -> None:
    """On Linux, keep features' memory from frame to frame, where asking for it anew takes a third of a frame's time."""
    # PyTorch looks at this variable once, when it first needs a lot of memory: in large pages, what is needed anew is
    # at hand sooner.
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "mallopt"):
        libc.mallopt(M_MMAP_THRESHOLD, 64 * 1024**2)  # the largest features of a 480p frame take 40 MB
        libc.mallopt(M_TRIM_THRESHOLD, 256 * 1024**2)


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
