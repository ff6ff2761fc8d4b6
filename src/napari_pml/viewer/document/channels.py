"""What the network is to see of an image with more axes than a video, or of several images: one lazy video layer.

Channels and slices are *planes*: arrays (T, Y, X) of which one becomes a grey video, or up to three become red,
green and blue. Colours are stretched as the viewer shows them, so that the network sees what the person sees.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image
from numpy.typing import NDArray

from napari_pml.video.frames import Frames
from napari_pml.viewer.document.inputs import read_from
from napari_pml.viewer.document.metadata import READ_FROM
from napari_pml.viewer.document.prompts import long_axes, video_data

if TYPE_CHECKING:
    from napari_pml.video.video import LayerData

_PERCENTILES = (0.1, 99.9)  # of some frames: what is black and what is white in a plane of a layer with several
_LIMIT_FRAMES, _LIMIT_PIXELS = 8, 2_000_000  # frames, spread over the whole video, and pixels in all


@dataclass(frozen=True, eq=False)
class Plane:
    """A grey video (T, Y, X) that may be chosen.

    Attributes:
        name: shown to the person.
        layer: the image layer it is part of.
        data: what that layer shows.
        axes: of these, those of time, rows and columns.
        others: where it lies on each of the remaining axes.
    """

    name: str
    layer: Image
    data: Any
    axes: tuple[int, int, int]
    others: Mapping[int, int] = field(default_factory=dict)

    def frame(self, t: int) -> NDArray[np.generic]:
        """Return frame `t` as stored, (Y, X)."""
        time = self.axes[0]
        key = (t if axis == time else self.others.get(axis, slice(None)) for axis in range(len(self.data.shape)))
        return np.asarray(self.data[tuple(key)])

    @property
    def shape(self) -> tuple[int, int, int]:
        """(T, Y, X)."""
        n_frames, height, width = (int(self.data.shape[axis]) for axis in self.axes)
        return n_frames, height, width

    def limits(self) -> tuple[float, float]:
        """Return the intensities that become black and white: the layer's own, or those of some frames of this plane.

        One frame alone may be black.
        """
        if not self.others:
            return tuple(self.layer.contrast_limits)
        n_frames, height, width = self.shape
        times = np.linspace(0, n_frames - 1, min(n_frames, _LIMIT_FRAMES)).round().astype(int)
        step = int(np.ceil(np.sqrt(len(times) * height * width / _LIMIT_PIXELS)))
        low, high = np.nanpercentile([self.frame(t)[::step, ::step] for t in times.tolist()], _PERCENTILES)
        return float(low), float(high)


class PlaneFrames(Frames):
    """Planes as the frames of a video, for `napari_pml.video.video.Video`: (T, H, W, C)."""

    def __init__(self, planes: Sequence[Plane | None]) -> None:
        """Put planes together.

        Args:
            planes: one for grey as it is stored, or red, green and blue, of which some may be None.
        """
        self._planes = planes
        self.is_rgb = len(planes) == 3
        first = next(plane for plane in planes if plane is not None)
        self._limits = [plane.limits() if plane is not None and self.is_rgb else (0, 1) for plane in planes]
        self.shape = (*first.shape, len(planes))
        self.dtype = np.dtype(np.uint8) if self.is_rgb else np.dtype(first.data.dtype)

    def read(self, t: int) -> NDArray[np.generic]:
        """Return frame `t`, 0..T-1, as (H, W, C)."""
        if not self.is_rgb:
            (grey,) = self._planes
            assert grey is not None
            return grey.frame(t)[..., None]
        frame = np.zeros(self.shape[1:], np.uint8)
        for channel, (plane, (low, high)) in enumerate(zip(self._planes, self._limits, strict=True)):
            if plane is not None:
                stretched = (plane.frame(t).astype(np.float32) - low) * (255 / max(high - low, 1e-12))
                frame[..., channel] = np.nan_to_num(np.clip(stretched, 0, 255))
        return frame


def planes_of(
    image: Image, time: int, across: int | None, others: Mapping[int, int] = MappingProxyType({})
) -> list[Plane]:
    """Return the channels or slices of a layer, which lie along axis `across`; without one, there is a single plane.

    Args:
        image: with more axes than a video.
        time: which axis frames lie on.
        across: which axis channels or slices lie on.
        others: where to look on every further axis; 0 on those that are not named.
    """
    data = video_data(image)
    free = [axis for axis in range(image.ndim) if axis not in (time, across, *others)]
    rows, columns = free[-2:]
    fixed = dict.fromkeys(free[:-2], 0) | dict(others)
    if across is None:
        return [Plane(image.name, image, data, (time, rows, columns), fixed)]
    n = data.shape[across]
    return [Plane(str(i), image, data, (time, rows, columns), fixed | {across: i}) for i in range(n)]


def layers_like(image: Image, images: Sequence[Image]) -> list[Plane]:
    """Return the grey videos of the size of `image`: napari shows the channels of a recording as such layers."""
    if image.ndim != 3 or image.rgb:
        return []
    shape = tuple(video_data(image).shape)
    alike = (other for other in images if not other.rgb and tuple(video_data(other).shape) == shape)
    return [Plane(other.name, other, video_data(other), (0, 1, 2)) for other in alike]


def drop_single_axes(image: Image) -> None:
    """Show a layer for which `is_single` holds as the video that it is, in its place; nothing is read for it."""
    time = next(iter(long_axes(image)[:-2]), image.ndim - 3)
    (plane,) = planes_of(image, time, None)
    placed = _placed(plane)
    image.data = combined([plane])
    image.rotate, image.shear = np.eye(3), np.zeros(3)
    for name, value in placed.items():
        setattr(image, name, value)


def combined(planes: Sequence[Plane | None]) -> LayerData:
    """Return planes as the data of one lazy layer: grey if only one is chosen, else RGB. Reads some frames of each.

    Args:
        planes: red, green and blue; at least one is not None.
    """
    from napari_pml.video.video import Video  # imports torch: not when the viewer starts

    chosen = [plane for plane in planes if plane is not None]
    return Video("channels", PlaneFrames(planes if len(chosen) > 1 else chosen)).as_layer_data()


def layer_of(data: LayerData, planes: Sequence[Plane | None]) -> Image:
    """Return the layer that shows combined planes, named after them, where they lie."""
    chosen = [plane for plane in planes if plane is not None]
    names = "+".join(plane.name for plane in chosen)
    first = chosen[0]
    return Image(
        data,
        name=names if not first.others else f"{first.layer.name} {names}",
        rgb=data.ndim == 4,
        metadata={READ_FROM: sorted({str(path) for plane in chosen for path in read_from(plane.layer)})},
        **_placed(first),
    )


def _placed(plane: Plane) -> dict[str, Any]:
    """Return the place of a plane in the world: scale and translation, and whatever else its layer has, as affine."""
    layer, axes = plane.layer, list(plane.axes)
    corner = np.zeros(layer.ndim)
    for axis, index in plane.others.items():
        corner[axis] = index
    origin = np.asarray(layer.data_to_world(corner))
    steps = [np.asarray(layer.data_to_world(corner + np.eye(layer.ndim)[axis])) - origin for axis in axes]
    world, own = np.eye(len(axes) + 1), np.diag([*layer.scale[axes], 1.0])
    world[:-1, :-1], world[:-1, -1] = np.transpose(steps)[axes], origin[axes]
    own[:-1, -1] = layer.translate[axes]
    return {
        "scale": layer.scale[axes],
        "translate": layer.translate[axes],
        "affine": world @ np.linalg.inv(own),
        "units": [layer.units[axis] for axis in axes],
        "axis_labels": [layer.axis_labels[axis] for axis in axes],
    }
