"""Training clips: three frames of a video, seen through a changing window, and anchors among their cells."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from napari_pml.errors import DatasetError
from napari_pml.grid import pixel_counts
from napari_pml.training.augment import photometric
from napari_pml.training.compose import cut_out, paste
from napari_pml.training.material import AnnotatedClip
from napari_pml.training.warp import elastic, linear_map, see, shaken, source_points

MAX_TRIES = 1000
"""Random clips that are looked at in search of one with visible objects."""

NEAR_GAP = 5
"""Annotated frames between neighbours of a clip whose frames are near in time, at most."""


@dataclass(frozen=True)
class Clip:
    """Three frames of one video; the first is the anchors' frame, the others are the pool (PML section 3.4).

    Attributes:
        frames: (3, 3, H, W) float32 RGB in 0..1.
        t: (3,) float32, place of each frame in its video, -1 to 1.
        labels: (3, H, W) int16, numbers from 0, the background, to L - 1 without gaps.
        shares: (3, h * w, L) float32, share of each label in each cell.
        place: (3, 2, h, w) float32, where in its source frame each cell's centre lies, (x, y) from -1 to 1: a network
            is used on whole frames, not on windows.
    """

    frames: torch.Tensor
    t: torch.Tensor
    labels: torch.Tensor
    shares: torch.Tensor
    place: torch.Tensor


class ClipSampler:
    """An endless row of random clips; clip number n is the same whichever were made before."""

    def __init__(
        self,
        folders: Sequence[list[AnnotatedClip]],
        size: tuple[int, int],
        stride: int,
        seed: int,
        *,
        near: float = 0.0,
        composed: float = 0.0,
        twins: float = 0.0,
        far_first: bool = False,
    ):
        """Draw clips reproducibly.

        Args:
            folders: each has the same share of the clips, and each of its videos the same share of these.
            size: (H, W) of a clip in pixels, multiples of `stride`.
            stride: side of a cell.
            seed: of everything random.
            near: share of clips whose frames are near in time; the others are any three of a video.
            composed: share of clips over which an object of another video of the same folder moves.
            twins: share of clips on which an object has a twin: itself, from the same video, turned, scaled, perhaps
                mirrored, in slightly other colours, staying at another place. It has a label of its own, as the second
                of two like animals would: little but its place tells the two apart, which is what the network's
                coordinates are for.
            far_first: of frames that are near in time, the first is any frame of the video instead.
        """
        self.folders, self.size, self.stride, self.seed = folders, size, stride, seed
        self.near, self.composed, self.twins, self.far_first = near, composed, twins, far_first

    def __getitem__(self, number: int) -> Clip:
        """Return a clip on which two labels, background included, are in the anchors' frame and in the pool.

        Raises:
            DatasetError: there is none, or a file is damaged.
        """
        rng = np.random.default_rng([self.seed, number])
        for _ in range(MAX_TRIES):
            folder = self.folders[int(rng.integers(len(self.folders)))]
            clip = self._draw(rng, folder, folder[rng.integers(len(folder))])
            if clip is not None:
                return clip
        raise DatasetError(
            f"In {MAX_TRIES} random clips no object was seen in the first frame and again in another one. "
            f"Are the masks empty, or the objects smaller than {self.stride} pixels?"
        )

    def _draw(self, rng: np.random.Generator, folder: list[AnnotatedClip], annotated: AnnotatedClip) -> Clip | None:
        """Make one clip, or None if it shows too little."""
        near = rng.random() < self.near
        window = self._window(rng, annotated, near)
        if window is None:
            return None
        frames, labels, t, scale, place = window
        if rng.random() < self.composed and len(folder) > 1:
            other = [f for f in folder if f is not annotated][rng.integers(len(folder) - 1)]
            frames, labels = self._with_stranger(rng, other, near, frames, labels, t)
        if rng.random() < self.twins:
            frames, labels = self._with_twin(rng, annotated, near, frames, labels, scale)
        numbers = np.unique(np.append(labels.numpy(), 0), return_inverse=True)[1][:-1].reshape(labels.shape)
        shares = self._shares(numbers)
        winner = shares.argmax(-1)
        if len(np.intersect1d(winner[0], winner[1:])) < 2:
            return None
        labels = torch.from_numpy(numbers.astype(np.int16))
        return Clip(photometric(rng, frames), torch.tensor(t, dtype=torch.float32), labels, shares, place)

    def _window(
        self, rng: np.random.Generator, annotated: AnnotatedClip, near: bool
    ) -> tuple[torch.Tensor, torch.Tensor, NDArray[np.float64], float, torch.Tensor] | None:
        """Look at three annotated frames through an unsteady window around a random object pixel of the first.

        With fewer than three annotated frames, these move and bend by themselves, as the frames of a video do.

        Returns:
            (3, 3, H, W) frames, (3, H, W) labels, (3,) times, source pixels in a pixel, and (3, 2, h, w) places of the
            cells in their source frames; None if there is no object.
        """
        times = _draw_times(rng, len(annotated.images), near)
        if near and self.far_first:
            times = int(rng.integers(len(annotated.images))), *times[1:]
        read = {t: annotated.read(t) for t in set(times)}
        rows, columns = np.nonzero(read[times[0]][2])
        if not len(rows):
            return None
        is_still = len(annotated.images) < 3
        motion = (0.03 if near else 0.1) if is_still else 0.015
        size = np.array(self.size[::-1])
        source = np.array(read[times[0]][2].shape[::-1])
        scale = float(min(*(source / size), np.exp(-rng.uniform(0, np.log(2)))))
        half = scale * size / 2
        pick = rng.integers(len(rows))
        centre = (columns[pick], rows[pick]) + rng.uniform(-0.8, 0.8, 2) * half
        centres = np.clip(centre, half - 0.5, source - half - 0.5) + rng.normal(0, motion, (3, 2)) * half
        linear = shaken(rng, linear_map(rng, scale, 15, 0.15, mirror=rng.random() < 0.5), motion)
        middle = torch.tensor((size - 1) / 2, dtype=torch.float32).expand(3, 2)
        points = source_points(self.size, linear, middle, torch.tensor(centres).float())
        if is_still:
            points += elastic(rng, self.size, 0.2 * motion * float(half[1]))
            t = np.clip(rng.uniform(-1, 1) + rng.normal(0, 0.05 if near else 0.5, 3), -1, 1)
        else:
            t = np.array([annotated.times[i] for i in times])
        seen = [see(p, *read[i]) for p, i in zip(points, times, strict=True)]
        middles = F.avg_pool2d(points.permute(0, 3, 1, 2), self.stride)
        place = (2 * middles + 1) / torch.tensor(source).float().view(2, 1, 1) - 1
        return torch.stack([rgb for rgb, _ in seen]), torch.stack([ids for _, ids in seen]), t, scale, place

    def _with_stranger(
        self,
        rng: np.random.Generator,
        other: AnnotatedClip,
        near: bool,
        frames: torch.Tensor,
        labels: torch.Tensor,
        t: NDArray[np.float64],
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Lay an object of another clip over a clip, moving steadily in the order of time."""
        size = np.array(self.size[::-1])
        step = rng.normal(0, 0.04 if near else 0.12, 2) * size
        places = rng.uniform(0.2, 0.8, 2) * size + step * (t.argsort().argsort()[:, None] - 1)
        times = _draw_times(rng, len(other.images), near)
        cutout = cut_out(rng, other, times, self.size, torch.tensor(places).float())
        return (frames, labels) if cutout is None else paste(frames, labels, cutout)

    def _with_twin(
        self,
        rng: np.random.Generator,
        annotated: AnnotatedClip,
        near: bool,
        frames: torch.Tensor,
        labels: torch.Tensor,
        scale: float,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Lay an object of the same clip over a clip, away from the objects, about where it is in all frames."""
        size = np.array(self.size[::-1])
        taken = np.argwhere(labels[0].numpy())[:, ::-1].mean(0) if labels[0].any() else size / 2
        spots = rng.uniform(0.1, 0.9, (4, 2)) * size
        spot = spots[np.linalg.norm(spots - taken, axis=1).argmax()]
        places = spot + rng.normal(0, 0.04, (3, 2)) * size
        times = _draw_times(rng, len(annotated.images), near)
        cutout = cut_out(rng, annotated, times, self.size, torch.tensor(places).float(), scale)
        return (frames, labels) if cutout is None else paste(frames, labels, cutout)

    def _shares(self, labels: NDArray[np.int64]) -> torch.Tensor:
        """Return the share of each label in each cell, (3, h * w, L), for labels without gaps."""
        numbers = range(1, int(labels.max()) + 2)  # 0 would not be counted
        counts = torch.stack([pixel_counts(frame, numbers, self.stride) for frame in (labels + 1).astype(np.uint16)])
        return counts / counts.sum(-1, keepdim=True)


def sample_anchors(shares: torch.Tensor, n: int, generator: torch.Generator) -> torch.Tensor:
    """Choose anchors among the cells of a clip's first frame whose label is also seen in the pool.

    Args:
        shares: (3, h * w, L) share of each label in each cell, see `Clip`.
        n: number of anchors.
        generator: source of randomness.

    Returns:
        (n,) int64 cell numbers. Every object is drawn equally often, and background as often as all objects together.
    """
    winner = shares.argmax(-1)
    label_count = shares.shape[-1]
    frequency = torch.bincount(winner[0], minlength=label_count)
    pooled = torch.bincount(winner[1:].flatten(), minlength=label_count) > 0
    weight = pooled / frequency.clamp_min(1)
    weight[0] *= max(1, int(((frequency > 0) & pooled)[1:].sum()))
    return torch.multinomial(weight[winner[0]], n, replacement=True, generator=generator)


def _draw_times(rng: np.random.Generator, n: int, near: bool) -> tuple[int, int, int]:
    """Choose three of n annotated frames, in any order; fewer than three come several times."""
    if n < 3:
        times = rng.integers(n, size=3)
    elif near:
        gaps = rng.integers(1, min(NEAR_GAP, (n - 1) // 2) + 1, 2)
        times = rng.integers(n - gaps.sum()) + rng.permutation([0, gaps[0], gaps.sum()])
    else:
        times = rng.choice(n, 3, replace=False)
    first, second, third = times.tolist()
    return first, second, third
