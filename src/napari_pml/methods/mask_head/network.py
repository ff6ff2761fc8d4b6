"""The mask head: one small network that turns what is known of a frame into masks.

It unites the dynamic segmentation head of FEELVOS (Voigtlaender et al., CVPR 2019), which follows an object from frame
to frame, with a network for interactive segmentation (RITM, Sofiiuk et al., ICIP 2022): the frame is embedded once, and
then the same weights serve every stroke, every object and every frame (as in MA-Net, Miao et al., CVPR 2020).
"""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

from napari_pml.embedding.networks.details import CONTEXT, DETAIL, MASK_HEAD, DetailLayers, FrameFeatures
from napari_pml.embedding.networks.steady import Conv2d
from napari_pml.embedding.protocol import DetailedEmbedder
from napari_pml.embedding.weights import load_weights
from napari_pml.errors import WeightsError

OUTPUT_STRIDE = 2
"""Side of a cell of the logits in pixels."""

MATCHED = 32
"""Length of the embeddings that are matched."""

WIDE, MIDDLE, NARROW = 128, 64, 32
"""Channels of the head at strides 16, 8 and 4."""

N_COARSE_MAPS, N_FINE_MAPS = 14, 4
"""Maps of evidence an object has at stride 8 and at stride 4, see `evidence.Evidence`."""


class Residual(nn.Module):
    """A depthwise convolution, then pointwise ones; what comes out is added to what went in."""

    def __init__(self, width: int, kernel: int, expansion: int = 1):
        super().__init__()
        self.depthwise = Conv2d(width, width, kernel, padding=kernel // 2, groups=width)
        self.expand = Conv2d(width, width * expansion, 1) if expansion > 1 else None
        self.project = Conv2d(width * expansion, width, 1)
        nn.init.zeros_(self.project.weight)
        nn.init.zeros_(self.project.bias)  # type: ignore[arg-type]  # it has one

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (B, width, h, w) to the same shape."""
        y = self.depthwise(x)
        if self.expand is not None:
            y = self.expand(y)
        out: torch.Tensor = x + self.project(F.relu(y))
        return out


class MaskHead(nn.Module):
    """Scores objects, each for itself by the same weights, against everything else."""

    name = Path(MASK_HEAD).stem

    def __init__(self, dim: int):
        """Build an untrained head for embeddings of length `dim`."""
        super().__init__()
        self.dim = dim
        self.layers = DetailLayers()
        self.matched = nn.Linear(dim, MATCHED)
        n_coarse = dim + CONTEXT
        self.frame16 = Conv2d(n_coarse, WIDE, 1)
        self.maps16 = Conv2d(N_COARSE_MAPS, WIDE, 1)
        self.blocks16 = nn.Sequential(*(Residual(WIDE, 7, 2) for _ in range(6)))
        self.frame8 = Conv2d(n_coarse, MIDDLE, 1)
        self.maps8 = Conv2d(N_COARSE_MAPS, MIDDLE, 1)
        self.up8 = Conv2d(WIDE, MIDDLE, 1)
        self.blocks8 = nn.Sequential(*(Residual(MIDDLE, 5) for _ in range(4)))
        self.frame4 = Conv2d(DETAIL, NARROW, 1)
        self.maps4 = Conv2d(N_FINE_MAPS, NARROW, 3, padding=1)
        self.up4 = Conv2d(MIDDLE, NARROW, 1)
        self.blocks4 = nn.Sequential(*(Residual(NARROW, 3) for _ in range(3)))
        self.logit = Conv2d(NARROW, 4, 1)
        nn.init.orthogonal_(self.matched.weight, gain=2.0)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stub

    def forward(self, features: FrameFeatures, coarse: torch.Tensor, fine: torch.Tensor) -> torch.Tensor:
        """Score N objects of one frame.

        Args:
            features: of the frame.
            coarse: (N, N_COARSE_MAPS, h, w) evidence at stride 8.
            fine: (N, N_FINE_MAPS, 2 h, 2 w) evidence at stride 4.

        Returns:
            (N, 4 h, 4 w) logits in cells of 2 pixels: above 0 the object is likelier than everything else.
        """
        h, w = coarse.shape[-2:]
        frame = torch.cat([features.embeddings, features.context])[None]
        frame, coarse, fine = (x.contiguous(memory_format=torch.channels_last) for x in (frame, coarse, fine))
        x = self.frame16(_halved(frame)) + self.maps16(_halved(coarse))
        x = self.blocks16(F.relu(x))
        x = self.frame8(frame) + self.maps8(coarse) + _doubled(self.up8(x))[..., :h, :w]
        x = self.blocks8(F.relu(x))
        x = self.frame4(features.detail[None]) + self.maps4(fine) + _doubled(self.up4(x))
        x = self.blocks4(F.relu(x))
        logits: torch.Tensor = F.pixel_shuffle(self.logit(F.relu(x)), 2)[:, 0]
        return logits


def load_mask_head(embedder: DetailedEmbedder) -> MaskHead:
    """Return the mask head of an embedder, on its device.

    Raises:
        WeightsError: it is damaged.
    """
    state, _ = load_weights(embedder.head, MaskHead.name)
    net = MaskHead(embedder.dim)
    try:
        net.load_state_dict(state)
    except RuntimeError as error:
        raise WeightsError(f"{embedder.head} does not fit the mask head: {error} Train it again.") from error
    return net.to(embedder.device).eval()


def scores_of(logits: torch.Tensor) -> torch.Tensor:
    """Turn the logits of N objects, (N, ...), into scores of N + 1 labels, background first, whose sum is 1."""
    return torch.cat([torch.zeros_like(logits[:1]), logits]).softmax(0)


def _halved(x: torch.Tensor) -> torch.Tensor:
    return F.avg_pool2d(x, 2, ceil_mode=True)


def _doubled(x: torch.Tensor) -> torch.Tensor:
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
