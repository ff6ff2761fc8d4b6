"""The training loop: embed clips, ask each anchor for its neighbours, make the answer right."""

from __future__ import annotations

import copy
import csv
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Any, Protocol

import torch

from napari_pml.embedding.compact import CompactNet, trunk_with
from napari_pml.embedding.efficientnet import PUBLISHED_STEM, fold_batch_norm
from napari_pml.embedding.weights import bundled, load_weights, save_weights
from napari_pml.training.clips import Clip, ClipSampler, sample_anchors
from napari_pml.training.curve import plot_log
from napari_pml.training.losses import (
    modified_triplet_loss,
    soft_nearest_neighbour_loss,
    squared_distances,
    standard_triplet_loss,
)
from napari_pml.training.material import find_footage
from napari_pml.types import WeightsError

LOSSES = ("standard_triplet", "modified_triplet", "soft_nearest_neighbour")
"""Names of the losses: fields of `TrainConfig`, keys of `StepReport.losses`, columns of the log."""

TYPICAL_CLIPS = 16
"""Clips over whose frames principal components are taken."""

CHECKPOINT_EVERY = 100
"""Steps between checkpoints."""

LOG_EVERY = 10
"""Steps whose mean is one row of the log."""


@dataclass(frozen=True)
class TrainConfig:
    """How the embedder is trained.

    Attributes:
        steps: optimiser steps in all.
        clips_per_step: clips of three frames averaged in one step.
        height: of the training crop, in pixels.
        width: of the training crop, in pixels.
        anchors: per clip (PML section 3.4: 256).
        standard_triplet: weight of the standard triplet loss (PML equation 1); a loss of weight 0 is not computed.
        modified_triplet: weight of the modified triplet loss (PML equation 2).
        soft_nearest_neighbour: weight of the soft nearest-neighbour loss.
        margin: alpha of both triplet losses; not given in the paper, 0.7 is a reimplementation's on unit embeddings.
        temperature: of the soft nearest-neighbour loss.
        learning_rate: of the trunk, at its peak; rises over the first 100 steps, but at most over a tenth of all, then
            falls as (1 - step / steps) ** 0.9.
        head_factor: the head learns this much faster than the trunk.
        weight_decay: of AdamW.
        near: share of clips whose frames are near in time.
        composed: share of clips over which an object of another video moves.
        twins: share of clips on which an object has a twin to be told from.
        dim: D, the length to which embeddings are shortened in the end.
        average: decay of the running average of the weights, which is what is kept in the end.
        seed: of clips and anchors.
    """

    steps: int = 3000
    clips_per_step: int = 2
    height: int = 240
    width: int = 320
    anchors: int = 256
    standard_triplet: float = 0.0
    modified_triplet: float = 1.0
    soft_nearest_neighbour: float = 1.0
    margin: float = 0.7
    temperature: float = 0.07
    learning_rate: float = 1e-4
    head_factor: float = 5.0
    weight_decay: float = 1e-4
    near: float = 0.3
    composed: float = 0.3
    twins: float = 0.2
    dim: int = 64
    average: float = 0.998
    seed: int = 0


@dataclass(frozen=True)
class StepReport:
    """What one step showed.

    Attributes:
        step: its number, from 1.
        losses: name -> mean over the step's clips, before weighting.
        gradient_norm: before clipping.
    """

    step: int
    losses: dict[str, float]
    gradient_norm: float


def initial_network(start: Path | None, sampler: ClipSampler) -> CompactNet:
    """Return the network that training starts from.

    Args:
        start: a network that was trained before, or a trunk: EfficientNet-B0 as published, stem and blocks 0 to 10, or
            ResNet-18, conv1 to layer3, BatchNorm folded. A trunk gets a head that starts from the principal components
            of some clips. None is the bundled network.
        sampler: of those clips.

    Raises:
        WeightsError: `start` is missing or does not fit.
    """
    path = start or bundled(CompactNet.name)
    state, _ = load_weights(path)
    if any(name.startswith("head.") for name in state):
        return CompactNet.from_file(path)[0]
    try:
        state = fold_batch_norm(state) if PUBLISHED_STEM in state else state
        trunk = trunk_with(state)
        if trunk is None:
            raise KeyError("no trunk has parameters of these names")
        net = CompactNet(trunk)
        net.trunk.load_state_dict(state)
    except (KeyError, RuntimeError) as error:
        raise WeightsError(
            f"{path} holds neither a {CompactNet.name!r} network nor a trunk for it, EfficientNet-B0 (stem and blocks "
            f"0 to 10) or ResNet-18 (conv1 to layer3, BatchNorm folded): {error}"
        ) from error
    net.start_from_principal_components(_typical_frames(sampler))
    return net


def _typical_frames(sampler: ClipSampler) -> torch.Tensor:
    return torch.cat([sampler[n].frames for n in range(TYPICAL_CLIPS)])


@contextmanager
def denormals_flushed() -> Iterator[None]:
    """Take numbers next to 0 for 0 meanwhile: gradients of far neighbours vanish, and then slow a CPU down by half.

    Only meanwhile, because SciPy's search trees crash without such numbers.
    """
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


class Trainer:
    """A network on its way: everything that a checkpoint holds, and the step that changes it."""

    def __init__(self, data: Sequence[Path], start: Path | None, config: TrainConfig, device: torch.device):
        """Begin at step 0, see `run_training`."""
        self.config, self.device = config, device
        self.data = [folder.resolve().name for folder in data]
        torch.manual_seed(config.seed)
        self.sampler = ClipSampler(
            [find_footage(folder) for folder in data],
            (config.height, config.width),
            CompactNet.stride,
            config.seed,
            near=config.near,
            composed=config.composed,
            twins=config.twins,
        )
        self.net = initial_network(start, self.sampler).to(device)
        self.net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stub
        # Edges and colours are as good as they get, and a third of the work of a step.
        for part in self.net.trunk.early_layers():
            part.requires_grad_(False)
        self.average = copy.deepcopy(self.net).requires_grad_(False)
        self.generator = torch.Generator().manual_seed(config.seed)
        self.optimizer = torch.optim.AdamW(
            [
                {"params": self.net.trunk.parameters(), "factor": 1.0},
                {"params": self.net.head.parameters(), "factor": config.head_factor},
            ],
            weight_decay=config.weight_decay,
        )
        self.step = 0

    @denormals_flushed()
    def take_step(self) -> StepReport:
        """Change the weights once, by the mean gradient of some clips."""
        config = self.config
        warm_up = min(1.0, (self.step + 1) / min(100, config.steps / 10))
        rate = config.learning_rate * warm_up * (1 - self.step / config.steps) ** 0.9
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["factor"]
        means = dict.fromkeys((name for name in LOSSES if getattr(config, name) > 0), 0.0)
        self.optimizer.zero_grad(set_to_none=True)
        for i in range(config.clips_per_step):
            losses = self.losses(self.sampler[self.step * config.clips_per_step + i])
            total = torch.stack([getattr(config, name) * loss for name, loss in losses.items()]).sum()
            (total / config.clips_per_step).backward()
            for name, loss in losses.items():
                means[name] += loss.item() / config.clips_per_step
        norm = torch.nn.utils.clip_grad_norm_(self.net.parameters(), 5.0)
        if norm.isfinite():  # a step on a broken gradient would be kept for ever by the optimiser's averages
            self.optimizer.step()
        self.step += 1
        with torch.no_grad():
            weight = 1 - min(config.average, self.step / (self.step + 10))
            for kept, new in zip(self.average.parameters(), self.net.parameters(), strict=True):
                kept.lerp_(new, weight)
        return StepReport(self.step, means, norm.item())

    def losses(self, clip: Clip) -> dict[str, torch.Tensor]:
        """Return those losses of one clip whose weight is above 0, as scalars, before weighting."""
        frames = clip.frames.to(self.device, memory_format=torch.channels_last)
        autocast = torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda")
        with autocast:
            embeddings = self.net(frames, clip.t.to(self.device))
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

    def save(self, path: Path) -> None:
        """Write everything needed to go on, so that a killed process leaves the last complete checkpoint."""
        state = {
            "config": asdict(self.config),
            "data": self.data,
            "step": self.step,
            "net": self.net.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "generator": self.generator.get_state(),
        }
        partial = path.with_suffix(".partial")
        torch.save(state, partial)
        partial.replace(path)

    def resume(self, path: Path) -> None:
        """Go on from a checkpoint.

        Raises:
            WeightsError: it was written under another configuration (the number of steps included) or for other data.
        """
        state: dict[str, Any] = torch.load(path, map_location=self.device, weights_only=True)
        found, wanted = (state.get("data"), state["config"]), (self.data, asdict(self.config))
        if found != wanted:
            raise WeightsError(
                f"{path} was trained on {found}, not on {wanted}. "
                f"Use the same data and settings to go on, or another folder to start again."
            )
        self.net.load_state_dict(state["net"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.generator.set_state(state["generator"].cpu())
        self.step = state["step"]


def run_training(
    data: Sequence[Path], out: Path, config: TrainConfig, start: Path | None, device: torch.device
) -> Iterator[StepReport]:
    """Train in a folder, going on from its checkpoint if it holds one; yields after every step.

    Writes `checkpoint.pt`, `log.csv` and its picture `curve.svg` every hundred steps, and in the end the averaged
    weights as `compact.safetensors`.

    Args:
        data: folders of videos or of stills with masks, see `find_footage`; each has the same share of the clips.
        out: folder of the run; made if it does not exist.
        config: how to train.
        start: weights to start from, a whole network or a trunk, see `initial_network`; None is the bundled network.
        device: where to train.

    Raises:
        DatasetError: a folder is not laid out as expected, or a file in it is damaged.
        WeightsError: `start` or the checkpoint does not fit.
    """
    trainer = Trainer(data, start, config, device)
    yield from run_steps(trainer, config.steps, out)
    about = {
        "steps": str(trainer.step),
        "data": " ".join(trainer.data),
        "config": json.dumps(asdict(config)),
    }
    save_weights(trainer.average.state_dict(), out / "compact.safetensors", CompactNet.name, **about)


class Steps(Protocol):
    """What is trained in steps, and kept in checkpoints.

    Attributes:
        step: steps taken.
    """

    step: int

    def take_step(self) -> StepReport:
        """Change the weights once."""
        ...

    def save(self, path: Path) -> None:
        """Write a checkpoint."""

    def resume(self, path: Path) -> None:
        """Go on from a checkpoint."""


def run_steps(trainer: Steps, steps: int, out: Path) -> Iterator[StepReport]:
    """Train in a folder up to so many steps in all, going on from its checkpoint if it holds one; yields after each.

    Writes `checkpoint.pt`, `log.csv` and its picture `curve.svg` every hundred steps and in the end.
    """
    out.mkdir(parents=True, exist_ok=True)
    checkpoint, recent = out / "checkpoint.pt", list[StepReport]()
    if checkpoint.exists():
        trainer.resume(checkpoint)
    while trainer.step < steps:
        recent.append(trainer.take_step())
        yield recent[-1]
        if trainer.step % CHECKPOINT_EVERY == 0 or trainer.step == steps:
            trainer.save(checkpoint)
            _log(out / "log.csv", recent)
            plot_log(out / "log.csv", out / "curve.svg")
            recent.clear()


def _log(path: Path, recent: list[StepReport]) -> None:
    """Append the means over every few steps as a row."""
    rows = [{**report.losses, "gradient_norm": report.gradient_norm} for report in recent]
    with path.open("a", newline="") as file:
        writer = csv.writer(file)
        if file.tell() == 0:
            writer.writerow(["step", *rows[0]])
        for i in range(0, len(rows), LOG_EVERY):
            chunk = rows[i : i + LOG_EVERY]
            means = [f"{fmean(row[name] for row in chunk):.4f}" for name in rows[0]]
            writer.writerow([recent[i + len(chunk) - 1].step, *means])
