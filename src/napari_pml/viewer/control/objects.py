"""Actions on whole objects: create, rename, recolour, hide, merge, delete. Knows layers, but no windows."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
from napari.layers import Labels, Layer

from napari_pml.errors import AnnotationError
from napari_pml.types import BACKGROUND, UNLABELLED
from napari_pml.viewer.colours import RGBA
from napari_pml.viewer.document.document import VideoDocument
from napari_pml.viewer.document.layers import repaint
from napari_pml.viewer.document.prompts import LABEL, marks


def begin(document: VideoDocument) -> int:
    """Return the next free number.

    Raises:
        AnnotationError: there are 65534 objects already.
    """
    label = max(document.objects, default=0) + 1
    if label == BACKGROUND:
        label = next((n for n in range(1, BACKGROUND) if n not in document.objects), BACKGROUND)
    if label == BACKGROUND:
        raise AnnotationError(f"There are {BACKGROUND - 1} objects, and no more can be told apart. Delete one first.")
    document.appearance.forget(label)
    return label


def rename(document: VideoDocument, label: int, name: str) -> None:
    """Name an object; an empty name removes it."""
    document.names.pop(label, None)
    if name.strip():
        document.names[label] = name.strip()


def recolour(document: VideoDocument, labels: Iterable[int], colour: RGBA) -> None:
    """Give objects another colour, everywhere."""
    document.appearance.colours.update(dict.fromkeys(labels, colour))
    document.apply_colours()


def set_hidden(document: VideoDocument, labels: Iterable[int], hidden: bool) -> None:
    """Hide objects in every layer, or show them again; they stay annotated."""
    if hidden:
        document.appearance.hidden.update(labels)
    else:
        document.appearance.hidden.difference_update(labels)
    document.apply_colours()


def frames_with(document: VideoDocument, objects: set[int]) -> set[int]:
    """Return the frames with a stroke, point or shape of one of `objects`."""
    found: set[int] = set()
    for layer in document.sources:
        if isinstance(layer, Labels):
            found |= {t for t in document.sources.may_show(layer, objects) if _painted(layer, t, objects).any()}
        else:
            found |= marks(layer, objects, document.image)[1]
    return found


def delete(document: VideoDocument, objects: set[int]) -> None:
    """Take everything away that marks `objects`; in Labels layers, undo brings it back.

    Raises:
        AnnotationError: one was learned from another video; or a Labels layer cannot be changed, and shapes and points
            are as they were.
    """
    _check_own(document, objects)

    def remove(layer: Layer, indices: list[int]) -> None:
        layer.selected_data = set(indices)
        layer.remove_selected()

    _replace(document, objects, UNLABELLED, remove)
    document.objects -= objects


def merge(document: VideoDocument, objects: set[int]) -> int:
    """Make `objects` one, under the lowest of their numbers, which is returned; in Labels layers, undo parts them.

    Raises:
        AnnotationError: one that would lose its number was learned from another video; or a Labels layer cannot be
            changed, and shapes and points are as they were.
    """
    into = min(objects)
    others = objects - {into}
    _check_own(document, others)

    def renumber(layer: Layer, indices: list[int]) -> None:
        features = layer.features.astype({LABEL: object})  # from elsewhere, they may be words
        features.loc[indices, LABEL] = into
        layer.features = features
        document.appearance.apply(layer)

    _replace(document, others, into, renumber)
    document.objects -= others
    return into


def _check_own(document: VideoDocument, objects: set[int]) -> None:
    """Raise AnnotationError if one of `objects` is also transferred from another video, and would reappear."""
    transferred = document.session.transferred if document.session is not None else None
    if transferred is not None and (shown := objects & set(transferred.object_ids)):
        raise AnnotationError(
            f"Object {min(shown)} comes from another video, and would be found again. Press 'Forget transferred "
            "references' first, or change it there."
        )


def _replace(
    document: VideoDocument, objects: set[int], by: int, change_marks: Callable[[Layer, list[int]], None]
) -> None:
    """Paint `by` over `objects` in every Labels source, then have the shapes and points changed that mark them."""
    for layer in sorted(document.sources, key=lambda source: not isinstance(source, Labels)):
        if isinstance(layer, Labels):
            with layer.block_history():  # one step of undo
                for t in sorted(document.sources.may_show(layer, objects)):
                    repaint(layer, t, _painted(layer, t, objects), by)
        else:
            indices = marks(layer, objects, document.image)[0].tolist()
            if indices:
                change_marks(layer, indices)


def _painted(layer: Labels, t: int, objects: set[int]) -> np.ndarray:
    """Return where one of `objects` is painted on frame t, (H, W) bool."""
    return np.isin(np.asarray(layer.data[t]), list(objects))
