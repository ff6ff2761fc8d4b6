"""Turn user actions into annotations and jobs of the chosen video, and show its masks. Knows layers, but no windows."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari.components import ViewerModel
from napari.layers import Image, Layer, Points, Shapes
from napari.utils.notifications import show_error
from psygnal import Signal

from napari_pml.errors import PmlError
from napari_pml.viewer.document import layers
from napari_pml.viewer.document.channels import drop_single_axes
from napari_pml.viewer.document.document import VideoDocument, why_unsuitable
from napari_pml.viewer.document.documents import VideoDocuments, open_projects
from napari_pml.viewer.document.layers import Kind
from napari_pml.viewer.document.prompts import can_annotate, is_single
from napari_pml.viewer.jobs.runner import Runner
from napari_pml.viewer.jobs.segmentation import SegmentationJobs

if TYPE_CHECKING:
    from napari_pml.methods.config import MethodConfig


class Controller:
    """Connects a viewer, the chosen video and the jobs. Call it from the main thread; slow work is a job.

    Attributes:
        document: the chosen video, or None.
        label: the object that is painted now, or `BACKGROUND`.
        jobs: what is being computed.
        problem: why the chosen image layer cannot be segmented.
        changed: emitted when anything that a panel shows may have changed.
    """

    changed = Signal()

    def __init__(self, viewer: ViewerModel, runner: Runner) -> None:
        """Look after `viewer`, whose layers are input and output; `runner` runs the jobs."""
        self.viewer = viewer
        self.document: VideoDocument | None = None
        self.label = 1
        self.problem: str | None = None
        self._documents = VideoDocuments(viewer)
        self._documents.replaced.connect(self._on_video_replaced)
        self._documents.unfitting.connect(self._on_unfitting)
        self.jobs = SegmentationJobs(runner)
        self.jobs.changed.connect(self.changed.emit)
        self.jobs.opened.connect(self._work)
        self.jobs.network_changed.connect(self._work)
        self.jobs.learned.connect(self._on_learned)
        self.jobs.masks_changed.connect(self._on_masks)
        self.jobs.outpaced.connect(self._go_on)
        viewer.layers.events.inserted.connect(self._on_inserted)
        viewer.layers.events.removed.connect(self._on_removed)
        viewer.layers.selection.events.active.connect(self._on_tool)
        viewer.dims.events.current_step.connect(self._on_step)
        viewer.mouse_drag_callbacks.append(self._on_press)

    def leave(self) -> None:
        """End all sessions: the window is gone, and another may go on with their projects."""
        self.jobs.stop()
        for document in self._documents:
            if document is self.document and document.session is not None:
                self._flush(document)  # so that the last stroke is saved
            document.end_session()
        self._choose(None)

    def close(self) -> None:
        """Detach from the viewer. Reopening the panel restores the same state."""
        self._stop()
        self.viewer.layers.events.inserted.disconnect(self._on_inserted)
        self.viewer.layers.events.removed.disconnect(self._on_removed)
        self.viewer.layers.selection.events.active.disconnect(self._on_tool)
        self.viewer.dims.events.current_step.disconnect(self._on_step)
        self.viewer.mouse_drag_callbacks.remove(self._on_press)
        self._listen(False)
        for document in self._documents:
            self._documents.close(document)

    def _stop(self) -> None:
        """Stop the jobs, and save the last stroke."""
        self.jobs.stop()
        if self.document is not None and self.document.session is not None:
            self._flush(self.document)

    # What the person chooses

    @property
    def chosen(self) -> VideoDocument:
        """The chosen video, where there is one."""
        assert self.document is not None
        return self.document

    @property
    def frame(self) -> int:
        """The frame of the chosen video that is in view."""
        return self.chosen.frame

    def choose_image(self, image: Image | None) -> None:
        """Choose another video. Strokes and results of the previous one stay with it."""
        if self.document is not None and self.document.image is image:
            return
        self.jobs.cancel()
        self.jobs.progress = None
        self.jobs.forget_problems()
        if image is not None and is_single(image):
            drop_single_axes(image)
        self.problem = why_unsuitable(image) if image is not None else None
        if image is None or self.problem:
            self._choose(None)
        else:
            self._choose(self._documents.get(image) or self._documents.open(image))
            for layer in self.chosen.sources:
                self._draw_label(layer)
            self._step_inside()
            self._bring_into_view()
            self.flush_soon()
        self.changed.emit()

    def _choose(self, document: VideoDocument | None) -> None:
        self._listen(False)
        self.document = self.jobs.preparation.document = document
        self._listen(True)

    def _listen(self, listen: bool) -> None:
        """Follow what happens in the annotation layers of the chosen video, or no longer."""
        if self.document is not None:
            sources = self.document.sources
            for signal, slot in (
                (sources.edited, self._on_edited),
                (sources.label_chosen, self._on_label),
                (sources.tool_changed, self._on_tool),
            ):
                (signal.connect if listen else signal.disconnect)(slot)

    def forget(self, document: VideoDocument) -> None:
        """Close a video. When it is chosen again, it starts from its layers and its project."""
        self._stop()
        self.changed.emit()
        document.end_session()
        self._choose(None)
        self._documents.close(document)

    def choose_label(self, label: int) -> None:
        """Draw as object `label`, or `BACKGROUND`, from now on, with the tool in use or the brush."""
        self.label = label
        if self.document is None:
            return
        self.document.note_label(label)
        for layer in self.document.sources:
            self._draw_label(layer)
        active = self.viewer.layers.selection.active
        if active in self.document.sources and layers.can_hold(active, label):
            layers.start_drawing(active)
        else:
            self.draw_with("brush")
        self.changed.emit()

    @property
    def tool(self) -> Kind | None:
        """The tool in use; None while a drag would move the picture."""
        active = self.viewer.layers.selection.active
        if self.document is None or active not in self.document.sources or not layers.has_tool(active):
            return None
        return next(kind for kind, layer in layers.LAYER_OF.items() if isinstance(active, layer))

    def draw_with(self, kind: Kind) -> None:
        """Draw with a brush, points or shapes from now on, in the layer for that; add one if there is none."""
        if self.document is None:
            return
        fitting = (s for s in self.document.sources if isinstance(s, layers.LAYER_OF[kind]))
        layer = next((s for s in fitting if layers.can_hold(s, self.label)), None)
        if layer is None:
            layer = layers.new_annotation_layer(kind, self.document.image, self.label)
            self._adopt(layer, empty=True)
            self.viewer.add_layer(layer)
        self.viewer.layers.selection.active = layer
        if not layer.visible:
            layer.visible = True
        layers.start_drawing(layer)
        self._take_tool()
        self._open()  # so that the first stroke need not wait for it
        self.changed.emit()

    def candidates(self) -> list[Layer]:
        """Return the layers that could hold annotations of the video."""
        if self.document is None:
            return []
        image = self.document.image
        return [s for s in self.viewer.layers if not layers.is_mask_layer(s) and can_annotate(s, image)]

    def use_layer(self, layer: Layer, use: bool, complete: bool = False) -> None:
        """Start or stop using a layer as annotations; with `complete`, the frames it draws on are complete."""
        document = self.document
        if document is None or use == (layer in document.sources):
            return
        if use:
            self._adopt(layer)
            document.complete |= document.sources.may_show(layer, set()) if complete else set()
            document.sources.note_views()
        else:
            document.sources.release(layer)
        self.flush_soon()
        self.changed.emit()

    def transfer_from(self, path: Path | None) -> None:
        """Let what is annotated in a project of another video count here too, in place of what did so before.

        Args:
            path: of the project; None to forget it.
        """
        if self.document is None:
            return
        self.jobs.forget_problems()
        self.jobs.transfer_from(self.document, path and open_projects(self.viewer.layers).get(path.absolute(), path))

    def mark_complete(self, complete: bool) -> None:
        """Say whether the unpainted pixels of the frame in view are background."""
        if self.document is not None:
            self.document.sources.mark_complete(self.frame, complete)
            self.flush_soon()

    def configure(self, config: MethodConfig) -> None:
        """Segment with other settings from now on."""
        self.jobs.config = config
        self.jobs.forget_problems()
        if self.document is not None and self.document.is_annotated:
            self.jobs.segment(self.document)

    def choose_network(self, name: str, resolution: str = "auto") -> None:
        """Use another network or resolution from now on; if it cannot be loaded, the previous one stays in use."""
        if self.document is not None:
            self.jobs.forget_problems()
            self.jobs.use_network(self.document, name, resolution)

    def propagate(self) -> None:
        """Segment the whole video, from the frame in view outward."""
        self.jobs.forget_problems()
        self._go_on()

    def try_again(self) -> None:
        """Repeat what failed, and report it if it fails again."""
        self.jobs.forget_problems()
        self.jobs.preparation.postpone()
        self._work()
        self.changed.emit()

    def go_to_suggestion(self) -> None:
        """Show the frame where an annotation would help most."""
        t = self.document.session.next_frame_to_annotate() if self.document and self.document.session else None
        if t is not None:
            self.go_to(t)

    def go_to(self, t: int) -> None:
        """Show frame `t` of the chosen video."""
        if self.document is not None:
            self.document.position.go_to(t)

    # What happens in the viewer

    def _on_inserted(self, event: Any) -> None:
        """Use an empty layer that the user adds as annotations of the chosen video."""
        layer, document = event.value, self.document
        empty = isinstance(layer, Points | Shapes) and len(layer.data) == 0
        if any(image is not layer and image.data is layer.data for image in self.viewer.layers):
            layers.drop_document(layer)  # it shows the same video again
        if document is not None and layer not in document.sources:
            if empty and can_annotate(layer, document.image):
                self._adopt(layer)
            else:
                document.claim(layer)
                if layer in document.sources:
                    self._draw_label(layer)
        if document is not None and document.is_dirty:
            self.flush_soon()
        self.changed.emit()

    def _on_removed(self, event: Any) -> None:
        layer = event.value
        document = self._documents.get(layer)
        if document is not None:
            if document is self.document:
                self.jobs.cancel()
                self._choose(None)
            self._documents.close(document)
            document.end_session()
        for other in self._documents:
            if layer in other.sources:
                other.sources.release(layer)
                self.flush_soon()
            if layer is other.masks:
                other.masks, other.masks_removed = None, True
                if other is self.document:
                    self.jobs.cancel()
        self.changed.emit()

    def _on_tool(self) -> None:
        self._take_tool()
        self.changed.emit()

    def _on_step(self) -> None:
        if self.tool is not None:
            self._step_inside()
        self.flush_soon()
        self.changed.emit()

    def _on_press(self, viewer: ViewerModel, event: Any) -> None:
        self.jobs.preparation.postpone()

    def _on_edited(self, painted: set[int] | None) -> None:
        if painted is not None:
            if self._sync():  # before the window is drawn again
                return
            self.chosen.sources.mark_dirty(painted)  # a script's stroke is reported before it is in the layer
        self.flush_soon()

    def _on_label(self, layer: Layer, label: int) -> None:
        """Follow the label that the user chose in napari's own controls."""
        if label != self.label and layer is self.viewer.layers.selection.active:
            self.label = label
            self.chosen.note_label(label)
            self.changed.emit()

    def _on_video_replaced(self, old: VideoDocument) -> None:
        """Begin anew with what the image layer shows now; annotations stay where they still fit."""
        chosen = old is self.document
        if chosen:
            self.jobs.cancel()
            self._choose(None)
        if unfitting := self._documents.renew(old):
            self._on_unfitting(old.image, unfitting)
        if chosen:
            self.choose_image(old.image)

    # Annotations, session, jobs

    def flush_soon(self) -> None:
        """Update the session from the layers after a moment without further edits."""
        self.jobs.soon(self._sync)

    def _adopt(self, layer: Layer, empty: bool = False) -> None:
        """Use a layer as annotations, ready to draw the present object."""
        self.chosen.adopt(layer, empty)
        self._draw_label(layer)

    def _draw_label(self, layer: Layer) -> None:
        """Draw as the present object in a layer."""
        layers.choose_label(layer, self.label, self.chosen.appearance.colour(self.label))

    def _bring_into_view(self) -> None:
        """Show the chosen video, and deselect a layer that is hidden."""
        document = self.chosen
        document.sources.clear_views()  # what is drawn anew because it is shown again has not changed
        self._documents.bring_into_view(document)
        document.sources.note_views()
        active = self.viewer.layers.selection.active
        if active is not None and not active.visible:
            self.viewer.layers.selection.active = document.image

    def _take_tool(self) -> None:
        """Make sure that the user sees what they draw."""
        if self.tool is None or self.document is None:
            return
        self._step_inside()
        if self._documents.is_covered(self.document):
            self._bring_into_view()

    def _step_inside(self) -> None:
        """Go to the last frame if the viewer stands behind it, as it may when another video is longer."""
        if self.document is not None and not self.document.position.is_inside:
            self.go_to(self.frame)

    def _go_on(self) -> None:
        if self.document is not None:
            self.jobs.propagating = True
            self._work()

    def _work(self) -> None:
        """Tell the session what is new, and segment."""
        self._sync(work=True)

    def _sync(self, work: bool = False) -> bool:
        """Tell the session what is new in the layers; if that (or `work`) calls for it, segment.

        Returns:
            Whether anything was new.
        """
        document = self.document
        if document is None:
            return False
        if document.session is None:
            if work or document.is_dirty:
                self._open()
            return False
        changed = self._flush(document)
        if not document.is_annotated:
            if document.has_masks:
                self.jobs.clear(document)
        elif work or changed or (not self.jobs.propagating and document.is_stale(self.frame)):
            self.jobs.segment(document)
        self.changed.emit()
        return changed

    def _flush(self, document: VideoDocument) -> bool:
        try:
            return document.flush()
        except PmlError as error:
            show_error(str(error))
            return False

    def _open(self) -> None:
        if self.document is not None and self.document.session is None:
            self.jobs.open(self.document)

    def _on_learned(self, document: VideoDocument, names: Mapping[int, str]) -> None:
        document.names.update({label: name for label, name in names.items() if label not in document.names})
        document.objects |= set(document.live_session.object_ids)
        if document is self.document:
            self._work()

    def _on_masks(self, document: VideoDocument, t: int | None) -> None:
        """Show the mask of frame `t`, or of all frames, as it is now."""
        if document.masks_removed or document not in self._documents:  # a job that was stopped had yielded this
            return
        if document.masks is None:
            layers.insert_below(document.new_mask_layer(), document.sources, self.viewer.layers)
        elif document is self.document or t is None:
            document.refresh_masks(t)

    def _on_unfitting(self, image: Image, sources: list[Layer]) -> None:
        show_error(_unfitting(sources, image))


def _unfitting(sources: list[Layer], image: Image) -> str:
    names = ", ".join(f"'{layer.name}'" for layer in sources)
    return f"'{image.name}' and {names} have different sizes now, so what is drawn there no longer annotates the video."
