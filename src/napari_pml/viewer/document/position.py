"""Which frame of a video the viewer shows."""

from __future__ import annotations

from collections.abc import Sequence

from napari.components import Dims
from napari.layers import Image


class Position:
    """The place of the viewer's time slider in one video.

    Attributes:
        n_frames: of the video.
    """

    def __init__(self, image: Image, dims: Dims, n_frames: int) -> None:
        self._image, self._dims, self.n_frames = image, dims, n_frames

    @property
    def frame(self) -> int:
        """The frame in view: the nearest one where the slider stands beside the video."""
        return min(max(self._index(self._dims.point), 0), self.n_frames - 1)

    @property
    def is_inside(self) -> bool:
        """Whether there is a frame where the slider stands."""
        return 0 <= self._index(self._dims.point) < self.n_frames

    def go_to(self, t: int) -> None:
        """Show frame t."""
        self._dims.set_point(self._dims.ndim - 3, self._image.data_to_world((t, 0, 0))[0])

    def _index(self, point: Sequence[float]) -> int:
        return round(float(self._image.world_to_data(point)[0]))
