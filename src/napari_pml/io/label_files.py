"""What is annotated on one frame, from a file: a label image, a JSON of labelme, or an XML of CVAT.

labelme and CVAT keep outlines and the names of what they outline. An object is known by its name: the second "cell" of
a file is called "cell 2", and if labelme has shapes in a group, "cell (7)" is all that is called "cell" in group 7.
So "cell 2" is the same object in every file and on every frame. If a file itself calls something "cell 2", its second
"cell" is "cell 3".
"""

from __future__ import annotations

import base64
import io
import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from napari_pml.disk.untrusted import check_bytes, check_is_file, check_pixels, open_image, writable_text
from napari_pml.errors import AnnotationError
from napari_pml.io.export import read_labels
from napari_pml.io.polygons import fill_polygon
from napari_pml.types import BACKGROUND, Labels

Paint = Callable[[Image.Image, int], None]

FARTHEST = 2**17
"""No coordinate is farther from 0: ellipses of millions of pixels take minutes, and larger numbers overflow."""


@dataclass(frozen=True)
class NamedLabels:
    """The objects on one frame.

    Attributes:
        labels: (H, W) uint16, 0 = no object.
        names: object -> its name, if it has one.
    """

    labels: Labels
    names: Mapping[int, str] = field(default_factory=dict)

    def renumbered(self, known: Mapping[int, str]) -> NamedLabels:
        """Give objects with a name the number under which it is known, or the lowest that is free.

        Args:
            known: the names of a video's objects so far, and every number that is taken (with the name "" if need be).

        Raises:
            AnnotationError: no number is free.
        """
        number_of = {name: number for number, name in known.items() if name}
        free = (number for number in range(1, BACKGROUND) if number not in known)
        table = np.arange(BACKGROUND + 1, dtype=np.uint16)
        names = {}
        for label, name in self.names.items():
            number = number_of[name] if name in number_of else next(free, None)
            if number is None:
                raise AnnotationError(
                    f"There is no number left for '{name}': a video has {BACKGROUND - 1} objects at most. Remove "
                    "objects, or give this one the name of another."
                )
            table[label] = number
            names[number] = name
        return NamedLabels(table[self.labels], names)


def read_annotation(path: Path, t: int) -> NamedLabels:
    """Read what is annotated on frame `t`.

    Args:
        path: a .json of labelme (of this frame), an .xml of CVAT ("CVAT for images 1.1", which may hold many frames:
            the one whose id is `t` counts, or the only one), or what `read_labels` reads, which has no names.
        t: frame number.

    Raises:
        AnnotationError: the file cannot be read, is too large, or holds nothing for this frame, or a shape without an
            inside.
    """
    try:
        check_is_file(path)
        check_bytes("the file", (path.stat().st_size,))
        if path.suffix.lower() == ".json":
            return _labelme(json.loads(path.read_text(encoding="utf-8")))
        if path.suffix.lower() == ".xml":
            return _cvat(ElementTree.parse(path).getroot(), t)
    except AnnotationError as error:
        raise AnnotationError(f"{path.name}: {error}") from error
    except Exception as error:  # on damaged files, decoders raise anything
        raise AnnotationError(
            f"{path} cannot be read as a .json of labelme or an .xml of CVAT: {error!r}. Export it again, or give a "
            "label image."
        ) from error
    return NamedLabels(read_labels(path))


def _labelme(content: dict[str, Any]) -> NamedLabels:
    shapes = content["shapes"]
    labels = [(writable_text(str(shape["label"])), shape.get("group_id")) for shape in shapes]
    names = _object_names(labels, {label for label, group in labels if group is None})
    paints = [_labelme_shape(shape) for shape in shapes]
    return _painted(zip(names, paints, strict=True), int(content["imageWidth"]), int(content["imageHeight"]))


def _labelme_shape(shape: dict[str, Any]) -> Paint:
    kind, points = shape.get("shape_type", "polygon"), [tuple(map(_number, point)) for point in shape["points"]]
    if kind == "polygon":
        return _polygon(points)
    if kind == "rectangle":
        return _box(*points[0], *points[1])
    if kind == "circle":
        (x, y), edge = points[0], points[1]
        radius = float(np.hypot(edge[0] - x, edge[1] - y))
        return _ellipse(x, y, radius, radius)
    if kind == "mask":
        inside = np.asarray(open_image(io.BytesIO(base64.b64decode(shape["mask"]))).convert("L")) > 0
        return _bitmap(inside, *(round(n) for n in points[0]))
    raise AnnotationError(_no_inside(kind, shape["label"]))


def _cvat(root: ElementTree.Element, t: int) -> NamedLabels:
    if root.find("track") is not None:
        raise AnnotationError("it was exported for video. Export it from CVAT as 'CVAT for images 1.1'.")
    images = root.findall("image")
    found = [image for image in images if image.get("id") == str(t)] or (images if len(images) == 1 else [])
    if not found:
        raise AnnotationError(f"it holds nothing for frame {t}, only for {[image.get('id') for image in images]}.")
    (image,) = found
    elements = [element for element in image if element.tag != "tag"]  # a tag says something of the whole image
    elements.sort(key=lambda element: int(element.get("z_order", 0)))
    of_all_frames = {element.get("label", "") for element in root.iterfind("image/*")}
    names = _object_names([(element.attrib["label"], None) for element in elements], of_all_frames)
    paints = [_cvat_shape(element.tag, element.attrib) for element in elements]
    return _painted(zip(names, paints, strict=True), int(image.attrib["width"]), int(image.attrib["height"]))


def _cvat_shape(kind: str, values: Mapping[str, str]) -> Paint:
    """Coordinates of CVAT count from the corner of the first pixel, ours from its middle."""
    degrees = _number(values.get("rotation", 0))
    if kind == "polygon":
        pairs = [pair.split(",") for pair in values["points"].split(";")]
        return _polygon([(_number(x) - 0.5, _number(y) - 0.5) for x, y in pairs])
    if kind == "box":
        left, top, right, bottom = (_number(values[name]) for name in ("xtl", "ytl", "xbr", "ybr"))
        if not degrees:
            return _box(left, top, right - 1, bottom - 1)
        corners = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)]) * (right - left - 1, bottom - top - 1) / 2
        return _turned(corners, (left + right - 1) / 2, (top + bottom - 1) / 2, degrees)
    if kind == "ellipse":
        x, y, rx, ry = (_number(values[name]) for name in ("cx", "cy", "rx", "ry"))
        if not degrees:
            return _ellipse(x - 0.5, y - 0.5, rx, ry)
        angles = np.radians(np.arange(360))
        return _turned(np.stack([rx * np.cos(angles), ry * np.sin(angles)], axis=1), x - 0.5, y - 0.5, degrees)
    if kind == "mask":
        left, top, width, height = (int(values[name]) for name in ("left", "top", "width", "height"))
        runs = [int(n) for n in values["rle"].split(",")]  # outside, inside, outside, ..., row after row
        _check_size(width, height)
        if sum(runs) != width * height:
            raise ValueError(f"a mask of {width} x {height} pixels has {sum(runs)} of them")
        inside = np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(height, width)
        return _bitmap(inside, left, top)
    raise AnnotationError(_no_inside(kind, values.get("label", "")))


def _number(written: str | float) -> float:
    """Return a coordinate, or an angle."""
    number = float(written)
    if not abs(number) <= FARTHEST:  # nor is it nan
        raise ValueError(f"a number is {number}, and none is beyond {FARTHEST}")
    return number


def _polygon(points: list[tuple[float, ...]]) -> Paint:
    return lambda image, label: fill_polygon(image, points, label)


def _box(x0: float, y0: float, x1: float, y1: float) -> Paint:
    """Two opposite corners, in any order; the pixels on them belong to it."""
    left, right = sorted((round(x0), round(x1)))
    top, bottom = sorted((round(y0), round(y1)))
    return lambda image, label: ImageDraw.Draw(image).rectangle((left, top, right, bottom), fill=label)


def _ellipse(x: float, y: float, rx: float, ry: float) -> Paint:
    return lambda image, label: ImageDraw.Draw(image).ellipse((x - rx, y - ry, x + rx, y + ry), fill=label)


def _turned(outline: NDArray[np.float64], x: float, y: float, degrees: float) -> Paint:
    """(N, 2) points x, y around (0, 0), turned clockwise as one sees it, and moved to (x, y)."""
    cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    points = outline @ np.array([[cos, sin], [-sin, cos]]) + (x, y)
    nearest = np.floor(points.round(6) + 0.5)  # all halves in one direction, so that no side grows
    return _polygon([tuple(point) for point in nearest.tolist()])


def _bitmap(inside: NDArray[np.bool_], left: int, top: int) -> Paint:
    return lambda image, label: image.paste(label, (left, top), Image.fromarray(inside))


def _painted(shapes: Iterable[tuple[str, Paint]], width: int, height: int) -> NamedLabels:
    """Paint shapes one over the other; those of one name are one object, numbered as they first come."""
    _check_size(width, height)
    image, numbers = Image.new("I", (width, height)), dict[str, int]()
    for name, paint in shapes:
        paint(image, numbers.setdefault(name, len(numbers) + 1))
    if len(numbers) >= BACKGROUND:
        raise AnnotationError(f"it holds {len(numbers)} objects; there may be {BACKGROUND - 1}.")
    return NamedLabels(np.asarray(image).astype(np.uint16), {number: name for name, number in numbers.items()})


def _check_size(width: int, height: int) -> None:
    try:
        check_pixels(height, width)
    except ValueError as error:
        raise AnnotationError(f"{error}. Export it again.") from error


def _object_names(shapes: Sequence[tuple[str, object]], labels: Iterable[str]) -> list[str]:
    """Return the name of the object of every shape.

    Args:
        shapes: label and group of each; every shape without a group (None) is an object of its own.
        labels: names that are meant as they are, so that no other object may get one.
    """
    taken, times = set(labels), Counter[str]()
    seen: set[str] = set()
    groups: dict[str, str] = {}

    def next_free(name: str) -> str:
        while True:
            times[name] += 1
            found = name if times[name] == 1 else f"{name} {times[name]}"
            if found not in taken:
                taken.add(found)
                return found

    names = []
    for label, group in shapes:
        if group is not None:
            name = f"{label} ({group})"
            if name not in groups:
                groups[name] = next_free(name)
            names.append(groups[name])
        else:
            names.append(next_free(label) if label in seen else label)
            seen.add(label)
    return names


def _no_inside(kind: str, name: str) -> str:
    return f"'{name}' is a {kind}, which has no inside. Remove it, or make it a polygon."
