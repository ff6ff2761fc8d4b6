"""Training of the embedder: embed clips, ask each anchor for its neighbours, make the answer right."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from napari_pml.embedding.networks.compact import CompactNet, trained_trunk
from napari_pml.embedding.weights import bundled, digest, load_weights
from napari_pml.training.clips import Clip, ClipSampler, sample_anchors
from napari_pml.training.loop import LoopConfig, StepReport, Training, run
from napari_pml.training.losses import (
    modified_triplet_loss,
    soft_nearest_neighbour_loss,
    squared_distances,
    standard_triplet_loss,
)
from napari_pml.training.material import content_of, find_annotated_clips

LOSSES = ("standard_triplet", "modified_triplet", "soft_nearest_neighbour")
"""Names of the losses: fields of `TrainConfig`, keys of `StepReport.losses`, columns of the log."""

TYPICAL_CLIPS = 16
"""Clips over whose frames principal components are taken."""


@dataclass(frozen=True)
class TrainConfig(LoopConfig):
    """How the embedder is trained. The trunk has the learning rate of `LoopConfig`.

    Attributes:
        clips_per_step: clips of three frames averaged in one step.
        height: of the training crop, in pixels.
        width: of the training crop, in pixels.
        anchors: per clip (PML section 3.4: 256).
        standard_triplet: weight of the standard triplet loss (PML equation 1); a loss of weight 0 is not computed.
        modified_triplet: weight of the modified triplet loss (PML equation 2).
        soft_nearest_neighbour: weight of the soft nearest-neighbour loss.
        margin: alpha of both triplet losses; not given in the paper, 0.7 is a reimplementation's on unit embeddings.
        temperature: of the soft nearest-neighbour loss.
        head_factor: the head learns this much faster than the trunk.
        near: share of clips whose frames are near in time.
        composed: share of clips over which an object of another video moves.
        twins: share of clips on which an object has a twin to be told from.
    """

    clips_per_step: int = 2
    height: int = 240
    width: int = 320
    anchors: int = 256
    standard_triplet: float = 0.0
    modified_triplet: float = 1.0
    soft_nearest_neighbour: float = 1.0
    margin: float = 0.7
    temperature: float = 0.07
    head_factor: float = 5.0
    near: float = 0.3
    composed: float = 0.3
    twins: float = 0.2


def initial_network(start: Path | None, sampler: ClipSampler) -> CompactNet:
    """Return the network that training starts from.

    Args:
        start: a network that was trained before, or a trunk, see `trained_trunk`, which gets a head that starts from
            the principal components of some clips. None is the bundled network.
        sampler: of those clips.

    Raises:
        WeightsError: `start` is missing or does not fit.
    """
    path = start or bundled(CompactNet.name)
    if any(name.startswith("head.") for name in load_weights(path)[0]):
        return CompactNet.from_file(path)[0]
    net = CompactNet(trained_trunk(path))
    net.start_from_principal_components(_typical_frames(sampler))
    return net


def _typical_frames(sampler: ClipSampler) -> torch.Tensor:
    return torch.cat([sampler[n].frames for n in range(TYPICAL_CLIPS)])


class Trainer(Training):
    """The embedder on its way."""

    config: TrainConfig
    net: CompactNet

    def __init__(self, data: Sequence[Path], start: Path | None, config: TrainConfig, device: torch.device):
        """Begin at step 0, see `run_training`."""
        torch.manual_seed(config.seed)
        self.sampler = ClipSampler(
            [find_annotated_clips(folder) for folder in data],
            (config.height, config.width),
            CompactNet.stride,
            config.seed,
            near=config.near,
            composed=config.composed,
            twins=config.twins,
        )
        net = initial_network(start, self.sampler).to(device)
        net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stub
        # Edges and colours are as good as they get, and a third of the work of a step.
        for part in net.trunk.early_layers():
            part.requires_grad_(False)
        about = {"content": content_of(data), "start": digest(start) if start else "bundled"}
        super().__init__(data, config, net, {net.trunk: 1.0, net.head: config.head_factor}, **about)

    def add_gradients(self) -> dict[str, float]:
        """Add up the gradients of some clips, see `Training`."""
        config = self.config
        means = dict.fromkeys((name for name in LOSSES if getattr(config, name) > 0), 0.0)
        for i in range(config.clips_per_step):
            losses = self.losses(self.sampler[self.step * config.clips_per_step + i])
            total = torch.stack([getattr(config, name) * loss for name, loss in losses.items()]).sum()
            (total / config.clips_per_step).backward()
            for name, loss in losses.items():
                means[name] += loss.item() / config.clips_per_step
        return means

    def losses(self, clip: Clip) -> dict[str, torch.Tensor]:
        """Return those losses of one clip whose weight is above 0, as scalars, before weighting."""
        frames = clip.frames.to(self.device, memory_format=torch.channels_last)
        autocast = torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda")
        with autocast:
            embeddings = self.net(frames, clip.t.to(self.device), clip.place.to(self.device))
        embeddings = embeddings.float().permute(0, 2, 3, 1).flatten(1, 2)
        anchors = sample_anchors(clip.shares, self.config.anchors, self.generator)
        shares = clip.shares.to(self.device)
        distances = squared_distances(embeddings[0, anchors.to(self.device)], embeddings[1:].flatten(0, 1))
        labels = shares[0, anchors.to(self.device)], shares[1:].flatten(0, 1)
        losses = {}
        if self.config.standard_triplet > 0:
            losses["standard_triplet"] = standard_triplet_loss(distances, *labels, self.config.margin)
        if self.config.modified_triplet > 0:
            losses["modified_triplet"] = modified_triplet_loss(distances, *labels, self.config.margin)
        if self.config.soft_nearest_neighbour > 0:
            losses["soft_nearest_neighbour"] = soft_nearest_neighbour_loss(distances, *labels, self.config.temperature)
        return losses


def run_training(
    data: Sequence[Path], out: Path, config: TrainConfig, start: Path | None, device: torch.device
) -> Iterator[StepReport]:
    """Train an embedder in a folder, see `run`; its weights become `compact.safetensors`.

    Args:
        data: folders of videos or stills with masks, see `find_annotated_clips`; all have the same share of the clips.
        out: folder of the run; made if it does not exist.
        config: how to train.
        start: weights to start from, a whole network or a trunk, see `initial_network`; None is the bundled network.
        device: where to train.

    Raises:
        DatasetError: a folder is not laid out as expected, or a file in it is damaged.
        WeightsError: `start` or the checkpoint does not fit, or other weights in `out` would be lost.
    """
    yield from run(Trainer(data, start, config, device), out, CompactNet.name)
