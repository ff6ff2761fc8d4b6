"""Training the parent network of OSVOS: what is an object, and where are its outlines (sections 3.2 and 3.3)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from napari_pml.embedding.networks.compact import CompactNet
from napari_pml.embedding.networks.efficientnet import PUBLISHED_STEM, fold_batch_norm
from napari_pml.embedding.networks.side_network import (
    CONTOUR,
    OBJECT,
    SIDE_WIDTH,
    SideNetwork,
    brought_up,
    class_balanced_cross_entropy,
)
from napari_pml.embedding.weights import bundled, digest, load_weights
from napari_pml.errors import DatasetError, WeightsError
from napari_pml.methods.osvos.views import random_view
from napari_pml.training.augment import photometric
from napari_pml.training.loop import LoopConfig, StepReport, Training, run
from napari_pml.training.material import content_of, find_annotated_clips

SCALE = 0.75, 2.0
"""Of the views: the paper's 0.75 to 1.25, and beyond it, because videos may show their objects larger."""

MAX_TRIES = 100
"""Random frames that are looked at in search of one with an object."""


@dataclass(frozen=True)
class OsvosTrainConfig(LoopConfig):
    """How the parent network is trained. The trunk has the learning rate of `LoopConfig`.

    Attributes:
        frames_per_step: annotated frames averaged in one step.
        height: of a view, in pixels, a multiple of 16.
        width: of a view, in pixels, a multiple of 16.
        side_factor: the branches learn this much faster than the trunk.
    """

    steps: int = 5000
    weight_decay: float = 2e-4
    frames_per_step: int = 2
    height: int = 240
    width: int = 384
    side_factor: float = 10.0


class Parent(nn.Module):
    """A network on its way, and what each of its sides says alone, which is needed for training only."""

    def __init__(self, net: SideNetwork):
        super().__init__()
        self.net = net
        self.side_fuse = nn.ModuleList(nn.Conv2d(SIDE_WIDTH, 2, 1) for _ in net.sides)


class OsvosTraining(Training):
    """The parent network on its way."""

    config: OsvosTrainConfig
    net: Parent
    average: Parent

    def __init__(self, data: Sequence[Path], start: Path | None, config: OsvosTrainConfig, device: torch.device):
        """Begin at step 0, see `train_osvos`."""
        self.folders = [find_annotated_clips(folder) for folder in data]
        torch.manual_seed(config.seed)
        parent = Parent(initial_parent(start)).to(device)
        parent.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stub
        net = parent.net
        for part in net.trunk.early_layers():  # edges and colours are as good as they get
            part.requires_grad_(False)
        factors: dict[nn.Module, float] = {net.trunk: 1.0}
        factors |= dict.fromkeys((net.sides, net.fuse, parent.side_fuse), config.side_factor)
        about = {"content": content_of(data), "start": digest(start) if start else "bundled"}
        super().__init__(data, config, parent, factors, **about)

    @property
    def weights(self) -> dict[str, torch.Tensor]:
        """Those of the network alone, see `Training`."""
        return self.average.net.state_dict()

    def add_gradients(self) -> dict[str, float]:
        """Add up the gradients of some views, see `Training`."""
        config, means = self.config, {"objects": 0.0, "contours": 0.0, "sides": 0.0}
        for i in range(config.frames_per_step):
            losses = self.losses(self.step * config.frames_per_step + i)
            side_weight = 1 - self.step / config.steps  # fades out: in the end the fused output alone counts
            total = losses["objects"] + losses["contours"] + side_weight * losses["sides"]
            (total / config.frames_per_step).backward()
            for name, loss in losses.items():
                means[name] += loss.item() / config.frames_per_step
        return means

    def losses(self, number: int) -> dict[str, torch.Tensor]:
        """Return the losses of one view: of the fused output, objects and contours, and the mean of the sides'."""
        frame, objects, contours = self.view(number)
        net = self.net.net
        branches = net.branches(frame[None].to(self.device, memory_format=torch.channels_last))
        targets = objects.to(self.device), contours.to(self.device)

        def both(logits: torch.Tensor) -> list[torch.Tensor]:
            return [
                class_balanced_cross_entropy(logits[0, i, None], shares)
                for i, shares in zip((OBJECT, CONTOUR), targets, strict=True)
            ]

        fused = brought_up([fuse(x) for fuse, x in zip(net.fuse, branches, strict=True)])
        object_loss, contour_loss = both(torch.stack(fused).sum(0))
        alone = brought_up([fuse(x) for fuse, x in zip(self.net.side_fuse, branches, strict=True)])
        sides = torch.stack([sum(both(side), torch.zeros((), device=self.device)) for side in alone]).mean()
        return {"objects": object_loss, "contours": contour_loss, "sides": sides}

    def view(self, number: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Make view `number`, the same whichever were made before.

        Returns:
            (3, H, W) frame, and the shares of (not object, object) and of (not contour, contour) in cells of stride 2,
            both (2, H / 2, W / 2).

        Raises:
            DatasetError: no object is to be found, or a file is damaged.
        """
        rng = np.random.default_rng([self.config.seed, number])
        for _ in range(MAX_TRIES):
            folder = self.folders[int(rng.integers(len(self.folders)))]
            annotated = folder[int(rng.integers(len(folder)))]
            stored, scale, labels = annotated.read(int(rng.integers(len(annotated.images))))
            frame = torch.from_numpy(scale.to_rgb(stored)).permute(2, 0, 1)
            is_object = torch.from_numpy(labels != 0).float()
            shares = torch.stack([1 - is_object, is_object])
            seen, shares = random_view(rng, frame, shares, (self.config.height, self.config.width), SCALE)
            if shares[1].sum() >= 1:
                contours = contour_shares(shares, seen)
                return photometric(rng, seen[None])[0], F.avg_pool2d(shares, 2), F.avg_pool2d(contours, 2)
        raise DatasetError(f"In {MAX_TRIES} random frames there was no object. Are the masks empty?")


def contour_shares(shares: torch.Tensor, frame: torch.Tensor) -> torch.Tensor:
    """Return where the contours of annotated objects are, and where there are surely none.

    Nobody has said where the contours of other things are. But where the image has no edge there is none: outside of
    the objects that half of the frame whose surroundings are flattest counts as free of contours, the rest as unknown.

    Args:
        shares: (2, H, W) share of background and of objects in each pixel.
        frame: (3, H, W) RGB in 0..1.

    Returns:
        (2, H, W), 1 for pixels without contour; and for the two pixels along the border of an object.
    """
    is_object, is_known = shares[1] > 0.5, shares.sum(0) > 0.99
    border = (_highest(is_object.float(), 3) != -_highest(-is_object.float(), 3)) & is_known
    grey = F.pad(frame.mean(0)[None], (0, 1, 0, 1), mode="replicate")[0]
    steps = (grey[1:, :-1] - grey[:-1, :-1]).abs() + (grey[:-1, 1:] - grey[:-1, :-1]).abs()
    edge = _highest(steps, 5)
    is_free = (is_object | (edge <= edge.median())) & is_known & ~border
    return torch.stack([is_free, border]).float()


def _highest(x: torch.Tensor, side: int) -> torch.Tensor:
    """Return the highest of (H, W) values in the square around each."""
    return F.max_pool2d(x[None], side, 1, side // 2)[0]


def initial_parent(start: Path | None) -> SideNetwork:
    """Return the network that training starts from.

    Args:
        start: a parent network that was trained before, or EfficientNet-B0 as published, stem and blocks 0 to 10,
            which gets new branches. None is the bundled network.

    Raises:
        WeightsError: `start` is missing or does not fit.
    """
    if start is None:
        return SideNetwork.from_file()[0]
    state, _ = load_weights(start)
    if PUBLISHED_STEM not in state:
        return SideNetwork.from_file(start)[0]
    net = SideNetwork()
    try:
        net.trunk.load_state_dict(fold_batch_norm(state))
    except (KeyError, RuntimeError) as error:
        raise WeightsError(f"{start} is not EfficientNet-B0, stem and blocks 0 to 10: {error}") from error
    return net


def train_osvos(
    data: Sequence[Path], out: Path, config: OsvosTrainConfig, start: Path | None, device: torch.device
) -> Iterator[StepReport]:
    """Train a parent network in a folder, see `run`; its weights become `osvos.safetensors`.

    The bundled embedder is copied to the same folder, so that it can be named: OSVOS begins from what lies beside it.

    Args:
        data: folders of videos or stills with masks, see `find_annotated_clips`; all have the same share of the frames.
        out: folder of the run; made if it does not exist.
        config: how to train.
        start: weights to start from, see `initial_parent`.
        device: where to train.

    Raises:
        DatasetError: a folder is not laid out as expected, or a file in it is damaged.
        WeightsError: `start` or the checkpoint does not fit, or other weights in `out` would be lost.
    """
    yield from run(OsvosTraining(data, start, config, device), out, SideNetwork.name, bundled(CompactNet.name))
