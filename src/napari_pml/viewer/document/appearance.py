"""Names, own colours and hidden objects of a video, applied to its layers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from weakref import WeakSet

import numpy as np
from napari.layers import Labels, Layer, Shapes, Tracks

from napari_pml.types import UNLABELLED
from napari_pml.viewer.colours import RGBA, colour_of, object_colormap
from napari_pml.viewer.document.prompts import labels_of


@dataclass(eq=False)
class Appearance:
    """How the objects of one video are shown; an object without an entry has the defaults.

    Attributes:
        names: of objects that have one.
        colours: of objects that have one of their own, opaque.
        hidden: objects that are not shown.
        tracks: layers with the ways of the objects, as long as there are any.
    """

    names: dict[int, str] = field(default_factory=dict)
    colours: dict[int, RGBA] = field(default_factory=dict)
    hidden: set[int] = field(default_factory=set)
    tracks: WeakSet[Tracks] = field(default_factory=WeakSet)

    def colour(self, label: int) -> RGBA:
        """Return the opaque colour of an object or of `BACKGROUND`."""
        return self.colours.get(label) or colour_of(label)

    @property
    def chosen_rgb(self) -> dict[int, tuple[int, int, int]]:
        """The objects' own colours in 0..255, as a project keeps them."""
        return {
            label: (round(red * 255), round(green * 255), round(blue * 255))
            for label, (red, green, blue, _) in self.colours.items()
        }

    def restore_colours(self, rgb: Mapping[int, tuple[int, int, int]]) -> None:
        """Give objects the colours of a project."""
        for label, (red, green, blue) in rgb.items():
            self.colours[label] = red / 255, green / 255, blue / 255, 1.0

    def forget(self, label: int) -> None:
        """Begin anew with an object."""
        self.names.pop(label, None)
        self.colours.pop(label, None)
        self.hidden.discard(label)

    def apply(self, layer: Layer) -> None:
        """Give what a layer shows the objects' colours, fully transparent where an object is hidden."""
        special = {label: self._shown(label) for label in self.colours.keys() | self.hidden}
        if isinstance(layer, Labels):
            layer.colormap = object_colormap(special)
        elif isinstance(layer, Tracks):
            layer.track_colors = np.array([self._shown(label) for label in layer.data[:, 0].astype(int).tolist()])
        elif len(layer.data):
            colours = np.array(layer.face_color)
            for i, label in enumerate(labels_of(layer).tolist()):
                if label != UNLABELLED:
                    colours[i] = special.get(label) or colour_of(label)
            layer.face_color = colours
            if isinstance(layer, Shapes):
                layer.edge_color = colours

    def _shown(self, label: int) -> RGBA:
        red, green, blue, _ = self.colour(label)
        return red, green, blue, 0.0 if label in self.hidden else 1.0
