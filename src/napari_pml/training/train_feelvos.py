"""Training of FEELVOS on frozen embeddings: follow objects over a few frames, learn from the hardest pixels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from napari_pml.embedding.networks.compact import CompactNet
from napari_pml.embedding.protocol import Embedder
from napari_pml.embedding.registry import load_embedder
from napari_pml.errors import WeightsError
from napari_pml.methods.feelvos.network import (
    STRIDE,
    FeelvosNet,
    labels_of_cells,
    load_network,
    network_beside,
    shares_of_labels,
)
from napari_pml.methods.matching import NOBODY, global_matching, local_matching
from napari_pml.training.clips import ClipSampler
from napari_pml.training.loop import LoopConfig, StepReport, Training, run
from napari_pml.training.material import content_of, find_annotated_clips

MAX_OBJECTS = 4
"""Maximum number of objects that are followed in a clip; the others are background."""

HARDEST = 0.15
"""Share of the pixels, those of the largest loss, that count from the middle of the training on (the paper: 15 %)."""

FIRST_GUESSES = 0.25, 0.15, 0.15, 0.45
"""How often the first frame of a clip is segmented knowing no other mask; knowing strokes on the very frame; with the
reference as the frame before; and with the other frame before, its mask displaced."""


@dataclass(frozen=True)
class FeelvosTrainConfig(LoopConfig):
    """How the FEELVOS network is trained.

    Attributes:
        steps: optimiser steps in all.
        learning_rate: see `LoopConfig`.
        clips_per_step: clips of three frames, whose gradients are averaged in a step.
        clips: number of different clips; each is made and embedded once, and kept.
        height: of a clip, in pixels.
        width: of a clip, in pixels.
        window: radius of local matching, in cells.
        composed: share of clips over which an object of another video moves.
        twins: share of clips on which an object has a twin to be told from.
        sparse: share of clips of whose reference only some pixels are given, as by strokes.
    """

    steps: int = 2500
    learning_rate: float = 1e-3
    clips_per_step: int = 2
    clips: int = 1000
    height: int = 240
    width: int = 320
    window: int = 12
    composed: float = 0.3
    twins: float = 0.3
    sparse: float = 0.3


@dataclass(frozen=True)
class EmbeddedClip:
    """A clip in little memory: a reference frame, and two frames near each other.

    Attributes:
        frames: (3, 3, H, W) uint8 RGB.
        embeddings: (3, h, w, D) float16.
        labels: (3, H, W) int16, 0 = background; only objects that the reference shows.
    """

    frames: torch.Tensor
    embeddings: torch.Tensor
    labels: torch.Tensor


class FeelvosTraining(Training):
    """The FEELVOS network on its way."""

    config: FeelvosTrainConfig
    net: FeelvosNet

    def __init__(self, data: Sequence[Path], embedder: Embedder, net: FeelvosNet, config: FeelvosTrainConfig):
        """Begin at step 0, see `train_feelvos`."""
        about = {"content": content_of(data), "embedder": embedder.fingerprint}
        super().__init__(data, config, net.to(embedder.device), {net: 1.0}, **about)
        self.embedder = embedder
        self.sampler = ClipSampler(
            [find_annotated_clips(folder) for folder in data],
            (config.height, config.width),
            embedder.stride,
            config.seed,
            near=1.0,
            composed=config.composed,
            twins=config.twins,
            far_first=True,
        )
        self.clip = cache(self._clip)

    def _clip(self, number: int) -> EmbeddedClip:
        clip = self.sampler[number]
        embeddings = self.embedder.embed(clip.frames, clip.t).permute(0, 2, 3, 1).half().cpu()
        rng = np.random.default_rng([self.config.seed, number, 1])
        objects = rng.permutation(np.setdiff1d(clip.labels[0], [0]))[:MAX_OBJECTS]
        places = torch.zeros(int(clip.labels.max()) + 1, dtype=torch.int16)
        places[objects] = torch.arange(1, len(objects) + 1, dtype=torch.int16)
        return EmbeddedClip((clip.frames * 255).round().byte(), embeddings, places[clip.labels.long()])

    def add_gradients(self) -> dict[str, float]:
        """Add up the gradients of some clips, see `Training`."""
        rng = np.random.default_rng([self.config.seed, self.step, 2])
        total = 0.0
        for number in rng.integers(self.config.clips, size=self.config.clips_per_step).tolist():
            loss = self.loss(self.clip(number), rng) / self.config.clips_per_step
            loss.backward()
            total += loss.item()
        return {"cross_entropy": total}

    def loss(self, clip: EmbeddedClip, rng: np.random.Generator) -> torch.Tensor:
        """Follow the objects from the reference to one of the other frames, on to the last, and back.

        What the network knows before is a first guess, see `FIRST_GUESSES`, then its own answer for the frame before,
        so that it learns to live with its mistakes.
        """
        net, device = self.net, self.device
        frames = clip.frames.to(device).float() / 255
        embeddings = clip.embeddings.to(device).float()
        matched = net.matched(embeddings)
        n_labels = int(clip.labels[0].max()) + 1
        truth = clip.labels.long().to(device)
        shares = self._shares(truth[0], n_labels)
        cells = labels_of_cells(shares).flatten()
        given = torch.from_numpy(sample(rng, cells.cpu().numpy(), self.config.sparse)).to(device)
        references = matched[0].flatten(0, 1)[given]

        order = (1, 2, 1) if rng.random() < 0.5 else (2, 1, 2)
        known = self._first_guess(rng, truth, n_labels, *order[:2])
        losses = []
        for t in order:
            before = self._shares(known[1], n_labels)
            far = global_matching(matched[t].flatten(0, 1), references, cells[given], n_labels)
            near = torch.ones_like(far)
            if known[0] is not None:
                near = local_matching(
                    matched[t], matched[known[0]][None], labels_of_cells(before)[None], n_labels, self.config.window
                )
            distances = torch.stack([far, near], 1).unflatten(2, matched.shape[1:3])
            scores = net(frames[t], embeddings[t].permute(2, 0, 1), distances, before).softmax(0)
            pixels = F.interpolate(scores[None], scale_factor=STRIDE, mode="bilinear", align_corners=False)[0]
            losses.append(bootstrapped_cross_entropy(pixels, truth[t], self._share_that_counts))
            known = t, pixels.argmax(0)
        return torch.stack(losses).mean()

    def _first_guess(
        self, rng: np.random.Generator, truth: torch.Tensor, n_labels: int, t: int, near: int
    ) -> tuple[int | None, torch.Tensor]:
        """Return the number of the frame before frame t and its (H, W) mask, `NOBODY` where that says nothing.

        Without a frame before, what is painted on frame t itself takes the place of the mask.
        """
        kind = rng.choice(4, p=FIRST_GUESSES)
        if kind == 0:
            return None, torch.full_like(truth[t], NOBODY)
        if kind == 1:
            return None, strokes(rng, truth[t], n_labels)
        return (0, truth[0]) if kind == 2 else (near, displaced(rng, truth[near], n_labels))

    @property
    def _share_that_counts(self) -> float:
        return max(HARDEST, 1 - (1 - HARDEST) * 2 * self.step / self.config.steps)

    def _shares(self, labels: torch.Tensor, n_labels: int) -> torch.Tensor:
        """Return what the network sees of a (H, W) mask of labels 0 to n_labels - 1, or `NOBODY`."""
        mask = (labels + 1).cpu().numpy().astype(np.uint16)
        return shares_of_labels(mask, range(1, n_labels + 1)).to(self.device)


def bootstrapped_cross_entropy(scores: torch.Tensor, labels: torch.Tensor, share: float) -> torch.Tensor:
    """Return the mean cross-entropy of the pixels that it is largest for ("bootstrapped", Wu et al., 2016).

    Args:
        scores: (L, H, W), sum 1 over the labels.
        labels: (H, W) int64.
        share: of the pixels that count, above 0 to 1.
    """
    losses = -torch.log(scores.gather(0, labels[None]) + 1e-6).flatten()
    return losses.topk(max(1, round(share * len(losses)))).values.mean()


def strokes(rng: np.random.Generator, labels: torch.Tensor, n_labels: int) -> torch.Tensor:
    """Return a (H, W) mask of which only a line through each label is left, and `NOBODY` elsewhere."""
    height, width = labels.shape
    y, x = torch.arange(height, device=labels.device)[:, None], torch.arange(width, device=labels.device)
    painted = torch.zeros_like(labels, dtype=torch.bool)
    for label in range(n_labels):
        places = (labels == label).nonzero()
        if len(places) and rng.random() < 0.8:
            row, column = places[rng.integers(len(places))].tolist()
            angle, length = rng.uniform(0, np.pi), rng.uniform(4, 0.25 * height)
            along = (x - column) * np.cos(angle) + (y - row) * np.sin(angle)
            across = (y - row) * np.cos(angle) - (x - column) * np.sin(angle)
            painted |= (along.abs() < length) & (across.abs() < 3)
    return labels.masked_fill(~painted, NOBODY)


def sample(rng: np.random.Generator, labels: NDArray[np.int64], sparse: float) -> NDArray[np.bool_]:
    """Choose the cells that are given as reference: all of them, or in a share of cases a few of each label.

    Args:
        rng: source of randomness.
        labels: (N,) int64 label of each cell.
        sparse: how often few are chosen: from 2 % to all of a label, but at least one.

    Returns:
        (N,) bool.
    """
    if rng.random() >= sparse:
        return np.ones(len(labels), bool)
    luck = rng.random(len(labels))
    share = 0.02 ** rng.random(labels.max() + 1)
    least = np.full(labels.max() + 1, np.inf)
    np.minimum.at(least, labels, luck)
    chosen: NDArray[np.bool_] = (luck < share[labels]) | (luck == least[labels])
    return chosen


def displaced(rng: np.random.Generator, labels: torch.Tensor, n_labels: int) -> torch.Tensor:
    """Return a (H, W) mask moved and bent a little; in one case of three a rectangle of it has a wrong label."""
    size = np.array(labels.shape[::-1])
    linear = np.diag(np.exp(rng.normal(0, 0.06, 2))) + rng.normal(0, 0.03, (2, 2))
    theta = torch.tensor(np.column_stack([linear, rng.normal(0, 0.04, 2)]), dtype=torch.float32)[None]
    grid = F.affine_grid(theta, [1, 1, *labels.shape], align_corners=False).to(labels.device)
    moved = F.grid_sample(labels[None, None].float(), grid, "nearest", "border", align_corners=False)[0, 0].long()
    if rng.random() < 1 / 3:
        (left, top), (width, height) = (
            (rng.random(2) * size).astype(int),
            (rng.uniform(0.05, 0.4, 2) * size).astype(int),
        )
        moved[top : top + height, left : left + width] = int(rng.integers(n_labels))
    return moved


def train_feelvos(
    data: Sequence[Path], out: Path, config: FeelvosTrainConfig, start: Path | None, device: torch.device
) -> Iterator[StepReport]:
    """Train a FEELVOS network in a folder, see `run`; its weights become `feelvos.safetensors`.

    The weights of the embedder are copied to the same folder, where the method looks for those that belong to them.

    Args:
        data: folders of videos or stills with masks, see `find_annotated_clips`; all have the same share of the clips.
        out: folder of the run; made if it does not exist.
        config: how to train.
        start: weights of the embedder. The FEELVOS network beside them, if any, is what training starts from. None is
            the bundled one.
        device: where to train.

    Raises:
        DatasetError: a folder is not laid out as expected, or a file in it is damaged.
        WeightsError: `start` or the checkpoint does not fit, or other weights in `out` would be lost.
    """
    torch.manual_seed(config.seed)
    embedder = load_embedder(str(start or CompactNet.name), device)
    if embedder.weights is None:
        raise WeightsError(
            f"FEELVOS cannot be trained on {embedder.name}. Give the .safetensors file of an embedder that "
            "'napari-pml train' wrote, or nothing for the bundled one."
        )
    net = load_network(embedder) if network_beside(embedder.weights).exists() else FeelvosNet(embedder.dim)
    yield from run(FeelvosTraining(data, embedder, net, config), out, FeelvosNet.name, embedder.weights)
