"""Animated WebP, which FFmpeg does not read."""

from __future__ import annotations

import threading
import weakref
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_pml.disk.untrusted import open_image
from napari_pml.errors import DamagedFrameError
from napari_pml.video.arrays import check_size, readable
from napari_pml.video.frame_index import DEFAULT_FPS
from napari_pml.video.frames import Frames


class AnimationFrames(Frames):
    """The frames of an animated image, which Pillow decodes one after the other.

    Attributes:
        shape: (T, H, W, 3).
        dtype: uint8.
        fps: frames per second, on average.
        times: when each frame is shown, in seconds since the first.
    """

    def __init__(self, path: Path) -> None:
        """Find out how long each frame is shown, for which all are decoded once.

        Raises:
            VideoError: it cannot be read.
        """
        self._path, self._lock = path, threading.Lock()
        with readable(path.name):
            self._image = open_image(path)
            weakref.finalize(self, self._image.close)
            check_size(path.name, self._image.height, self._image.width)
            lengths = []
            for t in range(getattr(self._image, "n_frames", 1)):
                self._image.seek(t)
                self._image.load()
                lengths.append(self._image.info.get("duration", 0) / 1000)
        self.times: list[float] = [0.0, *np.cumsum(lengths[:-1]).tolist()]
        self.shape = (len(lengths), self._image.height, self._image.width, 3)
        self.dtype = np.dtype(np.uint8)
        self.fps = len(lengths) / sum(lengths) if sum(lengths) else DEFAULT_FPS

    def read(self, t: int) -> NDArray[np.generic]:
        """Return frame `t`, 0..T-1, as (H, W, 3); DamagedFrameError if it cannot be decoded."""
        with self._lock, readable(self._path.name, f"Frame {t} of ", DamagedFrameError):
            self._image.seek(t)
            return np.array(self._image.convert("RGB"))
