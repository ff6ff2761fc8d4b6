"""The videos of a viewer that were ever chosen, and which of their layers are in view."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from napari.components import ViewerModel
from napari.layers import Image, Layer
from psygnal import Signal

from napari_pml.viewer.document import layers
from napari_pml.viewer.document.document import VideoDocument, why_unsuitable
from napari_pml.viewer.document.prompts import can_annotate

if TYPE_CHECKING:
    from collections.abc import Iterable

    from napari_pml.viewer.document.session import SessionLike


class VideoDocuments:
    """One document for every image layer that was ever chosen.

    Attributes:
        replaced: emitted with a document whose image layer shows other data now.
        unfitting: emitted with an image layer, and the annotation layers that do not fit it any more.
    """

    replaced = Signal(object)
    unfitting = Signal(object, object)

    def __init__(self, viewer: ViewerModel) -> None:
        self._viewer, self._shown = viewer, viewer.layers
        self._documents: dict[Layer, VideoDocument] = {}

    def __iter__(self) -> Iterator[VideoDocument]:
        return iter(list(self._documents.values()))

    def get(self, image: Layer) -> VideoDocument | None:
        """Return the document of an image layer, if it was ever chosen."""
        return self._documents.get(image)

    def open(self, image: Image) -> VideoDocument:
        """Return the document of an image layer, with the layers that were made for it before."""
        document = self._documents[image] = VideoDocument.of(image)
        document.close()
        document.open(self._viewer.dims)
        document.replaced.connect(partial(self.replaced.emit, document))
        document.sources.unfitting.connect(lambda layer: self.unfitting.emit(image, [layer]))
        for layer in self._shown:
            document.claim(layer)
        return document

    def close(self, document: VideoDocument) -> None:
        """Look after a document no longer; opened again, it has the layers that were made for it."""
        document.close()
        del self._documents[document.image]

    def renew(self, old: VideoDocument) -> list[Layer]:
        """Begin anew with what the image layer shows now; return the annotation layers that do not fit any more."""
        image, sources = old.image, list(old.sources)
        self.close(old)
        if old.masks is not None:
            self._shown.remove(old.masks)
        fitting = [s for s in sources if why_unsuitable(image) is None and can_annotate(s, image)]
        if fitting:
            document = self.open(image)
            document.take_over(old)
            for layer in fitting:
                document.adopt(layer)
        return [s for s in sources if s not in fitting]

    def is_covered(self, document: VideoDocument) -> bool:
        """Whether another video lies over a document's."""
        return bool(self._covering(document))

    def bring_into_view(self, document: VideoDocument) -> None:
        """Show a document's layers; hide those that were chosen before, and all that cover it."""
        covering, others = self._covering(document), [other for other in self if other is not document]
        for layer in list(self._shown):
            if document.owns(layer):
                if not layer.visible and (layer is document.image or layer in document.hidden):
                    layer.visible = True
                document.hidden.discard(layer)
                continue
            owners = [other for other in others if other.owns(layer)]
            if layer in covering or (layer.visible and owners):
                layer.visible = False
                for owner in owners or [VideoDocument.of(layer)]:
                    owner.hidden.add(layer)

    def _covering(self, document: VideoDocument) -> list[Image]:
        """Return the other videos that lie over a document's."""
        if document.image not in self._shown:  # is being removed
            return []
        higher = self._shown[self._shown.index(document.image) + 1 :]
        images = [s for s in higher if isinstance(s, Image) and not layers.shows_cells(s)]
        return [s for s in images if why_unsuitable(s) is None and layers.covers(s, document.image)]


def open_projects(shown: Iterable[Layer]) -> dict[Path, SessionLike]:
    """Return the projects that are open for layers, by their paths, each with its session."""
    documents = (VideoDocument.existing(layer) for layer in shown)
    sessions = [document.session for document in documents if document is not None]
    return {
        session.project.path: session for session in sessions if session is not None and session.project is not None
    }
