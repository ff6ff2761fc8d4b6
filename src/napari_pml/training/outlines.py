"""Training the refinement network on what the votes got wrong; embeddings stay as they are."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from napari_pml.embedding.compact import CompactNet
from napari_pml.embedding.embedder import CompactEmbedder
from napari_pml.embedding.refinement import CELLS, RefinementNet
from napari_pml.embedding.weights import save_weights
from napari_pml.evaluation.davis import find_sequences
from napari_pml.grid import pad_to_cells, upsample
from napari_pml.training.augment import photometric
from napari_pml.training.episodes import Episodes, Example, read_example
from napari_pml.types import WeightsError

STRIDE = CompactNet.stride

CHECKPOINT_EVERY = 100
"""Steps between checkpoints."""

CROP = (8, 12)
"""Rows and columns of a training crop, in units of `CELLS` cells."""

HARDEST = 0.25
"""Share of the pixels that count once more (bootstrapped cross-entropy, as in FEELVOS, section 3.5)."""


@dataclass(frozen=True)
class OutlineConfig:
    """How the refinement network is trained.

    Attributes:
        steps: optimiser steps in all.
        examples: averaged in one step.
        learning_rate: of AdamW, at its peak; falls as (1 - step / steps) ** 0.9.
        weight_decay: of AdamW.
        average: decay of the running average of the weights, which is what is kept.
        seed: of the examples.
    """

    steps: int = 2500
    examples: int = 6
    learning_rate: float = 1e-3
    weight_decay: float = 1e-3
    average: float = 0.995
    seed: int = 0


@dataclass(frozen=True)
class OutlineReport:
    """What one step showed: its number (from 1), the loss, and J of the outlines and of the bare votes on its crops."""

    step: int
    loss: float
    region: float
    region_of_votes: float


class OutlineTrainer:
    """A refinement network on its way: everything that a checkpoint holds, and the step that changes it."""

    def __init__(self, net: RefinementNet, episodes: list[Path], config: OutlineConfig, device: torch.device):
        """Begin at step 0 with `net`, which is trained in place on examples from the files `episodes`."""
        self.net, self.episodes, self.config, self.device = net, episodes, config, device
        net.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stub
        self.average = copy.deepcopy(net).requires_grad_(False)
        self.optimizer = torch.optim.AdamW(net.parameters(), weight_decay=config.weight_decay)
        self.step = 0

    def take_step(self) -> OutlineReport:
        """Change the weights once, by the mean gradient of some examples."""
        config, rng = self.config, np.random.default_rng((self.config.seed, self.step))
        rate = config.learning_rate * min(1.0, (self.step + 1) / 50) * (1 - self.step / config.steps) ** 0.9
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.zero_grad(set_to_none=True)
        seen = []
        for _ in range(config.examples):
            example = disturbed(read_example(self.episodes[rng.integers(len(self.episodes))], rng), STRIDE, rng)
            logits, truth = outline(self.net, example, self.device), example.truth.to(self.device)
            loss = outline_loss(logits, truth)
            (loss / config.examples).backward()
            size = truth.shape[1], truth.shape[2]
            votes = upsample(example.evidence[:2].mean(0, keepdim=True), size, STRIDE).to(self.device)
            seen.append((loss.item(), _region(logits > 0, truth > 0), _region(votes > 0.5, truth > 0)))
        torch.nn.utils.clip_grad_norm_(self.net.parameters(), 1.0)
        self.optimizer.step()
        self.step += 1
        with torch.no_grad():
            weight = 1 - min(config.average, self.step / (self.step + 10))
            for kept, new in zip(self.average.parameters(), self.net.parameters(), strict=True):
                kept.lerp_(new, weight)
        return OutlineReport(self.step, *np.mean(seen, axis=0).tolist())

    def save(self, path: Path) -> None:
        """Write everything needed to go on, so that a killed process leaves the last complete checkpoint."""
        state = {
            "config": asdict(self.config),
            "step": self.step,
            "net": self.net.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }
        partial = path.with_suffix(".partial")
        torch.save(state, partial)
        partial.replace(path)

    def resume(self, path: Path) -> None:
        """Go on from a checkpoint.

        Raises:
            WeightsError: it was written under another configuration (the number of steps included).
        """
        state: dict[str, Any] = torch.load(path, map_location=self.device, weights_only=True)
        if state["config"] != asdict(self.config):
            raise WeightsError(
                f"{path} was trained with {state['config']}, not with {asdict(self.config)}. "
                f"Use the same settings to go on, or another folder to start again."
            )
        self.net.load_state_dict(state["net"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step = state["step"]


def run_outline_training(
    data: Path, out: Path, config: OutlineConfig, start: Path, n_episodes: int, device: torch.device
) -> Iterator[Path | OutlineReport]:
    """Train the refinement network of `start` in a folder, going on from its checkpoint if it holds one.

    Segments `n_episodes` short videos first, which take longest, and keeps them in `out/episodes`. Writes
    `checkpoint.pt` every hundred steps, and in the end the whole network as `compact.safetensors`.

    Args:
        data: DAVIS-layout folder with a mask for every frame.
        out: folder of the run; made if it does not exist.
        config: how to train.
        start: trained weights, of which all but the refinement network stay as they are.
        n_episodes: to learn from.
        device: where to train.

    Yields:
        The file of every episode, then a report after every step.

    Raises:
        DatasetError: `data` is not laid out like DAVIS.
        WeightsError: `start` or the checkpoint does not fit.
    """
    whole, _ = CompactNet.from_file(start)
    source = Episodes(find_sequences(data), CompactEmbedder(device, start), out / "episodes", config.seed)
    episodes = []
    for n in range(n_episodes):
        episodes.append(source.make(n))
        yield episodes[-1]
    trainer = OutlineTrainer(whole.refinement, episodes, config, device)
    checkpoint = out / "checkpoint.pt"
    if checkpoint.exists():
        trainer.resume(checkpoint)
    while trainer.step < config.steps:
        yield trainer.take_step()
        if trainer.step % CHECKPOINT_EVERY == 0 or trainer.step == config.steps:
            trainer.save(checkpoint)
    whole.refinement.load_state_dict(trainer.average.state_dict())
    about = {
        "outline_steps": str(trainer.step),
        "outline_config": json.dumps(asdict(config)),
        "started_from": start.name,
    }
    save_weights(whole.state_dict(), out / "compact.safetensors", CompactNet.name, **about)


def outline(net: RefinementNet, example: Example, device: torch.device) -> torch.Tensor:
    """Return the (1, H, W) logits of an example whose sides are multiples of `CELLS` cells."""
    frame = example.frame[None].to(device, memory_format=torch.channels_last)
    logits = net(net.image(frame), example.evidence[None].to(device))
    return upsample(logits[0], (frame.shape[2], frame.shape[3]), STRIDE // 2)


def outline_loss(logits: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """Cross-entropy over all pixels and over the hardest, and a soft form of 1 - J; (1, H, W) each, a scalar."""
    entropy = F.binary_cross_entropy_with_logits(logits, truth, reduction="none").flatten()
    hardest = entropy.topk(max(1, int(HARDEST * len(entropy)))).values.mean()
    found = logits.sigmoid()
    shared = (found * truth).sum()
    region = (shared + 1) / ((found + truth).sum() - shared + 1)
    return entropy.mean() + 0.3 * hardest + 0.5 * (1 - region)


def disturbed(example: Example, stride: int, rng: np.random.Generator) -> Example:
    """Cut a window out of an example, mirror it or not, and change its colours and its votes.

    The videos that the embedder was trained on are easier for it than others. So that votes are not trusted too much,
    those of the frames before are sometimes shifted by a cell or missing, and both sometimes blotched.
    """
    unit = CELLS * stride
    frame, truth = (pad_to_cells(x[None], unit)[0] for x in (example.frame, example.truth))
    h, w = frame.shape[1] // stride, frame.shape[2] // stride
    missing = (0, w - example.evidence.shape[2], 0, h - example.evidence.shape[1])
    evidence = F.pad(example.evidence[None], missing, mode="replicate")[0]

    rows, columns = min(h, CROP[0] * CELLS), min(w, CROP[1] * CELLS)
    places = truth[0].nonzero() if rng.random() < 0.85 else truth[0].new_zeros(0, 2)
    y, x = places[rng.integers(len(places))].tolist() if len(places) else rng.integers((h * stride, w * stride))
    top = int(np.clip(y // stride - rng.uniform(0.1, 0.9) * rows, 0, h - rows))
    left = int(np.clip(x // stride - rng.uniform(0.1, 0.9) * columns, 0, w - columns))
    evidence = evidence[:, top : top + rows, left : left + columns].clone()
    pixels = (
        slice(top * stride, (top + rows) * stride),
        slice(left * stride, (left + columns) * stride),
    )
    frame, truth = frame[:, pixels[0], pixels[1]], truth[:, pixels[0], pixels[1]]
    if rng.random() < 0.5:
        evidence, frame, truth = (part.flip(-1) for part in (evidence, frame, truth))

    fate = rng.random()
    if fate < 0.1:
        evidence[1] = evidence[0]
    elif fate < 0.3:
        evidence[1] = evidence[1].roll(rng.integers(-1, 2, 2).tolist(), (0, 1))
    if rng.random() < 0.3:
        blotches = torch.from_numpy(rng.standard_normal((1, 2, max(1, rows // 4), max(1, columns // 4)), np.float32))
        size = (rows, columns)
        blotches = F.interpolate(blotches, size, mode="bilinear", align_corners=False)[0] * rng.uniform(0.05, 0.3)
        evidence[:2] = (evidence[:2] + blotches).clamp(0, 1)
    return Example(evidence, photometric(rng, frame[None])[0], truth)


def _region(mask: torch.Tensor, truth: torch.Tensor) -> float:
    union = (mask | truth).sum().item()
    return (mask & truth).sum().item() / union if union else 1.0
