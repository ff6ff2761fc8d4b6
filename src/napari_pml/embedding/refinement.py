"""From votes to outlines: a small network that sees the votes of one object beside the image."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

CELLS = 4
"""Height and width of the votes must be multiples of so many cells: the network halves them twice."""

N_EVIDENCE = 3
"""Maps of each object, see `Scores.evidence`."""

EDGE_OF_DOUBT = 0.02
"""Shares of the votes are taken to lie between this and 1 less this: unanimous neighbours may be wrong together."""


class RefinementNet(nn.Module):
    """Says where an object is, at half the stride, from the votes for it and from the image.

    A U-net over the grid of cells, run for each object by itself with the same weights, so that any number of objects
    can be refined, whatever they are (as the dynamic segmentation head of FEELVOS, Voigtlaender et al., CVPR 2019,
    section 3.4). It sees votes and never embeddings, so that it may stand behind any embedder of stride 8. What it
    finds is added to the logit of the votes: without training it leaves them as they are.
    """

    def __init__(self) -> None:
        super().__init__()
        self.image2, self.image4 = _half(3, 16), _half(16, 24)
        self.image8, self.image16 = _half(24, 32), _half(32, 48)
        self.down8, self.deep8 = _same(N_EVIDENCE + 32, 32), _same(32, 32)
        self.half16, self.down16 = _half(32, 48), _same(48 + 48, 48)
        self.half32, self.down32, self.deep32 = _half(48, 64), _same(64, 64), _same(64, 64)
        self.up16, self.up8, self.up4 = _same(64 + 48, 48), _same(48 + 32, 32), _same(32 + 24, 24)
        self.out = _same(24, 1)
        self.trust = nn.Parameter(torch.tensor(1.0))
        nn.init.zeros_(self.out.weight)

    def image(self, frame: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Compute what all objects share.

        Args:
            frame: (1, 3, H, W) RGB in 0..1, sides multiples of 32.

        Returns:
            features at strides 4, 8 and 16: (1, 24, H/4, W/4), (1, 32, H/8, W/8), (1, 48, H/16, W/16).
        """
        fine = F.relu(self.image4(F.relu(self.image2((frame - 0.45) / 0.25))))
        middle = F.relu(self.image8(fine))
        return fine, middle, F.relu(self.image16(middle))

    def forward(self, image: tuple[torch.Tensor, torch.Tensor, torch.Tensor], evidence: torch.Tensor) -> torch.Tensor:
        """Refine one object.

        Args:
            image: features of the frame, or of a part of it.
            evidence: (1, N_EVIDENCE, h, w), h and w multiples of `CELLS`.

        Returns:
            (1, 1, 2 h, 2 w) logits.
        """
        fine, middle, coarse = image
        x8 = F.relu(self.down8(torch.cat([evidence, middle], 1)))
        x8 = F.relu(self.deep8(x8)) + x8
        x16 = F.relu(self.down16(torch.cat([F.relu(self.half16(x8)), coarse], 1)))
        x32 = F.relu(self.half32(x16))
        x32 = F.relu(self.deep32(F.relu(self.down32(x32)))) + x32
        x = F.relu(self.up16(torch.cat([_twice(x32), x16], 1)))
        x = F.relu(self.up8(torch.cat([_twice(x), x8], 1)))
        x = F.relu(self.up4(torch.cat([_twice(x), fine], 1)))
        votes = evidence[:, :2].mean(1, keepdim=True).clamp(EDGE_OF_DOUBT, 1 - EDGE_OF_DOUBT)
        logits: torch.Tensor = self.out(x) + self.trust * _twice(votes.logit())
        return logits


def _half(n_in: int, n_out: int) -> nn.Conv2d:
    """A convolution of stride 2 whose outputs are centred between four inputs, as coarse cells are."""
    return nn.Conv2d(n_in, n_out, 4, stride=2, padding=1)


def _same(n_in: int, n_out: int) -> nn.Conv2d:
    return nn.Conv2d(n_in, n_out, 3, padding=1)


def _twice(x: torch.Tensor) -> torch.Tensor:
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
