"""The resolution in which networks see a video: large frames are made smaller, those of small objects larger."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from napari_pml.disk.untrusted import check_pixels
from napari_pml.errors import SettingsError, VideoError
from napari_pml.grid import IntensityScale
from napari_pml.types import UNLABELLED, Annotations, Labels
from napari_pml.video.axes import Selection
from napari_pml.video.video import Video

RESOLUTIONS = ("auto", "native", "2x", "4x")
"""What may be set: "auto" makes the shorter side of larger frames `SHORT_SIDE` long and leaves others as they are."""

SHORT_SIDE = 480
"""In pixels: what the networks were trained on. Masks of larger frames are no better, but take longer."""


def checked_resolution(resolution: str) -> str:
    """Return a resolution; SettingsError if there is no such one."""
    if resolution not in RESOLUTIONS:
        raise SettingsError(f"There is no resolution {resolution!r}. Choose one of {', '.join(RESOLUTIONS)}.")
    return resolution


def working_size(height: int, width: int, resolution: str) -> tuple[int, int]:
    """Return (H', W') of frames as networks see them."""
    if resolution in ("2x", "4x"):
        factor = int(resolution[0])
        return factor * height, factor * width
    short = min(height, width)
    if resolution == "native" or short <= SHORT_SIDE:
        return height, width
    return round(height * SHORT_SIDE / short), round(width * SHORT_SIDE / short)


class WorkingVideo:
    """A video in the resolution in which networks see it; as far as they are concerned, the video itself.

    Attributes:
        native: the video as it is stored.
        shape: (T, H', W').
        factor: (vertical, horizontal), how many pixels of this one are as long as a pixel of the native one.
    """

    def __init__(self, video: Video, resolution: str = "auto") -> None:
        """Look at `video` in one of `RESOLUTIONS`; VideoError if its frames become too large."""
        n_frames, height, width = video.shape
        self.native = video
        self.shape = (n_frames, *working_size(height, width, resolution))
        try:
            check_pixels(*self.shape[1:])
        except ValueError as error:
            raise VideoError(f"{video.name} is too large for resolution {resolution}: {error}. Choose auto.") from error
        self.factor = self.shape[1] / height, self.shape[2] / width
        self.name, self.path, self.dtype, self.n_channels = video.name, video.path, video.dtype, video.n_channels
        self.selection: Selection = video.selection

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def is_native(self) -> bool:
        """Whether nothing is made smaller or larger."""
        return self.shape == self.native.shape

    @property
    def scale(self) -> IntensityScale:
        """How stored intensities become 0..1."""
        return self.native.scale

    def rgb(self, t: int) -> NDArray[np.float32]:
        """Return frame `t` as (H', W', 3) float32 RGB in 0..1."""
        if self.is_native:
            return self.native.rgb(t)
        stored = self.native.read(t)
        exact: Any = stored if stored.dtype == np.uint8 else stored.astype(_precision(stored.dtype))
        frame = torch.from_numpy(np.array(exact)).permute(2, 0, 1)[None]
        resized = F.interpolate(frame, self.shape[1:], mode="bilinear", antialias=self.factor[0] < 1)
        return self.scale.to_rgb(np.ascontiguousarray(resized[0].permute(1, 2, 0).numpy()))

    def labels(self, labels: Labels, *, complete: bool) -> Labels:
        """Return what is annotated on a frame, or its mask, (H, W), as (H', W').

        Args:
            labels: 0 is not annotated, or background.
            complete: 0 means background, which then counts as much as everything else. Otherwise what is painted
                outdoes what is not, so that no stroke gets lost.
        """
        if self.is_native:
            return labels
        rows, columns = (_nearest(n, m) for n, m in zip(labels.shape, self.shape[1:], strict=True))
        nearest = labels[rows[:, None], columns]
        if complete or self.factor[0] >= 1:
            return nearest
        y, x = np.nonzero(labels != UNLABELLED)
        y_there, x_there = (
            np.minimum((place * factor).astype(int), n - 1)
            for place, factor, n in zip((y, x), self.factor, nearest.shape, strict=True)
        )
        beneath = nearest[y_there, x_there] == UNLABELLED
        painted = nearest.copy()
        painted[y_there[beneath], x_there[beneath]] = labels[y[beneath], x[beneath]]
        return painted

    def annotations(self, annotations: Annotations) -> Annotations:
        """Return annotations of the native video as those of this one."""
        if self.is_native:
            return annotations
        frames = {t: self.labels(a, complete=t in annotations.complete) for t, a in annotations.frames.items()}
        return Annotations(self.shape, frames, annotations.complete, annotations.revision)


@lru_cache(maxsize=8)
def _nearest(n: int, m: int) -> NDArray[np.intp]:
    """Return which of n pixels lies under the middle of each of m."""
    return np.minimum((np.arange(m) + 0.5) * n / m, n - 1).astype(np.intp)


def _precision(dtype: np.dtype[Any]) -> type[np.floating[Any]]:
    return np.float32 if dtype.itemsize <= 2 else np.float64
