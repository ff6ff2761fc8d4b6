"""One-shot learning of OSVOS: a network trained on random views of a few annotated frames (section 3.2)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
import torch.nn.functional as F

from napari_pml.embedding.networks.side_network import SideNetwork, class_balanced_cross_entropy
from napari_pml.grid import grid_shape, pixel_counts
from napari_pml.methods.osvos.views import random_view
from napari_pml.types import BACKGROUND, Labels

BRANCH_FACTOR = 10.0
"""Learning rate of the branches, relative to that of the trunk."""

PATIENCE = 30
"""Learning ends when the mean loss over this many steps is not below that of as many before, ..."""

GAIN = 0.95
"""... by at least this factor."""

BALANCE = 0.5
"""Of the loss. With the paper's 1 objects become too fat: where it is in doubt, the network then takes what is rare."""

SEED = 0
"""Of all views."""


class FineTuning(Iterator[float]):
    """Learns in place, one step at a time, and ends when nothing is gained any more; yields the loss of each step.

    Attributes:
        net: as it is so far.
        done: steps taken.
    """

    def __init__(
        self,
        net: SideNetwork,
        ids: Sequence[int],
        frames: Sequence[tuple[torch.Tensor, Labels]],
        side: int,
        steps: int,
        learning_rate: float,
    ) -> None:
        """Begin.

        Args:
            net: with an output for each object.
            ids: of these objects.
            frames: annotated frames as from `reduced`, (3, h, w), each with its (H, W) annotation in which background
                is explicit.
            side: by which they were reduced.
            steps: maximum number, one view of one frame each.
            learning_rate: of the trunk.
        """
        self.net = net.train()
        self.steps, self.done = steps, 0
        self._ids, self._frames, self._side = (BACKGROUND, *ids), frames, side
        for part in net.trunk.early_layers():
            part.requires_grad_(False)
        branches = [*net.sides.parameters(), *net.fuse.parameters()]
        self._optimizer = torch.optim.Adam(
            [
                {"params": [p for p in net.trunk.parameters() if p.requires_grad], "lr": learning_rate},
                {"params": branches, "lr": BRANCH_FACTOR * learning_rate},
            ]
        )
        self._rng = np.random.default_rng(SEED)
        self._losses: list[float] = []

    def __next__(self) -> float:
        if self.done == self.steps or self._levelled_off():
            raise StopIteration
        seen, shares = self._view(*self._frames[self.done % len(self._frames)])
        self._optimizer.zero_grad(set_to_none=True)
        logits = self.net(seen[None].contiguous(memory_format=torch.channels_last))[0]
        loss = class_balanced_cross_entropy(logits, F.avg_pool2d(shares, SideNetwork.stride), BALANCE)
        loss.backward()
        self._optimizer.step()
        self.done += 1
        self._losses.append(loss.item())
        return self._losses[-1]

    def _view(self, frame: torch.Tensor, labels: Labels) -> tuple[torch.Tensor, torch.Tensor]:
        """Return a random view of a frame, (3, h, w), and the share of each label in each pixel, (O + 1, h, w)."""
        h, w = grid_shape(labels.shape[0], labels.shape[1], self._side)
        shares = (pixel_counts(labels, self._ids, self._side) / self._side**2).T.reshape(-1, h, w)
        shares = F.pad(shares, (0, frame.shape[2] - w, 0, frame.shape[1] - h))
        device = next(self.net.parameters()).device
        return random_view(self._rng, frame.to(device), shares.to(device), (frame.shape[1], frame.shape[2]))

    def _levelled_off(self) -> bool:
        if self.done < 2 * PATIENCE:
            return False
        before, last = self._losses[-2 * PATIENCE : -PATIENCE], self._losses[-PATIENCE:]
        return sum(last) > GAIN * sum(before)
