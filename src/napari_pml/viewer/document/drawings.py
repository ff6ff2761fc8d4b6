"""The layers of a project: strokes, points and shapes as they were drawn, and masks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any

import numpy as np
from napari.layers import Image, Layer, Points, Shapes

from napari_pml.types import UNLABELLED, UNREADABLE, Annotations
from napari_pml.viewer.colours import colour_of
from napari_pml.viewer.document import layers
from napari_pml.viewer.document.prompts import LABEL, annotation, labels_of, magnification, to_pixels

Drawing = Mapping[str, Any]


def drawings_of(sources: Iterable[Layer], image: Image) -> tuple[Drawing, ...]:
    """Return the points and shapes of annotation layers in plain lists, in pixels of the video: ready for JSON."""
    return tuple(_drawing(layer, image) for layer in sources if isinstance(layer, Points | Shapes) and len(layer.data))


def restored_layers(image: Image, annotations: Annotations, drawings: Iterable[Drawing], masks: Any) -> list[Layer]:
    """Return the layers in which the work of a project goes on, the lowest first.

    Pixels that were painted under a shape or a point come back as part of it.

    Args:
        image: the layer that shows the video.
        annotations: of the project.
        drawings: from `drawings_of`.
        masks: (T, H, W) uint16, or None if there are none.
    """
    drawn = []
    for drawing in drawings:
        with suppress(*UNREADABLE):  # of a damaged one, the pixels come back as if they had been painted
            drawn.append(_layer(drawing, image))
    strokes = layers.new_annotation_layer("brush", image, 1)
    for t, labels in annotations.frames.items():
        strokes.data[t] = np.where(annotation(t, drawn, image) == UNLABELLED, labels, UNLABELLED)
    shown: list[Layer] = [] if masks is None else [layers.new_mask_layer(masks, image)]
    return [*shown, strokes, *sorted(drawn, key=lambda layer: isinstance(layer, Points))]


def _drawing(layer: Points | Shapes, image: Image) -> Drawing:
    matrix, offset = to_pixels(layer, image)
    kind, sizes = ("points", layer.size) if isinstance(layer, Points) else ("shapes", layer.edge_width)
    return {
        "kind": kind,
        "name": layer.name,
        "data": [(np.asarray(place) @ matrix.T + offset).tolist() for place in layer.data],
        "sizes": (np.asarray(sizes, float) * magnification(matrix)).tolist(),
        "labels": labels_of(layer).tolist(),
        "types": list(getattr(layer, "shape_type", [])),
    }


def _layer(drawing: Drawing, image: Image) -> Layer:
    """Return the layer of a drawing, which lies over `image` now; one of `UNREADABLE` if it is damaged."""
    labels = np.array(drawing["labels"], np.int64)
    data = [np.array(vertices, float) for vertices in drawing["data"]]
    sizes = np.array(drawing["sizes"], float)
    if not labels.shape == sizes.shape == (len(data),):
        raise ValueError("every point or shape has one label and one size")
    layer = layers.new_annotation_layer(drawing["kind"], image, 1)
    colours = [colour_of(label) for label in labels.tolist()]
    if isinstance(layer, Points):
        layer.add(np.stack(data))
        layer.size = sizes
    else:
        layer.add(data, shape_type=drawing["types"], edge_width=sizes.tolist())
        layer.edge_color = colours
    layer.face_color = colours
    layer.features = {LABEL: labels}
    layer.selected_data = set()
    layer.name = drawing["name"]
    return layer
