"""One colour for every object, the same in strokes, masks and buttons."""

from __future__ import annotations

import colorsys
from collections.abc import Mapping
from types import MappingProxyType

import numpy as np
from napari.utils.colormaps import CyclicLabelColormap, DirectLabelColormap
from numpy.typing import NDArray

from napari_pml.types import BACKGROUND, UNLABELLED

RGBA = tuple[float, float, float, float]

_FIRST = ("#ff40c8", "#40a9ff", "#ffd84a", "#52d869", "#ff5148", "#3fe0d6", "#ff9a3c", "#9d7bff")
_GREY = "#c8c8c8"
_GOLDEN_RATIO = 0.618034  # steps of this fraction of the hue circle never come near an earlier hue for long
_MANY = 1000  # objects with a colour of their own in a layer; the others share one


def colour_of(label: int) -> RGBA:
    """Return the opaque colour of an object, neutral grey for `BACKGROUND`, transparent for no label."""
    if label == UNLABELLED:
        return 0.0, 0.0, 0.0, 0.0
    if label == BACKGROUND:
        return _from_hex(_GREY)
    if label <= len(_FIRST):
        return _from_hex(_FIRST[label - 1])
    red, green, blue = colorsys.hsv_to_rgb(label * _GOLDEN_RATIO % 1, 0.55 + 0.4 * (label % 2), 1.0)
    return red, green, blue, 1.0


def object_colormap(special: Mapping[int, RGBA] = MappingProxyType({})) -> DirectLabelColormap:
    """Return a new colormap for one Labels layer; never shared, since it holds the layer's selection.

    Args:
        special: colours of objects that differ from `colour_of`.
    """
    colours: dict[int | None, RGBA] = {label: colour_of(label) for label in (*range(_MANY), BACKGROUND)}
    colours.update({label: special[label] for label in special})
    colours[None] = colour_of(_MANY)
    return DirectLabelColormap(color_dict=colours)


def palette(colormap: CyclicLabelColormap | DirectLabelColormap) -> NDArray[np.uint8]:
    """Return the colour of every label as (65536, 3) RGB, also of those that are hidden, or not selected."""
    colours = colormap.model_copy(update={"use_selection": False}).map(np.arange(BACKGROUND + 1, dtype=np.uint16))
    rgb: NDArray[np.uint8] = np.rint(colours[:, :3] * 255).astype(np.uint8)
    return rgb


def _from_hex(text: str) -> RGBA:
    red, green, blue = (int(text[i : i + 2], 16) / 255 for i in (1, 3, 5))
    return red, green, blue, 1.0
