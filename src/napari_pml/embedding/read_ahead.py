"""The next frame is read while the network looks at the present one."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from napari_pml.video.working import WorkingVideo


class ReadAhead:
    """Reads frames of a video; once they are asked for one after the other, the next one is read beforehand."""

    def __init__(self, video: WorkingVideo):
        """Read nothing yet."""
        self._video = video
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="decode")
        self._last: int | None = None
        self._next: tuple[int, Future[NDArray[np.float32]]] | None = None

    def rgb(self, t: int) -> NDArray[np.float32]:
        """Return frame `t`, see `WorkingVideo.rgb`; for one thread at a time."""
        expected, self._next = self._next, None
        frame = expected[1].result() if expected and expected[0] == t else self._video.rgb(t)
        step = t - self._last if self._last is not None else 0
        self._last = t
        if abs(step) == 1 and 0 <= t + step < len(self._video):
            self._next = t + step, self._thread.submit(self._video.rgb, t + step)
        return frame
