"""The layers whose content annotates a video, and the frames on which it has changed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, overload
from weakref import WeakKeyDictionary

import numpy as np
from napari.layers import Image, Labels, Layer
from numpy.typing import NDArray
from psygnal import Signal

from napari_pml.types import UNLABELLED, labels_in
from napari_pml.viewer.document import layers
from napari_pml.viewer.document.position import Position
from napari_pml.viewer.document.prompts import annotation, can_annotate, contents


class AnnotationLayers(Sequence[Layer]):
    """Watches annotation layers and notes which frames the session has to be told about.

    Attributes:
        complete: frames whose unpainted pixels are background.
        edited: emitted when frames may have become dirty, with the frames that a brush painted, or None.
        label_chosen: emitted when another object is chosen among napari's own controls, with layer and object.
        tool_changed: emitted when another tool is chosen in a layer.
        unfitting: emitted when a layer shows something that cannot annotate the video; it has been removed then.
    """

    edited = Signal(object)
    label_chosen = Signal(object, int)
    tool_changed = Signal()
    unfitting = Signal(object)

    def __init__(self, image: Image, position: Position) -> None:
        """Begin without layers.

        Args:
            image: the layer that shows the video.
            position: knows the frame in view.
        """
        self._image, self._position = image, position
        self.complete: set[int] = set()
        self._layers: list[Layer] = []
        self._dirty: set[int] = set()
        self._drawn: dict[Layer, dict[int, bytes]] = {}  # frames on which a layer has or had something
        self._unmarked: WeakKeyDictionary[Layer, set[int]] = WeakKeyDictionary()  # see `release`
        self._labels: dict[int, set[int]] = {}  # what the session was told about each frame
        self._views: dict[Layer, int] = {}  # the frame in which each layer was last drawn

    @overload
    def __getitem__(self, index: int) -> Layer: ...
    @overload
    def __getitem__(self, index: slice) -> list[Layer]: ...
    def __getitem__(self, index: int | slice) -> Layer | list[Layer]:
        return self._layers[index]

    def __len__(self) -> int:
        return len(self._layers)

    def __contains__(self, layer: object) -> bool:
        return layer in self._layers

    # Which layers

    def add(self, layer: Layer, empty: bool = False) -> None:
        """Take a layer's content as annotations; it need not be looked through if it is known to be empty."""
        self._layers.append(layer)
        self._drawn[layer] = {} if empty else contents(layer, self._image)
        self._dirty |= self._drawn[layer].keys()
        self.complete |= self._unmarked.pop(layer, set()) & self._drawn[layer].keys()
        for event, callback in self._connections(layer):
            event.connect(callback)

    def remove(self, layer: Layer) -> None:
        """Take a layer's content as annotations no longer."""
        for event, callback in self._connections(layer):
            event.disconnect(callback)
        self._layers.remove(layer)
        self._dirty |= self._drawn.pop(layer).keys()

    def release(self, layer: Layer) -> None:
        """Remove a layer, and the frames as complete on which only it has something, until it is added again.

        Without it they would be background from edge to edge.
        """
        others = {t for other in self._layers if other is not layer for t in self._drawn[other]}
        self._unmarked[layer] = self.complete & (self._drawn[layer].keys() - others)
        self.complete -= self._unmarked[layer]
        self.remove(layer)

    def clear(self) -> None:
        """Watch no layer any more, and forget what is dirty."""
        for layer in list(self._layers):
            self.remove(layer)
        self._dirty.clear()

    def is_empty(self, layer: Layer) -> bool:
        """Whether nothing was ever drawn in a layer."""
        return not self._drawn[layer]

    # What is dirty

    @property
    def is_dirty(self) -> bool:
        """Whether the session has to be told about a frame."""
        return bool(self._dirty)

    def mark_dirty(self, frames: set[int]) -> None:
        """Note that the session has to be told about some frames."""
        self._dirty |= frames

    def mark_complete(self, t: int, complete: bool) -> None:
        """Say whether the unpainted pixels of frame `t` are background."""
        (self.complete.add if complete else self.complete.discard)(t)
        self._dirty.add(t)

    def take_dirty(self) -> Iterator[tuple[int, NDArray[np.uint16]]]:
        """Yield every dirty frame with its (H, W) annotation; it is clean from then on.

        Raises:
            AnnotationError: a layer holds something that cannot be an annotation.
        """
        while self._dirty:
            t = self._dirty.pop()
            yield t, annotation(t, self._layers, self._image)

    def note_told(self, frames: Mapping[int, NDArray[np.uint16]]) -> set[int]:
        """Remember what the session is told about frames; return the labels on them."""
        self._labels |= {t: set(labels_in(labels).tolist()) - {UNLABELLED} for t, labels in frames.items()}
        return {label for t in frames for label in self._labels[t]}

    @property
    def labels(self) -> set[int]:
        """Every label that the session was told about."""
        return {label for labels in self._labels.values() for label in labels}

    def may_show(self, layer: Layer, labels: set[int]) -> set[int]:
        """Return the frames on which a layer may mark one of `labels`: those drawn on, and not seen without."""
        alone = len(self._layers) == 1  # otherwise something drawn in another layer may lie over it
        seen = {t for t, shown in self._labels.items() if alone and t not in self._dirty and not shown & labels}
        return self._drawn[layer].keys() - seen

    # What happens in the layers

    def note_views(self) -> None:
        """Remember that the frame in view is looked at in every layer."""
        self._views = dict.fromkeys(self._layers, self._position.frame)

    def clear_views(self) -> None:
        """Remember that no layer is looked at: when it is drawn next, a frame comes into view."""
        self._views.clear()

    def _connections(self, layer: Layer) -> list[tuple[Any, Any]]:
        """Return every event of a layer that matters, with what it calls."""
        callbacks = self._on_edited, self._on_redrawn, self._on_label, self._on_tool
        return [
            (getattr(layer.events, name), callback)
            for names, callback in zip(layers.events_of(layer), callbacks, strict=True)
            for name in names
        ]

    def _on_edited(self, event: Any) -> None:
        layer = event.source
        painted = None
        if can_annotate(layer, self._image):
            painted = layers.painted_frames(event)
            self._note_edit(layer, painted)
        else:
            self.release(layer)
            self.unfitting.emit(layer)
        self.edited.emit(painted)

    def _note_edit(self, layer: Layer, painted: set[int] | None) -> None:
        """Note that something was drawn in a layer: on the `painted` frames, or anywhere if that is unknown."""
        before = self._drawn[layer]
        if painted is not None:
            before |= dict.fromkeys(painted, b"")
            self._dirty |= painted
            return
        now = contents(layer, self._image)
        if isinstance(layer, Labels):
            before |= now
            self._dirty |= before.keys()
        else:
            self._drawn[layer] = now
            self._dirty |= {t for t in before.keys() | now.keys() if before.get(t) != now.get(t)}

    def _on_redrawn(self, event: Any) -> None:
        """Note that a Labels layer was drawn anew, unless merely another frame came into view.

        Undo and redo may have changed any frame that was ever painted.
        """
        layer, view = event.source, self._position.frame
        if not can_annotate(layer, self._image):
            return  # its data are being replaced: `_on_edited` comes next
        stepped = self._views.get(layer) != view
        self._views[layer] = view
        if not stepped:
            self._dirty |= self._drawn[layer].keys() | {view}
            self.edited.emit(None)

    def _on_label(self, event: Any) -> None:
        label = layers.chosen_label(event.source)
        if label != UNLABELLED:
            self.label_chosen.emit(event.source, label)

    def _on_tool(self, event: Any) -> None:
        self.tool_changed.emit()
