"""What the mask head sees of a frame beside its embedding: computed once a frame, whatever is annotated."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

from napari_pml.embedding.networks.efficientnet import EfficientNetTrunk
from napari_pml.embedding.networks.steady import Conv2d
from napari_pml.embedding.weights import about_weights, load_weights
from napari_pml.errors import WeightsError

MASK_HEAD = "mask-head.safetensors"
"""Name of the file with the weights of a mask head, beside those of its embedder; the layers here are among them."""

CONTEXT, DETAIL = 32, 16
"""Channels at stride 8 and at stride 4."""

DETAIL_STRIDE = 4
"""Side of a cell of details, in pixels: half of that of embeddings."""

N_DETAILS = CONTEXT + 4 * DETAIL
"""Channels of both behind the embedding of a cell of 8 pixels: the details of its four quarters one after the other."""


@dataclass(frozen=True)
class FrameFeatures:
    """What is computed once for a frame, whatever is annotated.

    Attributes:
        embeddings: (D, h, w) float32, cells of 8 pixels.
        context: (CONTEXT, h, w) float32 likewise.
        detail: (DETAIL, 2 h, 2 w) float32, cells of 4 pixels.
    """

    embeddings: torch.Tensor
    context: torch.Tensor
    detail: torch.Tensor


class DetailLayers(nn.Module):
    """Reduces the features of an EfficientNet trunk to what the mask head looks at. They are trained with the head."""

    prefix = "layers."
    """Of the names of their parameters among those of the mask head."""

    def __init__(self) -> None:
        super().__init__()
        widths = EfficientNetTrunk.all_widths
        self.context = Conv2d(widths[2] + widths[3], CONTEXT, 1)
        # Cells of the trunk are centred on pixels 2 i + 1 and 4 i + 3, those of the grid on 4 i + 1.5. Kernels that
        # reach as far on both sides of that let training find the shift.
        self.detail = Conv2d(widths[1], DETAIL, 3, padding=1)
        self.edges = Conv2d(widths[0], DETAIL, 4, 2, padding=1)

    def forward(
        self, half: torch.Tensor, quarter: torch.Tensor, eighth: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Reduce features.

        Args:
            half: (B, C, 4 h, 4 w), stride 2.
            quarter: (B, C, 2 h, 2 w), stride 4.
            eighth: (B, C, h, w), those of strides 8 and 16 side by side at stride 8.

        Returns:
            (B, CONTEXT, h, w) and (B, DETAIL, 2 h, 2 w).
        """
        return self.context(eighth), self.detail(quarter) + self.edges(half)

    def packed(self, half: torch.Tensor, quarter: torch.Tensor, eighth: torch.Tensor) -> torch.Tensor:
        """Reduce features likewise, to (B, N_DETAILS, h, w), which `unpacked` divides again."""
        context, detail = self(half, quarter, eighth)
        return torch.cat([context, F.pixel_unshuffle(detail, 2)], 1)


def unpacked(cells: torch.Tensor) -> FrameFeatures:
    """Divide what an embedder makes of a frame.

    Args:
        cells: (h, w, D + N_DETAILS) float32.
    """
    parts = cells.permute(2, 0, 1).split([cells.shape[-1] - N_DETAILS, CONTEXT, 4 * DETAIL])
    return FrameFeatures(parts[0], parts[1], F.pixel_shuffle(parts[2][None], 2)[0])


def load_detail_layers(path: Path, trained_on: str) -> tuple[DetailLayers, str]:
    """Read the layers for details from the weights of a mask head.

    Args:
        path: of the weights.
        trained_on: fingerprint of the embedder that they must belong to.

    Returns:
        The layers, and a fingerprint of them.

    Raises:
        WeightsError: damaged, or trained on another embedder.
    """
    state, fingerprint = load_weights(path, path.stem)
    if (embedder := about_weights(path).get("embedder")) != trained_on:
        raise WeightsError(
            f"{path} was trained on embeddings of {embedder}, not of {trained_on}. Train it again, or move it away to "
            "work without it."
        )
    layers = DetailLayers()
    prefix = DetailLayers.prefix
    try:
        layers.load_state_dict({k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)})
    except RuntimeError as error:
        raise WeightsError(f"{path} does not fit the layers for details: {error} Train it again.") from error
    return layers, fingerprint
