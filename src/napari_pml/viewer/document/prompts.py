"""What a person draws - painted labels, shapes, points - becomes the annotation of a frame.

What is seen is what is annotated: a filled shape annotates its inside, a line its width, a point its disc.
Shapes and points say which object they mean in a feature column, `LABEL`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd
from napari.layers import Image, Labels, Layer, Points, Shapes
from numpy.typing import NDArray
from PIL import Image as PilImage
from PIL import ImageDraw

from napari_pml.errors import AnnotationError
from napari_pml.types import BACKGROUND, UNLABELLED

LABEL = "label"
"""Feature of a shape or point: the object it marks, or `BACKGROUND`."""

_ELLIPSE_CORNERS = 72

_FAR = 1e6  # pixels, farther than which a corner may as well be exactly so far: Pillow counts in 32 bits


def video_data(image: Image) -> Any:
    """Return the array that an image layer shows, in full resolution."""
    return image.data[0] if image.multiscale else image.data


def video_shape(image: Image) -> tuple[int, int, int]:
    """Return (T, H, W) of an image layer that shows a video."""
    n_frames, height, width = (int(n) for n in video_data(image).shape[:3])
    return n_frames, height, width


def is_stack(image: Image) -> bool:
    """Return whether an image layer has more axes than a video."""
    return image.ndim > 3 and not image.rgb


def long_axes(image: Image) -> list[int]:
    """Return the axes of a layer along which there is more than one thing; the last two are rows and columns."""
    shape = video_data(image).shape
    return [axis for axis, n in enumerate(shape) if n > 1 or axis >= len(shape) - 2]


def is_single(image: Image) -> bool:
    """Return whether a layer is a video but for further axes along which there is only one thing."""
    return is_stack(image) and not image.multiscale and len(long_axes(image)) <= 3


def can_annotate(layer: Layer, image: Image) -> bool:
    """Return whether a layer could hold annotations of this video."""
    if isinstance(layer, Labels):
        return not layer.multiscale and tuple(layer.data.shape) == video_shape(image)
    return isinstance(layer, Shapes | Points) and layer.ndim == 3


def contents(layer: Layer, image: Image) -> dict[int, bytes]:
    """Return the frames on which a layer annotates something; reads the whole of a Labels layer.

    Returns:
        frame number -> for shapes and points, something that changes whenever what is drawn there does.
    """
    n_frames = video_shape(image)[0]
    if isinstance(layer, Labels):
        return {t: b"" for t in range(n_frames) if np.asarray(layer.data[t]).any()}
    items = zip(layer.data, layer.size if isinstance(layer, Points) else layer.edge_width, strict=True)
    found: dict[int, bytes] = {}
    for t, (place, size), label in zip(
        _frames_of(layer, *to_pixels(layer, image)), items, labels_of(layer), strict=True
    ):
        if 0 <= t < n_frames:
            found[int(t)] = found.get(int(t), b"") + place.tobytes() + f"{size} {label};".encode()
    return found


def marks(layer: Shapes | Points, objects: set[int], image: Image) -> tuple[NDArray[np.intp], set[int]]:
    """Return which shapes or points mark one of `objects`, as (N,) indices, and the frames they lie on."""
    found = np.flatnonzero(np.isin(labels_of(layer), list(objects)))
    return found, set(_frames_of(layer, *to_pixels(layer, image))[found].tolist())


def annotation(t: int, layers: Iterable[Layer], image: Image) -> NDArray[np.uint16]:
    """Draw what the layers say about frame `t`; points go over shapes, shapes over painted labels.

    Returns:
        (H, W) uint16: `UNLABELLED`, an object, or `BACKGROUND`.

    Raises:
        AnnotationError: a Labels layer holds a number that cannot be an object.
    """
    canvas = np.full(video_shape(image)[1:], UNLABELLED, np.uint16)
    for kind, draw in ((Labels, _draw_labels), (Shapes, _draw_shapes), (Points, _draw_points)):
        for layer in layers:
            if isinstance(layer, kind):
                draw(canvas, layer, t, image)
    return canvas


def _draw_labels(canvas: NDArray[np.uint16], layer: Labels, t: int, image: Image) -> None:
    painted = np.asarray(layer.data[t])
    if painted.dtype != np.uint16 and painted.size and not 0 <= painted.min() <= painted.max() <= BACKGROUND:
        raise AnnotationError(
            f"Layer '{layer.name}' holds labels from {painted.min()} to {painted.max()} on frame {t}; "
            f"objects are numbered 1 to {BACKGROUND - 1}, {BACKGROUND} is background. Renumber or untick it."
        )
    drawn = painted != UNLABELLED
    canvas[drawn] = painted[drawn]


def _draw_shapes(canvas: NDArray[np.uint16], layer: Shapes, t: int, image: Image) -> None:
    matrix, offset = to_pixels(layer, image)
    here = np.flatnonzero(_frames_of(layer, matrix, offset) == t)
    if not len(here):
        return
    picture = PilImage.fromarray(canvas.astype(np.int32))
    draw = ImageDraw.Draw(picture)
    labels = labels_of(layer)
    for i in here[labels[here] != UNLABELLED]:
        vertices = (layer.data[i] @ matrix.T + offset)[:, 1:]
        kind = layer.shape_type[i]
        if kind in ("line", "path"):
            width = round(min(max(1, layer.edge_width[i] * magnification(matrix)), sum(canvas.shape)))
            draw.line(_xy(vertices), fill=int(labels[i]), width=width, joint="curve")
        else:
            draw.polygon(_xy(_ellipse(vertices) if kind == "ellipse" else vertices), fill=int(labels[i]))
    canvas[:] = np.asarray(picture)


def _draw_points(canvas: NDArray[np.uint16], layer: Points, t: int, image: Image) -> None:
    matrix, offset = to_pixels(layer, image)
    labels = labels_of(layer)
    height, width = canvas.shape
    for i in np.flatnonzero((_frames_of(layer, matrix, offset) == t) & (labels != UNLABELLED)):
        y, x = (matrix @ layer.data[i] + offset)[1:]
        radius = max(1.0, layer.size[i] * magnification(matrix) / 2)
        rows, columns = _between(y - radius, y + radius, height), _between(x - radius, x + radius, width)
        distance = np.hypot(np.r_[rows][:, None] - y, np.r_[columns] - x)
        canvas[rows, columns][distance <= radius] = labels[i]


def to_pixels(layer: Layer, image: Image) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the (3, 3) matrix and (3,) offset from a layer's coordinates to the image's (t, y, x)."""

    def map_one(position: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(image.world_to_data(layer.data_to_world(position)))

    origin = map_one(np.zeros(3))
    return np.stack([map_one(axis) - origin for axis in np.eye(3)], axis=1), origin


def magnification(matrix: NDArray[np.float64]) -> float:
    """Return how many image pixels long one unit of the layer is, in the plane of a frame."""
    return float(np.sqrt(abs(np.linalg.det(matrix[1:, 1:]))))


def _frames_of(layer: Shapes | Points, matrix: NDArray[np.float64], offset: NDArray[np.float64]) -> NDArray[np.intp]:
    """Return the frame each shape or point lies on, as (N,); -1 where a coordinate is no number."""
    if not len(layer.data):
        return np.empty(0, np.intp)
    with np.errstate(invalid="ignore", over="ignore"):
        centres = layer.data if isinstance(layer, Points) else np.stack([v.mean(axis=0) for v in layer.data])
        frames = np.rint((centres @ matrix.T + offset)[:, 0])
    return np.where(abs(frames) < 2**31, frames, -1).astype(np.intp)


def labels_of(layer: Shapes | Points) -> NDArray[np.int64]:
    """Return the object of each shape or point as (N,); `UNLABELLED` where the feature is unusable."""
    values = layer.features.get(LABEL, pd.Series(UNLABELLED, index=range(len(layer.data))))
    labels = pd.to_numeric(values, errors="coerce").fillna(UNLABELLED).to_numpy()
    return np.where((labels > 0) & (labels <= BACKGROUND), labels, UNLABELLED).astype(np.int64)


def _ellipse(corners: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return points around the ellipse inside a (4, 2) box, which may be turned."""
    angle = np.linspace(0, 2 * np.pi, _ELLIPSE_CORNERS, endpoint=False)[:, None]
    half_a, half_b = (corners[1] - corners[0]) / 2, (corners[3] - corners[0]) / 2
    points: NDArray[np.float64] = corners.mean(axis=0) + np.cos(angle) * half_a + np.sin(angle) * half_b
    return points


def _xy(vertices: NDArray[np.float64]) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for y, x in vertices.clip(-_FAR, _FAR)]


def _between(first: float, last: float, n: int) -> slice:
    """Return which of n pixels in a row lie from `first` to `last`."""
    return slice(*np.clip([np.ceil(first), np.floor(last) + 1], 0, n).astype(int).tolist())
