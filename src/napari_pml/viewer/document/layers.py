"""Create the plugin's layers, and treat annotation layers of every kind alike."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

import numpy as np
import zarr
from napari.components import LayerList
from napari.layers import Image, Labels, Layer, Points, Shapes, Vectors
from napari.utils.transforms import Affine
from numpy.typing import NDArray

from napari_pml.errors import AnnotationError
from napari_pml.viewer.colours import RGBA, colour_of, object_colormap
from napari_pml.viewer.document.metadata import DOCUMENT, PROJECT, ROLE
from napari_pml.viewer.document.prompts import LABEL, video_shape

Kind = Literal["brush", "points", "shapes"]

LAYER_OF: dict[Kind, type[Layer]] = {"brush": Labels, "points": Points, "shapes": Shapes}
CELL_ROLES = ("confidence", "embedding")
_NAMES: dict[Kind, str] = {"brush": "strokes", "points": "points", "shapes": "shapes"}
_DRAWING_MODES = {Labels: "paint", Points: "add", Shapes: "add_polygon_lasso"}
_EVENTS: dict[type[Layer], tuple[tuple[str, ...], ...]] = {  # see `events_of`
    Labels: (("paint", "data"), ("set_data", "reload"), ("selected_label",), ("mode",)),
    Points: (("data", "features", "size"), (), ("current_properties",), ("mode",)),
    Shapes: (("data", "features", "edge_width"), (), ("current_properties",), ("mode",)),
}
_COVERING = ("opaque", "translucent", "translucent_no_depth")
_TILE = 512  # pixels; a brush writes whole tiles, the display reads whole frames: neither may take long


def new_annotation_layer(kind: Kind, image: Image, label: int) -> Layer:
    """Return an empty layer to draw annotations of `image` in, ready to mark `label`."""
    shape = video_shape(image)
    options = _placed_like(image, _NAMES[kind]) | {"opacity": 0.8}
    if kind == "brush":
        tiles = zarr.create_array(  # in memory, and only where something is painted
            store=zarr.storage.MemoryStore(),
            shape=shape,
            chunks=(1, min(shape[1], _TILE), min(shape[2], _TILE)),
            dtype="uint16",
            compressors=None,
        )
        layer: Layer = Labels(tiles, colormap=object_colormap(), **options)
        layer.brush_size = max(3, round(min(shape[1:]) / 40))
    else:
        features = {LABEL: np.empty(0, np.int64)}
        layer = LAYER_OF[kind](ndim=3, features=features, feature_defaults={LABEL: label}, **options)
        if isinstance(layer, Shapes):
            layer.current_edge_width = max(1, round(min(shape[1:]) / 80))
        else:
            layer.current_size = max(3, round(min(shape[1:]) / 60))
    choose_label(layer, label, colour_of(label))
    return layer


def new_mask_layer(masks: Any, image: Image) -> Labels:
    """Return the layer that shows `masks`, (T, H, W) uint16, over `image`; nobody can paint in it."""
    layer = Labels(masks, colormap=object_colormap(), opacity=0.5, **_placed_like(image, "masks"))
    layer.editable = False
    return layer


def new_cell_layer(frames: Any, image: Image, role: str, cell: tuple[float, float], **options: Any) -> Image:
    """Return a layer that shows values of cells, (T, h, w) or (T, h, w, 4), each over its own pixels of `image`."""
    side, centre = (1, *cell), (0, *((n - 1) / 2 for n in cell))
    parts = {name: getattr(image, name) for name in ("scale", "translate", "rotate", "shear")}
    placed = _placed_like(image, role) | {"scale": image.scale * side, "translate": Affine(**parts)(centre)}
    return Image(frames, multiscale=False, **placed, **options)


def shows_cells(layer: Layer) -> bool:
    """Return whether `new_cell_layer` made a layer: it is no video."""
    return layer.metadata.get(ROLE, (None, None))[0] in CELL_ROLES


def covers(layer: Image, other: Image) -> bool:
    """Return whether `layer`, higher in the list, hides what `other` shows."""
    opaque = layer.visible and layer.opacity == 1 and str(layer.blending) in _COVERING
    (low, high), (other_low, other_high) = layer.extent.world[:, -2:], other.extent.world[:, -2:]
    return opaque and bool((low < other_high).all() and (other_low < high).all())


def new_marker_layer(image: Image, t: int, y: float, x: float) -> Vectors:
    """Return a layer with a cross-hair around pixel (y, x) of frame t."""
    arm = max(4.0, min(video_shape(image)[1:]) / 16)  # pixels
    outward = np.array([(0, 1, 0), (0, -1, 0), (0, 0, 1), (0, 0, -1)]) * arm
    arms = np.stack([(t, y, x) + outward / 2, outward], axis=1)
    style = {"vector_style": "line", "edge_width": arm / 8, "edge_color": "red", "opacity": 1.0}
    return Vectors(arms, **style, **_placed_like(image, "marker"))


def role_of(layer: Layer, image: Image) -> str | None:
    """Return the part that `layer` has for `image`, such as "strokes" or "masks", if the plugin made it, else None."""
    role, owner = layer.metadata.get(ROLE, (None, None))
    return role if owner == _identity(image) else None


def drop_role(layer: Layer) -> None:
    """Make a layer an ordinary one: napari copies metadata into duplicates."""
    layer.metadata = {key: value for key, value in layer.metadata.items() if key != ROLE}


def drop_document(image: Image) -> None:
    """Make an image start with work of its own, for the same reason."""
    image.metadata = {key: value for key, value in image.metadata.items() if key not in (PROJECT, DOCUMENT)}


def is_mask_layer(layer: Layer) -> bool:
    """Return whether a layer shows results of the plugin."""
    return bool(layer.metadata.get(ROLE, (None, None))[0] == "masks")


def insert_below(layer: Layer, others: Iterable[Layer], shown: LayerList) -> None:
    """Add a layer below all `others` that are shown; the active layer stays active."""
    active = shown.selection.active
    shown.insert(min((shown.index(other) for other in others), default=len(shown)), layer)
    shown.selection.active = active


def make_annotating(layer: Layer) -> None:
    """Give shapes or points from elsewhere the feature that says which object something marks."""
    if not isinstance(layer, Labels) and LABEL not in layer.features:
        layer.features = layer.features.assign(**{LABEL: np.ones(len(layer.data), np.int64)})


def can_hold(layer: Layer, label: int) -> bool:
    """Return whether `label` can be drawn in a layer; 8-bit labels are too small for `BACKGROUND`."""
    return not isinstance(layer, Labels) or label <= np.iinfo(layer.dtype).max


def choose_label(layer: Layer, label: int, colour: RGBA) -> None:
    """Draw as object `label` in a layer from now on, if it can hold it; what is drawn already stays as it is."""
    if not can_hold(layer, label):
        return
    if isinstance(layer, Labels):
        layer.selected_label = label
        return
    layer.selected_data = set()
    layer.feature_defaults = {**layer.feature_defaults.iloc[0].to_dict(), LABEL: label}
    layer.current_face_color = colour
    if isinstance(layer, Shapes):
        layer.current_edge_color = colour


def chosen_label(layer: Layer) -> int:
    """Return the object that a layer draws as."""
    if isinstance(layer, Labels):
        return int(layer.selected_label)
    return int(layer.feature_defaults[LABEL].iloc[0])


def repaint(layer: Labels, t: int, where: NDArray[np.bool_], label: int | NDArray[Any]) -> None:
    """Paint pixels of frame `t` with undo; within `block_history` of the layer, all calls are one step of it.

    Args:
        layer: (T, H, W) labels.
        t: frame number.
        where: (H, W) the pixels.
        label: for all of them, or (H, W) for each.

    Raises:
        AnnotationError: the layer's data cannot be written.
    """
    y, x = np.nonzero(where)
    if not len(y):
        return
    try:
        layer.data_setitem((np.full(len(y), t), y, x), label[y, x] if isinstance(label, np.ndarray) else label)
    except (NotImplementedError, TypeError, ValueError) as error:  # dask, read-only arrays
        raise AnnotationError(
            f"What layer '{layer.name}' holds can be read but not changed. Untick it under 'Annotation layers'; "
            "to go on with it, duplicate it, convert the copy to a plain array, and tick that."
        ) from error


def has_tool(layer: Layer) -> bool:
    """Return whether a drag draws or edits in a layer; otherwise it moves the picture or the layer."""
    return str(layer.mode) not in ("pan_zoom", "transform")


def start_drawing(layer: Layer) -> None:
    """Put a layer in its drawing mode, unless the person already uses one of its tools."""
    if not has_tool(layer):
        layer.mode = _DRAWING_MODES[_kind_of(layer)]


def events_of(layer: Layer) -> tuple[tuple[str, ...], ...]:
    """Return the names of the events that tell of edits, of redrawing, of another label, and of another tool.

    Undo in a Labels layer says no more than that it was drawn anew, as happens on every step in time too.
    """
    return _EVENTS[_kind_of(layer)]


def painted_frames(event: Any) -> set[int] | None:
    """Return the frames that a stroke of the brush changed; None if something else happened in the layer."""
    if event.type != "paint":
        return None
    frames = np.arange(event.source.data.shape[0])
    return {t for indices, *_ in event.value for t in np.unique(frames[indices[0]]).tolist()}


def _kind_of(layer: Layer) -> type[Layer]:
    return next(kind for kind in _EVENTS if isinstance(layer, kind))


def _placed_like(image: Image, role: str) -> dict[str, Any]:
    """Return what a new layer needs to lie exactly over `image` and to be recognised later."""
    same = ("scale", "translate", "rotate", "shear", "affine", "units", "axis_labels")
    return {
        "name": f"{image.name} {role}",
        "metadata": {ROLE: (role, _identity(image))},
        **{name: getattr(image, name) for name in same},
    }


def _identity(image: Image) -> str:
    """Return what tells an image layer from others, also after it was read from a project."""
    return str(image.metadata.get(PROJECT, image.unique_id))
