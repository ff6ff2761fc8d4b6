"""One way to look at every kind of video: a file, a folder of images, a TIFF, a Zarr, or an array in memory.

Nothing is ever loaded as a whole: one frame is read when it is asked for.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import DTypeLike, NDArray

from napari_pml.disk.untrusted import MAX_FRAMES
from napari_pml.errors import VideoError
from napari_pml.grid import IntensityScale
from napari_pml.video.arrays import (
    IMAGE_SUFFIXES,
    TIFF_SUFFIXES,
    ArrayFrames,
    ImageFolder,
    TiffFrames,
    is_zarr,
    open_zarr,
)
from napari_pml.video.compressed import VideoFile

RECENT_FRAMES = 4
"""Frames kept as they were read: napari asks for the same one twice a step."""

SCALE_FRAMES = 16
"""Frames on which the intensity scale is measured."""

SCALE_PIXELS = 2_000_000
"""Pixels on which the intensity scale is measured, over all those frames."""


class Frames(Protocol):
    """What every kind of source offers: shape (T, H, W, C), stored dtype, frames per second, and reading."""

    shape: tuple[int, int, int, int]
    dtype: np.dtype[Any]
    fps: float

    def read(self, t: int) -> NDArray[np.generic]:
        """Return frame `t`, 0..T-1, as (H, W, C)."""


class Video:
    """T frames of H x W pixels, read one at a time; every method may be called from any thread.

    Attributes:
        name: of the file or folder, to show to people.
        path: of the file or folder, or None for an array.
        channel_axis: which axis of the file was taken for channels, if that was said.
        shape: (T, H, W).
        dtype: of the stored intensities.
        n_channels: C of what `read` returns.
        fps: frames per second, on average; 10 where the source does not say.
        times: when each frame is shown, in seconds since the first; None where the source does not say.
        key_frames: the frames that can be read without decoding others, in order; all, unless the file is compressed.
        sizes: of every frame of a video file as it is stored there, in bytes; empty for other sources.
    """

    def __init__(self, name: str, frames: Frames, path: Path | None = None, channel_axis: int | None = None) -> None:
        if frames.shape[0] > MAX_FRAMES:
            raise VideoError(
                f"{name} says that it has {frames.shape[0]} frames, and {MAX_FRAMES} are the limit. Cut it into parts."
            )
        self.name = name
        self.path = path
        self.channel_axis = channel_axis
        self.shape = frames.shape[:3]
        self.dtype = frames.dtype
        self.fps = frames.fps
        self.times: Sequence[float] | None = frames.times if isinstance(frames, VideoFile) else None
        self.key_frames: Sequence[int] = frames.key_frames if isinstance(frames, VideoFile) else range(len(self))
        self.sizes: Sequence[int] = frames.sizes if isinstance(frames, VideoFile) else ()
        self.n_channels = frames.shape[3]
        self._read = lru_cache(RECENT_FRAMES)(frames.read)
        self._scale: IntensityScale | None = None
        self._scale_lock = threading.Lock()

    def __len__(self) -> int:
        return self.shape[0]

    def read(self, t: int) -> NDArray[np.generic]:
        """Return frame `t` as stored: (H, W, C), read-only.

        Raises:
            IndexError: `t` is not in 0..T-1; negative numbers do not count from the end.
            VideoError: the frame cannot be decoded.
        """
        if not 0 <= t < len(self):
            raise IndexError(f"frame {t} of {self.name}, which has frames 0 to {len(self) - 1}")
        frame = self._read(int(t)).view()
        frame.flags.writeable = False
        return frame

    def rgb(self, t: int) -> NDArray[np.float32]:
        """Return frame `t` as networks and people see it: (H, W, 3) float32 in 0..1."""
        return self.scale.to_rgb(self.read(t))

    @property
    def scale(self) -> IntensityScale:
        """How stored intensities become 0..1; measured on a few frames when first asked for."""
        with self._scale_lock:
            if self._scale is None:
                self._scale = IntensityScale.from_samples(self._samples())
            return self._scale

    def as_layer_data(self) -> LayerData:
        """Return the video in the form in which a napari image layer shows it lazily."""
        return LayerData(self)

    def _samples(self) -> NDArray[np.generic]:
        """Return evenly spaced frames, thinned out in space, as (N, h, w, C)."""
        n = min(len(self), SCALE_FRAMES)
        if self.dtype == np.uint8 and self.n_channels in (3, 4):
            n = 1  # 8-bit colour has a fixed scale: nothing is measured, one frame says what it is
        step = int(np.ceil(np.sqrt(n * self.shape[1] * self.shape[2] / SCALE_PIXELS)))
        times = np.linspace(0, len(self) - 1, n).round().astype(int)
        return np.stack([self.read(t)[::step, ::step] for t in times.tolist()])


class LayerData:
    """A video as an array that reads only the frames that are looked at, for a napari image layer.

    Attributes:
        video: that is shown.
        shape: (T, H, W) for grey, else (T, H, W, 3 or 4).
        dtype: the stored one; float32 RGB in 0..1 for channels that are not grey, RGB or RGBA.
        ndim: 3 or 4.
    """

    def __init__(self, video: Video) -> None:
        self.video = video
        first = self._frame(0)
        self.shape: tuple[int, ...] = (len(video), *first.shape)
        self.dtype = first.dtype
        self.ndim = len(self.shape)

    def __len__(self) -> int:
        return self.shape[0]

    def __deepcopy__(self, memo: Any) -> LayerData:
        return self  # napari's "Duplicate layer": nothing can be written here

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[Any]:
        """Read the whole video, for `np.asarray` and for saving the layer."""
        if copy is False:
            raise ValueError("The frames of a video are read when they are needed: an array of them is always a copy.")
        frames = np.empty(self.shape, dtype or self.dtype)
        for t in range(len(self)):
            frames[t] = self._frame(t)
        return frames

    def __getitem__(self, key: Any) -> NDArray[np.generic]:
        """Index like a numpy array; the first axis understands whole numbers, slices and lists of numbers."""
        times, *rest = key if isinstance(key, tuple) else (key,)
        within = tuple(rest)
        chosen = np.arange(self.shape[0])[times]
        if chosen.ndim == 0:
            return np.asarray(self._frame(int(chosen))[within])
        if not chosen.size:
            return np.empty((0, *self.shape[1:]), self.dtype)[(slice(None), *within)]
        return np.stack([self._frame(t)[within] for t in chosen.tolist()])

    def _frame(self, t: int) -> NDArray[np.generic]:
        frame = self.video.read(t)
        if frame.shape[-1] == 1:
            return frame[..., 0]
        return frame if frame.shape[-1] in (3, 4) else self.video.rgb(t)


def open_video(source: Any, *, channel_axis: int | None = None) -> Video:
    """Open a video without loading it.

    Args:
        source: path of an mp4, avi, mov, mkv, webm or gif file, of a folder of images (in order of their
            names, frame2 before frame10), of a multi-page TIFF or of a Zarr array; or any array with `shape`,
            `dtype` and indexing (numpy, Zarr, dask, ...). Arrays are (T, Y, X) for grey,
            (T, Y, X, 3) or (T, Y, X, 4) for colour, or have four axes of which `channel_axis` names one.
        channel_axis: the axis of an array, Zarr or TIFF that holds channels; the other three are T, Y, X.

    Raises:
        VideoError: the source does not exist, is empty or damaged, or its kind or shape is not understood.
    """
    if isinstance(source, LayerData):
        return source.video
    if not isinstance(source, str | Path):
        return Video("array", ArrayFrames(source, channel_axis))
    path = Path(source)
    try:
        return Video(path.name, _open_path(path, channel_axis), path, channel_axis)
    except (OSError, ValueError) as error:  # a name that no file can have, a folder that may not be looked into
        raise VideoError(f"{path} cannot be opened: {error}. Check the name, and who may read it.") from error


def _open_path(path: Path, channel_axis: int | None) -> Frames:
    if not path.exists():
        raise VideoError(f"There is no file or folder {path}. Check the spelling and the disk.")
    if is_zarr(path):
        return open_zarr(path, channel_axis)
    if path.is_dir():
        return ImageFolder(path)
    suffix = path.suffix.lower()
    if suffix in TIFF_SUFFIXES:
        return TiffFrames(path, channel_axis)
    if suffix in IMAGE_SUFFIXES:
        raise VideoError(f"{path.name} is a single image. Choose the folder that holds all frames.")
    return VideoFile(path)
