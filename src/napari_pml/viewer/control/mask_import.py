"""Use a mask from elsewhere as annotation of a frame. Knows layers, but no windows."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np
from napari.layers import Labels

from napari_pml.errors import AnnotationError
from napari_pml.types import BACKGROUND
from napari_pml.viewer.control.controller import Controller
from napari_pml.viewer.document import layers
from napari_pml.viewer.document.prompts import can_annotate, video_shape


def usable_layers(controller: Controller) -> list[Labels]:
    """Return the Labels layers of shape (Y, X), or (T, Y, X) like the video, including the plugin's own result."""
    document = controller.chosen
    shape = video_shape(document.image)
    return [
        layer
        for layer in controller.viewer.layers
        if isinstance(layer, Labels)
        and not layer.multiscale
        and tuple(layer.data.shape) in (shape, shape[1:])
        and layer not in document.sources
    ]


def can_take_all(controller: Controller, layer: Labels) -> bool:
    """Return whether a layer could be the annotation of all frames on which it holds something."""
    return can_annotate(layer, controller.chosen.image) and not layers.is_mask_layer(layer)


def mask_in_view(controller: Controller, layer: Labels) -> np.ndarray:
    """Return what a layer holds for the frame in view: (H, W) integers."""
    return np.asarray(layer.data if layer.data.ndim == 2 else layer.data[controller.frame])


def take_mask(
    controller: Controller, mask: np.ndarray, *, complete: bool, names: Mapping[int, str] = MappingProxyType({})
) -> int:
    """Replace what is painted on the frame in view by a mask, as one step of undo; return how many objects it has.

    Args:
        controller: of the video.
        mask: (H, W) integers: 0 = no object, 1..65534 = objects, `BACKGROUND` = background.
        complete: pixels without a label are background.
        names: of objects that have one.

    Raises:
        AnnotationError: the mask is empty, has another size, or holds numbers that cannot be objects.
    """
    document, t = controller.chosen, controller.frame
    size = video_shape(document.image)[1:]
    if mask.shape != size:
        raise AnnotationError(
            f"The mask is {' x '.join(map(str, mask.shape))} pixels, but frames of '{document.image.name}' are "
            f"{size[0]} x {size[1]} (rows x columns). Choose a mask of this video, in full resolution."
        )
    objects = [int(label) for label in np.unique(mask) if label not in (0, BACKGROUND)]
    if not objects:
        raise AnnotationError(f"The mask holds no object on frame {t}. Choose another, or go to another frame.")
    if objects[0] < 0 or objects[-1] > BACKGROUND:
        raise AnnotationError(
            f"The mask holds numbers from {objects[0]} to {objects[-1]}; objects are numbered 1 to {BACKGROUND - 1}. "
            "Renumber it first."
        )
    controller.label = max(objects[-1], int(mask.max()))  # so that a layer is taken that can hold it
    controller.draw_with("brush")
    strokes = controller.viewer.layers.selection.active
    with strokes.block_history():
        layers.repaint(strokes, t, np.asarray(strokes.data[t]) != mask, mask)
    document.objects.update(objects)
    document.names.update(names)
    controller.mark_complete(complete or t in document.complete)
    controller.choose_label(objects[0])
    return len(objects)
