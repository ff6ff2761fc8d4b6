"""Where things were a moment ago: dense optical flow between two frames of a video, and masks moved by it.

The flow is DIS (Kroeger et al., ECCV 2016) as OpenCV has it.
"""

from __future__ import annotations

import threading

import cv2
import numpy as np
from numpy.typing import NDArray

from napari_pml.types import Labels
from napari_pml.video.working import WorkingVideo

LONGEST_SIDE = 1024
"""Larger frames are made smaller for the flow: time grows with their area, and neighbours move alike."""

_threads = threading.Lock()


class Motion:
    """The flow between frames of one video; the last one found is kept."""

    def __init__(self, video: WorkingVideo):
        """Look at `video`; nothing is computed yet."""
        self._video = video
        self._last: tuple[tuple[int, int], NDArray[np.float32]] | None = None

    def flow(self, t: int, earlier: int) -> NDArray[np.float32]:
        """Return how far each pixel of frame `t` is from where it was on the frame `earlier`, in pixels.

        Returns:
            (H, W, 2) float32, (x, y). Add it to a pixel's own coordinates to get those on the other frame.

        Raises:
            VideoError: a frame cannot be decoded.
        """
        if self._last is None or self._last[0] != (t, earlier):
            self._last = (t, earlier), dense_flow(self._video.rgb(t), self._video.rgb(earlier))
        return self._last[1]

    def moved(self, labels: Labels, t: int, earlier: int) -> Labels:
        """Return where motion takes the labels of the frame `earlier` until frame `t`: (H, W), 0 from outside."""
        flow = self.flow(t, earlier)
        rows, columns = np.indices(labels.shape, np.float32)
        found = cv2.remap(labels, columns + flow[..., 0], rows + flow[..., 1], cv2.INTER_NEAREST)
        return found.astype(np.uint16, copy=False)


def dense_flow(frame: NDArray[np.float32], earlier: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the flow from one frame to another, see `Motion.flow`.

    Args:
        frame: (H, W, 3) float32 in 0..1.
        earlier: the same.
    """
    height, width = frame.shape[:2]
    scale = min(1.0, LONGEST_SIDE / max(height, width))
    if min(height, width) * scale < 16:  # less than the patches that are compared
        return np.zeros((height, width, 2), np.float32)
    size = round(width * scale), round(height * scale)
    grey = [cv2.resize(_even_contrast(image), size, interpolation=cv2.INTER_AREA) for image in (frame, earlier)]
    with _threads:  # the number of threads decides where patches are compared
        n_threads = cv2.getNumThreads()
        cv2.setNumThreads(1)
        try:
            dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
            flow = dis.calc(grey[0], grey[1], np.zeros((size[1], size[0], 2), np.float32))
        finally:
            cv2.setNumThreads(n_threads)
    if scale < 1:
        flow = cv2.resize(flow, (width, height)) * np.array([width / size[0], height / size[1]])
    return np.asarray(flow, np.float32)


def _even_contrast(image: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Return (H, W) uint8 in which what is dim counts too."""
    return np.asarray(255 * np.sqrt(image.mean(-1)), np.uint8)
