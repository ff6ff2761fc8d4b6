"""What a person does, in a line each."""

import numpy as np
from napari.components import ViewerModel

from napari_pml.types import BACKGROUND
from napari_pml.viewer.control.controller import Controller


def stroke(viewer: ViewerModel, label: int, t: int, y: int, x: int, layer: str = "clip strokes") -> None:
    """Paint as the mouse does: one press and release."""
    strokes = viewer.layers[layer]
    strokes.brush_size = 3
    with strokes.block_history():
        strokes.paint((t, y, x), label)


def begin(controller: Controller) -> None:
    """Object 1 on the bright square, background beside it, on frame 0."""
    controller.choose_label(1)
    stroke(controller.viewer, 1, 0, 8, 6)
    stroke(controller.viewer, BACKGROUND, 0, 14, 6)


def shown(viewer: ViewerModel, t: int) -> np.ndarray:
    return np.asarray(viewer.layers["clip masks"].data[t])


def finished(controller: Controller) -> set[int]:
    return set(range(6)) - set(controller.document.session.stale_frames())
