"""Vision transformers as embedders: their patch tokens, brought to the grid along the edges of the image."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors import SafetensorError

from napari_pml.embedding.weights import digest
from napari_pml.errors import WeightsError
from napari_pml.grid import grid_shape, pad_to_cells

NEARNESS = 0.6
"""In patches: how far a token has a say, as the standard deviation of a Gaussian."""

ALIKENESS = 0.08
"""In intensity: how different in colour a token may be and still have a say, likewise."""

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of the images that the networks were trained with."""


class FoundationEmbedder:
    """DINOv2 (Oquab et al., 2023), DINOv3 (Simeoni et al., 2025), or a network with the same interface.

    Neither place nor time is seen by it apart from the network's own positional encoding.
    """

    stride = 8
    weights: Path | None = None

    def __init__(self, name: str, folder: Path, device: torch.device):
        """Read a network in the format of transformers.

        Args:
            name: as shown to people.
            folder: with config.json and model.safetensors.
            device: where it runs.

        Raises:
            WeightsError: transformers is not installed, or there is no usable network in `folder`.
        """
        try:
            from transformers import AutoModel
        except ImportError as error:
            raise WeightsError(f"{name} needs transformers: pip install 'napari-pml[foundation]'.") from error
        weights = folder / "model.safetensors"
        try:
            self._net: Any = AutoModel.from_pretrained(folder, local_files_only=True, use_safetensors=True)
            self._patch, self.dim = int(self._net.config.patch_size), int(self._net.config.hidden_size)
        except (SafetensorError, OSError, ValueError, KeyError, AttributeError, RuntimeError) as error:
            raise WeightsError(
                f"{folder} holds no vision transformer that transformers can read ({error}). It needs config.json and "
                "model.safetensors of the same network."
            ) from error
        self.name, self.fingerprint = name, f"{name}-{digest(weights)}"
        self.to(device)

    def to(self, device: torch.device) -> None:
        """Move to another device."""
        self.device = device
        self._net.to(device).eval()

    @torch.inference_mode()
    def embed(self, frames: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        """Embed frames, see `Embedder.embed`; `t` is not seen."""
        frames = frames.to(self.device)
        padded = pad_to_cells(frames, self._patch)
        mean, std = (torch.tensor(x, device=self.device).view(3, 1, 1) for x in (MEAN, STD))
        with torch.autocast(self.device.type, torch.float16, enabled=self.device.type == "cuda"):
            states = self._net(pixel_values=(padded - mean) / std).last_hidden_state.float()
        h, w = padded.shape[-2] // self._patch, padded.shape[-1] // self._patch
        tokens = F.normalize(states[:, -h * w :].mT, dim=1).unflatten(2, (h, w))  # what comes before is no patch
        return F.normalize(to_grid(tokens, frames, self._patch, self.stride), dim=1)


def to_grid(tokens: torch.Tensor, frames: torch.Tensor, patch: int, stride: int) -> torch.Tensor:
    """Bring the tokens of patches to finer cells, each a mean of the tokens near it (Kopf et al., 2007).

    Tokens count the more, the nearer they are and the more alike their patch is to the cell in colour, so that the
    boundaries of objects are not blurred over a whole patch.

    Args:
        tokens: (B, D, h', w') of patches whose first begins at the corner of the frame.
        frames: (B, 3, H, W) in 0..1.
        patch: side of a patch in pixels.
        stride: side of a cell in pixels.

    Returns:
        (B, D, h, w), h = ceil(H / stride).
    """
    rows, columns = tokens.shape[-2:]
    h, w = grid_shape(frames.shape[-2], frames.shape[-1], stride)
    colours = F.avg_pool2d(pad_to_cells(frames, stride), stride)
    patches = F.avg_pool2d(pad_to_cells(frames, patch), patch)
    y, x = ((torch.arange(n, device=tokens.device) * stride + (stride - patch) / 2) / patch for n in (h, w))
    logits, places = [], []
    for dy, dx in product((-1, 0, 1), repeat=2):
        row, column = y.round().long() + dy, x.round().long() + dx
        exists = ((row >= 0) & (row < rows))[:, None] & ((column >= 0) & (column < columns))
        place = row.clamp(0, rows - 1)[:, None], column.clamp(0, columns - 1)
        distance = (y - row)[:, None] ** 2 + (x - column) ** 2
        difference = (colours - patches[:, :, *place]).square().sum(1)
        logit = -distance / (2 * NEARNESS**2) - difference / (2 * ALIKENESS**2)
        logits.append(logit.masked_fill(~exists, -torch.inf))
        places.append(place)
    result = tokens.new_zeros(*tokens.shape[:2], h, w)
    for weight, place in zip(torch.stack(logits).softmax(0), places, strict=True):
        result += weight[:, None] * tokens[:, :, *place]
    return result
