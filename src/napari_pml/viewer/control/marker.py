"""Mark one pixel of a video."""

from __future__ import annotations

import numpy as np
from napari.components import ViewerModel
from napari.layers import Image, Vectors

from napari_pml.viewer.document import layers


class Marker:
    """A cross-hair in a temporary layer."""

    def __init__(self, viewer: ViewerModel) -> None:
        self._viewer = viewer
        self._layer: Vectors | None = None

    def show(self, image: Image, t: int, y: float, x: float) -> None:
        """Go to frame t of a video and mark pixel (y, x); move the camera if that is out of view."""
        self.remove()
        viewer = self._viewer
        world = np.zeros(viewer.dims.ndim)
        world[-3:] = image.data_to_world((t, y, x))
        viewer.dims.set_point(viewer.dims.ndim - 3, world[-3])
        low, high = (image.corner_pixels * image.downsample_factors[image.data_level])[:, 1:]
        if (low > (y, x)).any() or (high < (y, x)).any():
            scene = getattr(viewer, "scene", viewer)  # napari before 0.9 has no scene
            scene.camera.center = tuple(world[list(viewer.dims.displayed)])
        self._layer = layers.new_marker_layer(image, t, y, x)
        layers.insert_below(self._layer, [], viewer.layers)

    def remove(self) -> None:
        """Take the cross-hair away, if it is there."""
        if self._layer is not None and self._layer in self._viewer.layers:
            self._viewer.layers.remove(self._layer)
        self._layer = None
