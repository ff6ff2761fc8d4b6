"""Show the inside of a segmentation: confidence, embeddings and reference pixels, kept up to date."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

from napari.layers import Image
from napari.utils.colormaps import Colormap
from psygnal import Signal

from napari_pml.types import CONFIDENCE_STRIDE
from napari_pml.viewer.control.controller import Controller
from napari_pml.viewer.document import layers
from napari_pml.viewer.document.lazy_frames import ConfidenceFrames, EmbeddingFrames, LazyFrames
from napari_pml.viewer.jobs.runner import Runner

if TYPE_CHECKING:
    from napari_pml.methods.reference_map import ReferenceMap
    from napari_pml.methods.references import ReferencePixels
    from napari_pml.viewer.document.session import SessionLike

Look = Literal["confidence", "embedding"]

_UNSURE = Colormap([(1, 0.1, 0, 1), (1, 0.75, 0, 0.75), (1, 1, 0, 0)], name="unsure")
_CONFIDENCE_RANGE = 0.5, 1.0  # of two labels, the winner has at least half of the votes


class Insight:
    """Layers of cells over the chosen video, and the map of its reference pixels.

    All its methods are called in the main thread; everything slow is a job for the runners.

    Attributes:
        map: the reference pixels of the chosen video, while somebody looks at them.
        map_changed: emitted when there is another map, or none any more.
    """

    map_changed = Signal()

    def __init__(self, controller: Controller, embedding_runner: Runner, map_runner: Runner) -> None:
        """Observe `controller`.

        Args:
            controller: of the same viewer.
            embedding_runner: runs the job that makes the colours of a frame.
            map_runner: runs the job that makes the map.
        """
        self._controller = controller
        self._embedding_runner, self._map_runner = embedding_runner, map_runner
        self.map: ReferenceMap | None = None
        self._asked: tuple[EmbeddingFrames, int] | None = None
        self._watching = False
        self._mapped: ReferencePixels | None = None

    def can_show(self, look: Look) -> bool:
        """Return whether there is something to show."""
        document = self._controller.document
        if document is None or document.session is None:
            return False
        return look == "embedding" or document.has_masks

    def shows(self, look: Look) -> bool:
        """Return whether a layer is there for the chosen video."""
        return self._layer(look) is not None

    def show(self, look: Look, wanted: bool) -> None:
        """Add a layer, or take it away."""
        shown, layer = self._controller.viewer.layers, self._layer(look)
        if layer is not None and not wanted:
            shown.remove(layer)
        elif layer is None and wanted and self.can_show(look):
            document = self._controller.chosen
            image, session = document.image, document.live_session
            if look == "confidence":
                style = {"colormap": _UNSURE, "contrast_limits": _CONFIDENCE_RANGE, "opacity": 0.7}
                layer = layers.new_cell_layer(ConfidenceFrames(session), image, look, (CONFIDENCE_STRIDE,) * 2, **style)
                layers.insert_below(layer, document.sources, shown)
            else:
                cell = session.embeddings.cell
                layer = layers.new_cell_layer(EmbeddingFrames(session), image, look, cell, rgb=True)
                layers.insert_below(layer, list(shown)[shown.index(image) + 1 :], shown)
            self.refresh()

    def watch_references(self, watching: bool) -> None:
        """Keep the map up to date, or no longer."""
        self._watching = watching
        self.refresh()

    def refresh(self) -> None:
        """Show everything as it is now."""
        session = self._session
        for look in layers.CELL_ROLES:
            layer = self._layer(look)
            if layer is None:
                continue
            if layer.data.session is not session or not layer.data.is_of_today:  # another video, or another network
                self._controller.viewer.layers.remove(layer)
            elif look == "confidence":
                layer.refresh(thumbnail=False, highlight=False, extent=False)
            else:
                self._make_colours(layer, self._controller.frame)
        references = session.reference_pixels() if session is not None and self._watching else None
        if references is not self._mapped:
            self._mapped = references
            self._make_map(session, references)

    @property
    def _session(self) -> SessionLike | None:
        document = self._controller.document
        return document.session if document is not None else None

    def _layer(self, look: str) -> Image | None:
        document = self._controller.document
        if document is None:
            return None
        found = (s for s in self._controller.viewer.layers if layers.role_of(s, document.image) == look)
        return next((s for s in found if isinstance(s.data, LazyFrames)), None)  # and no projection of it

    def _make_colours(self, layer: Image, t: int) -> None:
        frames = layer.data
        if t in frames or self._asked == (frames, t):
            return
        self._asked = frames, t

        def job() -> Iterator[None]:
            frames.make(t)
            yield

        self._embedding_runner.start(job, lambda _: layer.refresh(highlight=False, extent=False), lambda: None)

    def _make_map(self, session: SessionLike | None, references: ReferencePixels | None) -> None:
        if references is None or session is None:
            self._map_runner.quit()
            self._show_map(None)
            return

        def job() -> Iterator[tuple[ReferencePixels, ReferenceMap]]:
            from napari_pml.methods.reference_map import reference_map  # imports torch: not when the viewer starts

            columns, n_frames = session.embeddings.grid[1], len(session.video)
            yield references, reference_map(references, session.embeddings.cell, columns, n_frames)

        self._map_runner.start(job, self._map_arrived, lambda: None)

    def _map_arrived(self, made: tuple[ReferencePixels, ReferenceMap]) -> None:
        references, reference_map = made
        if references is self._mapped:  # and not those of before a stroke was taken away
            self._show_map(reference_map)

    def _show_map(self, reference_map: ReferenceMap | None) -> None:
        self.map = reference_map
        self.map_changed.emit()
