"""Training of the mask head: strokes become a mask on their own frame, and masks follow objects to other frames."""

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
from napari_pml.embedding.networks.details import DETAIL_STRIDE, FrameFeatures
from napari_pml.embedding.networks.efficientnet import EfficientNetTrunk
from napari_pml.embedding.weights import bundled, load_weights
from napari_pml.errors import WeightsError
from napari_pml.methods.mask_head.evidence import (
    PreviousMask,
    References,
    gather_evidence,
)
from napari_pml.methods.mask_head.network import MaskHead, scores_of
from napari_pml.methods.matching import NOBODY, labels_of_cells
from napari_pml.training.clips import Clip, ClipSampler
from napari_pml.training.interaction import corrections, first_strokes
from napari_pml.training.loop import LoopConfig, StepReport, Training, run
from napari_pml.training.material import content_of, find_annotated_clips, without_fold
from napari_pml.training.train_feelvos import displaced
from napari_pml.types import BACKGROUND, UNLABELLED, Labels

SHOWN = 1, 2, 4
SHOWN_SHARES = 0.5, 0.25, 0.25
"""Number of objects of a clip that are segmented, and how often."""

MAX_OBJECTS = 24
"""Number of objects that are annotated at most, those that are segmented among them; all others are background."""

SURE = 0.8
"""Confidence above which a cell of the head's own mask becomes a reference."""

LARGER = 1.4
"""Factor by which some clips are higher and wider."""

FOCUS = 2.0
"""Exponent of the focal loss (RITM)."""


@dataclass(frozen=True)
class MaskHeadTrainConfig(LoopConfig):
    """How the mask head is trained.

    Attributes:
        steps: optimiser steps in all.
        learning_rate: see `LoopConfig`.
        clips_per_step: clips of three frames, whose gradients are averaged in a step.
        height: of a clip, in pixels.
        width: of a clip, in pixels.
        large: share of clips that are larger, see `LARGER`, so that whole objects are seen in more pixels.
        composed: share of clips over which an object of another video moves.
        twins: share of clips on which an object has a twin to be told from.
        complete: share of clips whose reference frame has a whole mask instead of strokes.
        propagated: share of clips with strokes of which the other frames are segmented too.
        fold: number of the fold of each folder that is not trained on, 0 to 4; None trains on everything.
    """

    steps: int = 10000
    learning_rate: float = 1e-3
    clips_per_step: int = 2
    height: int = 240
    width: int = 320
    large: float = 0.2
    composed: float = 0.2
    twins: float = 0.3
    complete: float = 0.3
    propagated: float = 0.4
    fold: int | None = None


class MaskHeadTraining(Training):
    """The mask head on its way."""

    config: MaskHeadTrainConfig
    net: MaskHead

    def __init__(
        self, data: Sequence[Path], embedder: CompactNet, fingerprint: str, net: MaskHead, config: MaskHeadTrainConfig
    ):
        """Begin at step 0, see `train_mask_head`."""
        about = {"content": content_of(data), "embedder": fingerprint}
        super().__init__(data, config, net, {net: 1.0}, **about)
        self.embedder = embedder.to(self.device).eval().requires_grad_(False)
        folders = [without_fold(find_annotated_clips(folder), config.fold) for folder in data]
        stride = CompactNet.stride
        self.samplers = [
            ClipSampler(
                folders,
                (round(factor * config.height / stride) * stride, round(factor * config.width / stride) * stride),
                stride,
                config.seed,
                near=1.0,
                composed=config.composed,
                twins=config.twins,
                far_first=True,
            )
            for factor in (1.0, LARGER)
        ]

    def add_gradients(self) -> dict[str, float]:
        """Add up the gradients of some clips, see `Training`."""
        n = self.config.clips_per_step
        mean = 0.0
        for number in range(self.step * n, (self.step + 1) * n):
            rng = np.random.default_rng([self.config.seed, number, 1])
            clip = self.samplers[int(rng.random() < self.config.large)][number]
            loss = torch.stack(Lesson(self.net, self.embedder, clip, rng, self.config).losses()).mean()
            (loss / n).backward()
            mean += loss.item() / n
        return {"mask": mean}


class Lesson:
    """One clip, and what the head has said about it so far."""

    def __init__(
        self,
        net: MaskHead,
        embedder: CompactNet,
        clip: Clip,
        rng: np.random.Generator,
        config: MaskHeadTrainConfig,
    ):
        """Choose some objects of a clip to be segmented, 1 to n_shown, and others that are only annotated."""
        self.net, self.embedder, self.clip, self.rng, self.config = net, embedder, clip, rng, config
        chosen = rng.permutation(np.setdiff1d(clip.labels[0], [0]))[:MAX_OBJECTS]
        self.n_shown = min(len(chosen), int(rng.choice(SHOWN, p=SHOWN_SHARES)))
        places = np.zeros(int(clip.labels.max()) + 1, np.uint16)
        places[chosen] = np.arange(1, len(chosen) + 1)
        self.truth: NDArray[np.uint16] = places[clip.labels.numpy()]
        self.n_labels = len(chosen) + 1
        self.features = cache(self._features)
        self.matched = cache(self._matched)

    def _features(self, t: int) -> FrameFeatures:
        return features_of(self.net, self.embedder, self.clip, t)

    def _matched(self, t: int) -> torch.Tensor:
        matched: torch.Tensor = self.net.matched(self.features(t).embeddings.permute(1, 2, 0))
        return matched

    def losses(self) -> list[torch.Tensor]:
        """Segment the first frame from strokes, or take its mask; go on to the other frames from there."""
        rng, losses = self.rng, []
        nowhere = self.references([])
        if rng.random() < self.config.complete:
            shares = self.shares(self.truth[0])
            references = self.references([(0, shares, None)])
            mask = self.truth[0]
        else:
            previous = self.imagined(1) if rng.random() < 1 / 3 else None
            strokes = np.full_like(self.truth[0], UNLABELLED)
            if previous is None:
                strokes = first_strokes(rng, self.truth[0], self.n_shown)
            else:  # a frame that was reached by propagation is corrected
                mask = self.mask(self.segment(0, strokes, nowhere, previous, grad=False))
                strokes = self.more(strokes, mask, 0)
            for _ in range(int(rng.integers(4))):
                mask = self.mask(self.segment(0, strokes, nowhere, previous, grad=False))
                strokes = self.more(strokes, mask, 0)
            logits = self.segment(0, strokes, nowhere, previous)
            losses.append(self.loss(logits, 0))
            if rng.random() >= self.config.propagated:
                return losses
            mask = self.mask(logits.detach())
            references = self.references([(0, self.shares(mask), scores_of(logits.detach()).amax(0))])

        order = (1, 2) if rng.random() < 0.5 else (2, 1)
        luck = rng.random()
        previous = None
        if luck > 0.65:
            previous = PreviousMask(self.matched(0), self.shares(mask))
        elif luck > 0.3:
            previous = self.imagined(order[1])
        nothing = np.full_like(self.truth[0], UNLABELLED)
        for t in order:
            logits = self.segment(t, nothing, references, previous)
            losses.append(self.loss(logits, t))
            mask = self.mask(logits.detach(), t)
            previous = PreviousMask(self.matched(t), self.shares(mask))
        if rng.random() < 0.4:
            strokes = self.more(nothing, mask, t)
            previous = PreviousMask(self.matched(order[0]), self.shares(self.truth[order[0]]))
            losses.append(self.loss(self.segment(t, strokes, references, previous), t))
        return losses

    def segment(
        self,
        t: int,
        strokes: Labels,
        references: References,
        previous: PreviousMask | None,
        *,
        grad: bool = True,
    ) -> torch.Tensor:
        """Return the (n_shown, H, W) logits of one frame."""
        with torch.set_grad_enabled(grad):
            prior = None if previous is None else previous.shares
            evidence = gather_evidence(self.matched(t), self.painted(strokes), references, previous, prior)
            maps = [evidence.of(label) for label in range(1, self.n_shown + 1)]
            coarse, fine = (torch.stack(parts) for parts in zip(*maps, strict=True))
            logits = self.net(self.features(t), coarse, fine)
            return F.interpolate(logits[None], scale_factor=2, mode="bilinear", align_corners=False)[0]

    def more(self, strokes: Labels, mask: Labels, t: int) -> Labels:
        """Return strokes on frame t with corrections added."""
        new = corrections(self.rng, mask, self.truth[t])
        return np.where(new == UNLABELLED, strokes, new)

    def imagined(self, t: int) -> PreviousMask:
        """Return the true mask of frame t, moved and bent a little, as the mask of the frame before."""
        labels = displaced(self.rng, torch.from_numpy(self.truth[t].astype(np.int64)), self.n_labels)
        return PreviousMask(self.matched(t), self.shares(labels.numpy().astype(np.uint16)))

    def references(self, known: Sequence[tuple[int, torch.Tensor, torch.Tensor | None]]) -> References:
        """Return the references that masks of other frames offer, where they are sure enough."""
        matched, labels = [self.matched(0).new_zeros(0, self.matched(0).shape[-1])], [torch.zeros(0, dtype=torch.int64)]
        for t, shares, confidence in known:
            cells = labels_of_cells(F.avg_pool2d(shares, 2))
            if confidence is not None:
                sure = F.avg_pool2d(confidence[None], CompactNet.stride)[0] >= SURE
                cells = cells.masked_fill(~sure, NOBODY)
            matched.append(self.matched(t)[cells != NOBODY])
            labels.append(cells[cells != NOBODY])
        return References(torch.cat(matched), torch.cat(labels))

    def mask(self, logits: torch.Tensor, t: int = 0) -> Labels:
        """Return the (H, W) labels that logits stand for; objects that are not segmented are where they truly are."""
        labels = scores_of(logits).argmax(0).numpy().astype(np.uint16)
        return np.where((labels == 0) & (self.truth[t] > self.n_shown), self.truth[t], labels)

    def shares(self, mask: Labels) -> torch.Tensor:
        """Return the (L, 2 h, 2 w) share of each label in each cell."""
        masks = torch.from_numpy(mask.astype(np.int64)) == torch.arange(self.n_labels)[:, None, None]
        return F.avg_pool2d(masks.float(), DETAIL_STRIDE)

    def painted(self, strokes: Labels) -> torch.Tensor:
        """Return the (L, 2 h, 2 w) share of each cell that is painted with each label."""
        label = torch.from_numpy(strokes.astype(np.int64))
        label = torch.where(label == UNLABELLED, NOBODY, torch.where(label == BACKGROUND, 0, label))
        return F.avg_pool2d((label == torch.arange(self.n_labels)[:, None, None]).float(), DETAIL_STRIDE)

    def loss(self, logits: torch.Tensor, t: int) -> torch.Tensor:
        """Return the loss of the mask of frame t, see `mask_loss`."""
        shown = np.where(self.truth[t] > self.n_shown, 0, self.truth[t])
        return mask_loss(logits, torch.from_numpy(shown.astype(np.int64)))


def features_of(net: MaskHead, embedder: CompactNet, clip: Clip, t: int) -> FrameFeatures:
    """Return what the head sees of frame t of a clip, with gradients of its own layers only."""
    with torch.no_grad():
        frames = clip.frames[t, None].contiguous(memory_format=torch.channels_last)
        assert isinstance(embedder.trunk, EfficientNetTrunk)
        half, quarter, fine, coarse = embedder.trunk.all_depths(frames)
        eighth = torch.cat([fine, coarse], 1)
        embeddings = embedder.head(eighth, clip.t[t, None], clip.place[t, None])
    context, detail = net.layers(half, quarter, eighth)
    return FrameFeatures(embeddings[0], context[0], detail[0])


def mask_loss(logits: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """Return the normalised focal loss of the pixels (Sofiiuk et al., ICCV 2019) plus one minus the soft IoU.

    Args:
        logits: (N, H, W) of N objects.
        truth: (H, W) int64 in 0..N, 0 the background.
    """
    scores = scores_of(logits)
    right = scores.gather(0, truth[None])[0].clamp_min(1e-6)
    weight = (1 - right.detach()) ** FOCUS
    focal = -(weight * right.log()).sum() / weight.sum().clamp_min(1e-3 * weight.numel())
    masks = (truth == torch.arange(1, len(scores))[:, None, None]).float()
    overlap = (scores[1:] * masks).sum((1, 2))
    union = (scores[1:] + masks - scores[1:] * masks).sum((1, 2))
    iou = ((overlap + 1) / (union + 1)).mean()
    return focal + 1 - iou


def train_mask_head(
    data: Sequence[Path], out: Path, config: MaskHeadTrainConfig, start: Path | None, device: torch.device
) -> Iterator[StepReport]:
    """Train a mask head in a folder, see `run`; its weights become `mask-head.safetensors`.

    Args:
        data: folders of videos or stills with masks, see `find_annotated_clips`; all have the same share of the clips.
        out: folder of the run; made if it does not exist.
        config: how to train.
        start: weights of the embedder; None is the bundled one. The mask head beside them, if any, is what training
            starts from.
        device: where to train.

    Raises:
        DatasetError: a folder is not laid out as expected, or a file in it is damaged.
        WeightsError: `start` or the checkpoint does not fit, or other weights in `out` would be lost.
    """
    torch.manual_seed(config.seed)
    path = start or bundled(CompactNet.name)
    embedder, fingerprint = CompactNet.from_file(path)
    if not isinstance(embedder.trunk, EfficientNetTrunk):
        raise WeightsError(f"{path} has no EfficientNet trunk, whose details the mask head needs.")
    net = MaskHead(embedder.dim)
    beside = path.with_name(f"{MaskHead.name}.safetensors")
    if beside.exists():
        net.load_state_dict(load_weights(beside, MaskHead.name)[0])
    yield from run(MaskHeadTraining(data, embedder, fingerprint, net.to(device), config), out, MaskHead.name, path)
