"""Training clips: three random frames of a video, cropped and distorted alike, and anchors among their cells."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch.utils.data import IterableDataset

from napari_pml.evaluation.davis import Sequence
from napari_pml.grid import pixel_counts
from napari_pml.types import BACKGROUND, DatasetError

MAX_TRIES = 1000
"""Random clips that are looked at in search of one with a visible object."""


@dataclass(frozen=True)
class Clip:
    """Three frames of one video; the first is the anchors' frame, the others are the pool (PML section 3.4).

    Attributes:
        frames: (3, 3, H, W) float32 RGB in 0..1.
        t: (3,) float32, place of each frame in its video, -1 to 1.
        shares: (3, h * w, L) float32, share of each label in each cell, background first.
    """

    frames: torch.Tensor
    t: torch.Tensor
    shares: torch.Tensor


class ClipSampler(IterableDataset[Clip]):
    """An endless stream of random clips from sequences with masks."""

    def __init__(self, sequences: list[Sequence], size: tuple[int, int], stride: int, seed: int):
        """Draw clips of `size` (height, width) pixels, a multiple of `stride`, reproducibly from `seed`.

        Raises:
            DatasetError: no sequence has three frames.
        """
        self.sequences = [s for s in sequences if len(s.frames) >= 3]
        if not self.sequences:
            raise DatasetError("No sequence has three frames or more; a training clip is three frames of one video.")
        self.size = size
        self.stride = stride
        self.rng = np.random.default_rng(seed)

    def __iter__(self) -> ClipSampler:
        return self

    def __next__(self) -> Clip:
        """Return a clip on which some object is visible on the grid in the anchor frame and in the pool."""
        for _ in range(MAX_TRIES):
            sequence = self.sequences[self.rng.integers(len(self.sequences))]
            times = self.rng.choice(len(sequence.frames), 3, replace=False)
            masks = [sequence.mask(t) for t in times]
            ids = sorted(set(np.unique(masks[0]).tolist()) - {0})
            if not ids:
                continue
            frames = [np.asarray(Image.open(sequence.frames[t]).convert("RGB")) for t in times]
            frames, masks = self._crop(frames, masks)
            counts = torch.stack([pixel_counts(_as_annotation(m), [BACKGROUND, *ids], self.stride) for m in masks])
            shares = counts / counts.sum(-1, keepdim=True).clamp_min(1)
            winner = shares.argmax(-1)
            if (winner[0] > 0).any() and (winner[1:] > 0).any() and (winner[0] == 0).any():
                t = torch.tensor(times / (len(sequence.frames) - 1) * 2 - 1, dtype=torch.float32)
                return Clip(self._photometric(frames), t, shares)
        raise DatasetError(
            f"In {MAX_TRIES} random clips no object was seen in the first frame and again in another one. "
            f"Are the masks empty, or the objects smaller than {self.stride} pixels?"
        )

    def _crop(
        self, frames: list[NDArray[np.uint8]], masks: list[NDArray[np.uint16]]
    ) -> tuple[list[NDArray[np.uint8]], list[NDArray[np.uint16]]]:
        """Cut one window around a random object pixel of the first frame, zoom it 1 to 2 times, mirror it or not."""
        height, width = masks[0].shape
        zoom = np.exp(self.rng.uniform(0, np.log(2)))
        stretch = np.exp(self.rng.uniform(-0.15, 0.15))
        crop_h = min(height, self.size[0] / zoom)
        crop_w = min(width, self.size[1] / zoom * stretch)
        rows, columns = np.nonzero(masks[0])
        pick = self.rng.integers(len(rows))
        top = np.clip(rows[pick] - self.rng.uniform(0.1, 0.9) * crop_h, 0, height - crop_h)
        left = np.clip(columns[pick] - self.rng.uniform(0.1, 0.9) * crop_w, 0, width - crop_w)
        box = (left, top, left + crop_w, top + crop_h)
        mirror = self.rng.random() < 0.5
        size = self.size[::-1]

        def cut(array: NDArray[Any], how: Image.Resampling) -> NDArray[Any]:
            out = np.asarray(Image.fromarray(array).resize(size, how, box=box))
            return out[:, ::-1] if mirror else out

        return [cut(f, Image.Resampling.BICUBIC) for f in frames], [cut(m, Image.Resampling.NEAREST) for m in masks]

    def _photometric(self, frames: list[NDArray[np.uint8]]) -> torch.Tensor:
        """Change brightness, contrast and colour of the clip, and a little of each frame; sometimes grey or blurred."""
        x = torch.from_numpy(np.stack(frames).copy()).permute(0, 3, 1, 2).float() / 255
        gain = torch.tensor(
            self.rng.normal(1, 0.15) + self.rng.normal(0, 0.05, (1, 3, 1, 1)) + self.rng.normal(0, 0.04, (3, 3, 1, 1))
        ).float()
        shift = torch.tensor(self.rng.normal(0, 0.06) + self.rng.normal(0, 0.02, (3, 1, 1, 1))).float()
        mean = x.mean(dim=(1, 2, 3), keepdim=True)
        x = (x - mean) * gain + mean + shift
        grey = x.mean(dim=1, keepdim=True)
        saturation = 0.0 if self.rng.random() < 0.1 else float(self.rng.uniform(0.6, 1.4))
        x = grey + (x - grey) * saturation
        if self.rng.random() < 0.2:
            x = F.avg_pool2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
        return x.clamp(0, 1)


def sample_anchors(shares: torch.Tensor, n: int, generator: torch.Generator) -> torch.Tensor:
    """Choose anchors evenly from the labels of a frame.

    Args:
        shares: (h * w, L) share of each label in each cell.
        n: number of anchors.
        generator: source of randomness.

    Returns:
        (n,) int64 cell numbers; every label that wins a cell is drawn equally often.
    """
    winner = shares.argmax(1)
    frequency = torch.bincount(winner, minlength=shares.shape[1]).float()
    return torch.multinomial(1 / frequency[winner], n, replacement=True, generator=generator)


def _as_annotation(mask: NDArray[np.uint16]) -> NDArray[np.uint16]:
    return np.where(mask == 0, np.uint16(BACKGROUND), mask)
