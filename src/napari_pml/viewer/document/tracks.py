"""The tracks of a viewer, and which layers each of them listens to."""

from __future__ import annotations

from collections.abc import Iterator
from weakref import WeakSet

from napari.components import LayerList
from napari.layers import Image, Labels, Layer

from napari_pml.viewer.document import layers
from napari_pml.viewer.document.layers import Callback
from napari_pml.viewer.document.prompts import can_annotate
from napari_pml.viewer.document.track import Track, why_unsuitable

_HIDDEN: WeakSet[Layer] = WeakSet()
"""Layers that were hidden because another video was chosen: they are shown when their own is, in another panel too."""


class Tracks:
    """One track for every image layer that was ever chosen."""

    def __init__(
        self,
        shown: LayerList,
        edited: Callback,
        redrawn: Callback,
        chosen: Callback,
        taken: Callback,
        replaced: Callback,
    ) -> None:
        """Begin without tracks.

        Args:
            shown: the viewer's layers.
            edited: called when annotations in a source change.
            redrawn: called when they may have changed.
            chosen: called when another label is chosen in a source.
            taken: called when another tool is.
            replaced: called when an image layer shows other data.
        """
        self._shown, self._watchers, self._replaced = shown, (edited, redrawn, chosen, taken), replaced
        self._tracks: dict[Image, Track] = {}

    def __iter__(self) -> Iterator[Track]:
        return iter(list(self._tracks.values()))

    def get(self, image: Layer) -> Track | None:
        """Return the track of an image layer, if there is one."""
        return self._tracks.get(image)

    def of_source(self, source: Layer) -> list[Track]:
        """Return the tracks that a layer annotates, whether they are chosen or not."""
        return [track for track in self if source in track.sources]

    def make(self, image: Image, label: int) -> Track:
        """Return a new track, which finds the layers that were made for the image before."""
        track = self._tracks[image] = Track(image)
        image.events.data.connect(self._replaced)
        for layer in self._shown:
            self.claim(track, layer, label)
        return track

    def claim(self, track: Track, layer: Layer, label: int) -> None:
        """Take a layer that was made for a track's image, as what it was made for."""
        role = layers.role_of(layer, track.image)
        if role == "masks" and isinstance(layer, Labels):
            if track.masks in self._shown and track.masks is not layer:
                layers.drop_role(layer)  # a duplicate, to be painted in
            else:
                track.masks = layer
        elif role is not None and can_annotate(layer, track.image):
            self.adopt(track, layer, label)

    def is_covered(self, track: Track) -> bool:
        """Whether another video lies over a track's."""
        return bool(self._covering(track))

    def bring_into_view(self, track: Track) -> None:
        """Show a track's video with its layers; hide those that were chosen before, and all that cover it."""
        covering, others = self._covering(track), [other for other in self if other is not track]
        for layer in list(self._shown):
            if track.owns(layer):
                if not layer.visible and (layer is track.image or layer in _HIDDEN):
                    layer.visible = True
                _HIDDEN.discard(layer)
            elif layer in covering or (layer.visible and any(other.owns(layer) for other in others)):
                layer.visible = False
                _HIDDEN.add(layer)

    def forget(self, track: Track) -> None:
        """Listen to a track's layers no longer."""
        track.image.events.data.disconnect(self._replaced)
        for layer in list(track.sources):
            self._let_go(track, layer)
        del self._tracks[track.image]

    def renew(self, old: Track, label: int) -> list[Layer]:
        """Begin anew with what the image layer shows now; return the sources that do not fit any more."""
        image, sources = old.image, list(old.sources)
        self.forget(old)
        if old.masks is not None:
            self._shown.remove(old.masks)
        fitting = [s for s in sources if why_unsuitable(image) is None and can_annotate(s, image)]
        if fitting:
            track = self.make(image, label)
            track.take_over(old)
            for layer in fitting:
                self.adopt(track, layer, label)
        return [s for s in sources if s not in fitting]

    def adopt(self, track: Track, layer: Layer, label: int, empty: bool = False) -> None:
        """Take a layer's content as annotations, and go on with object `label` there."""
        if layer in track.sources:
            return
        layers.make_annotating(layer)
        track.appearance.dress(layer)
        layers.choose_label(layer, label, track.appearance.colour(label))
        track.add_source(layer, empty)
        layers.watch(layer, *self._watchers)

    def release(self, track: Track, layer: Layer) -> None:
        """Take a layer's content as annotations no longer, nor the frames as complete that only it had shown."""
        track.unmark(layer)
        self._let_go(track, layer)

    def _let_go(self, track: Track, layer: Layer) -> None:
        track.remove_source(layer)
        if not self.of_source(layer):
            layers.unwatch(layer, *self._watchers)

    def _covering(self, track: Track) -> list[Layer]:
        """Return the other videos that lie over a track's."""
        if track.image not in self._shown:  # is being removed
            return []
        higher = self._shown[self._shown.index(track.image) + 1 :]
        images = [s for s in higher if isinstance(s, Image) and not layers.shows_cells(s)]
        return [s for s in images if why_unsuitable(s) is None and layers.covers(s, track.image)]
