"""What is annotated on one frame, from a file: a label image, a JSON of labelme (or X-AnyLabeling), or an XML of CVAT.

These keep outlines and the names of what they outline. An object is known by its name: the second "cell" of
a file is called "cell 2", and if labelme has shapes in a group, "cell (7)" is all that is called "cell" in group 7.
So "cell 2" is the same object in every file and on every frame. If a file itself calls something "cell 2", its second
"cell" is "cell 3".
"""

from __future__ import annotations

import base64
import io
import json
import re
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
from napari_pml.io.label_images import read_labels
from napari_pml.io.polygons import fill_polygon
from napari_pml.types import BACKGROUND, Labels

Paint = Callable[[Image.Image, int], None]

FARTHEST = 2**17
"""Maximum distance of a coordinate from 0: larger ellipses take minutes, and larger numbers overflow."""


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
        """Renumber named objects: the number under which the name is known, or the lowest free one.

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


def read_annotation(path: Path, t: int, size: tuple[int, int] | None = None) -> NamedLabels:
    """Read what is annotated on frame `t`.

    Args:
        path: a .json of labelme or X-AnyLabeling (of this frame), an .xml of CVAT, for images or for video, which may
            hold many frames (the image that is named after frame `t`, whose id it is, or the only one counts; of
            tracks, what they show on it), or what `read_labels` reads, which has no names.
        t: frame number.
        size: (H, W) of the video, for files that do not tell it.

    Raises:
        AnnotationError: the file cannot be read, is too large, or holds nothing for this frame, or a shape without an
            inside.
    """
    try:
        check_is_file(path)
        check_bytes("the file", (path.stat().st_size,))
        if path.suffix.lower() == ".json":
            return _labelme(json.loads(path.read_text(encoding="utf-8-sig")))
        if path.suffix.lower() == ".xml":
            root = ElementTree.parse(path).getroot()
            return _cvat(root, t) if root.find("track") is None else _cvat_video(root, t, size)
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
    if kind == "rectangle":  # labelme keeps two corners, X-AnyLabeling four
        if len(points) not in (2, 4):
            raise ValueError(f"a rectangle has {len(points)} points")
        columns, rows = zip(*points, strict=True)
        return _box(min(columns), min(rows), max(columns), max(rows))
    if kind == "rotation":
        return _polygon(points)
    if kind == "circle":
        (x, y), edge = points[0], points[1]
        radius = float(np.hypot(edge[0] - x, edge[1] - y))
        return _ellipse(x, y, radius, radius)
    if kind == "mask":
        inside = np.asarray(open_image(io.BytesIO(base64.b64decode(shape["mask"]))).convert("L")) > 0
        return _bitmap(inside, *(round(n) for n in points[0]))
    raise AnnotationError(_no_inside(kind, shape["label"]))


def _cvat(root: ElementTree.Element, t: int) -> NamedLabels:
    images = root.findall("image")
    numbers = [_frame_of(image) for image in images]
    found = [image for image, number in zip(images, numbers, strict=True) if number == t]
    found = found or (images if len(images) == 1 else [])
    if not found:
        raise AnnotationError(f"it holds nothing for frame {t}, only for {numbers}.")
    (image,) = found
    elements = [element for element in image if element.tag != "tag"]  # a tag says something of the whole image
    elements.sort(key=lambda element: int(element.get("z_order", 0)))
    of_all_frames = {element.get("label", "") for element in root.iterfind("image/*")}
    names = _object_names([(element.attrib["label"], None) for element in elements], of_all_frames)
    paints = [_cvat_shape(element.tag, element.attrib) for element in elements]
    return _painted(zip(names, paints, strict=True), int(image.attrib["width"]), int(image.attrib["height"]))


def _frame_of(image: ElementTree.Element) -> int:
    """Return which frame an image of CVAT is: of a video it is named after it, as not every frame need be one."""
    named = re.fullmatch(r"frame_(\d+)", Path(image.get("name", "")).stem)
    return int(named[1]) if named else int(image.get("id", 0))


def key_frames(path: Path) -> list[int]:
    """Return the frames on which somebody drew, of an .xml of "CVAT for video"; none for any other file.

    Raises:
        AnnotationError: it cannot be read.
    """
    if path.suffix.lower() != ".xml":
        return []
    try:
        root = ElementTree.parse(path).getroot()
        shapes = [shape for shape in root.iterfind("track/*") if shape.get("keyframe") == "1"]
        return sorted({_cvat_frame(root, shape) for shape in shapes if shape.get("outside") != "1"})
    except Exception as error:  # on damaged files, parsers raise anything
        raise AnnotationError(f"{path} cannot be read as an .xml of CVAT: {error!r}. Export it again.") from error


def _cvat_frame(root: ElementTree.Element, shape: ElementTree.Element) -> int:
    """Return the frame of the video that a shape of a track lies on: a task may begin later, and leave frames out."""
    step = re.search(r"step\s*=\s*(\d+)", root.findtext(".//frame_filter") or "")
    return int(root.findtext(".//start_frame") or 0) + int(shape.attrib["frame"]) * (int(step[1]) if step else 1)


def _cvat_video(root: ElementTree.Element, t: int, size: tuple[int, int] | None) -> NamedLabels:
    """Every track is an object; CVAT writes where it is on every frame, key frame or not."""
    tracks = root.findall("track")
    labels = [track.get("label", "") for track in tracks]
    names = _object_names([(label, None) for label in labels], labels)
    found = [
        (int(shape.get("z_order", 0)), name, shape)
        for name, track in zip(names, tracks, strict=True)
        for shape in track
        if shape.get("outside") != "1" and _cvat_frame(root, shape) == t
    ]
    found.sort(key=lambda entry: entry[0])
    if not found:
        raise AnnotationError(f"it holds nothing for frame {t}. Give one of its key frames.")
    paints = [_cvat_shape(shape.tag, {"label": name, **shape.attrib}) for _, name, shape in found]
    width, height = (int(root.findtext(f".//original_size/{name}") or 0) for name in ("width", "height"))
    if not width or not height:
        height, width = size or _reach([shape for _, _, shape in found])
    return _painted(zip((name for _, name, _ in found), paints, strict=True), width, height)


def _reach(shapes: list[ElementTree.Element]) -> tuple[int, int]:
    """Return (H, W) of an image that holds polygons and boxes of CVAT."""
    points = [point.split(",") for shape in shapes for point in shape.get("points", "0,0").split(";")]
    points += [[shape.get("xbr", "0"), shape.get("ybr", "0")] for shape in shapes]
    width, height = np.ceil(np.array([[_number(n) for n in point] for point in points]).max(axis=0)).astype(int)
    return int(height), int(width)


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
