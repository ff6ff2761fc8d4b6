"""Keeps a segmentation session in step with the layers of a viewer. Knows layers, but no windows."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from napari.components import ViewerModel
from napari.layers import Image, Labels, Layer, Points, Shapes
from napari.utils.notifications import show_error

from napari_pml.types import UNLABELLED, PmlError
from napari_pml.viewer import layers
from napari_pml.viewer.layers import Kind
from napari_pml.viewer.prompts import can_annotate, video_shape
from napari_pml.viewer.track import Track, why_unsuitable
from napari_pml.viewer.work import Runner, Work

if TYPE_CHECKING:
    from napari_pml import PmlConfig


class Controller:
    """What a person does in the viewer reaches the session, and what the session finds out is shown.

    All its methods are called in the main thread; everything slow is a job for the runner.

    Attributes:
        track: what belongs to the image layer that was chosen, or None.
        label: the object that is painted now, or `BACKGROUND`.
        work: what is being computed.
        problem: why the chosen image layer cannot be segmented.
    """

    def __init__(self, viewer: ViewerModel, runner: Runner, changed: Callable[[], None]) -> None:
        """Look after `viewer`.

        Args:
            viewer: whose layers are the input and output.
            runner: runs jobs.
            changed: called whenever something the widget shows may have changed.
        """
        self.viewer, self.changed = viewer, changed
        self._soon = partial(runner.soon, self._sync)
        self.work = Work(runner, self._show, changed)
        self.track: Track | None = None
        self.label = 1
        self._tracks: dict[Image, Track] = {}
        self.problem: str | None = None
        viewer.layers.events.inserted.connect(self._on_inserted)
        viewer.layers.events.removed.connect(self._on_removed)
        viewer.layers.selection.events.active.connect(self._on_active)
        viewer.dims.events.current_step.connect(self._on_step)

    def close(self) -> None:
        """Let go of the viewer."""
        self.work.cancel()
        self.viewer.layers.events.inserted.disconnect(self._on_inserted)
        self.viewer.layers.events.removed.disconnect(self._on_removed)
        self.viewer.layers.selection.events.active.disconnect(self._on_active)
        self.viewer.dims.events.current_step.disconnect(self._on_step)
        for track in self._tracks.values():
            for layer in list(track.sources):
                self._release(track, layer)

    # What the person chooses

    @property
    def frame(self) -> int:
        """The frame of the chosen video that is in view."""
        assert self.track is not None
        n_frames = video_shape(self.track.image)[0]
        position = self.track.image.world_to_data(self.viewer.dims.point)[0]
        return min(max(round(float(position)), 0), n_frames - 1)

    def choose_image(self, image: Image | None) -> None:
        """Work on another video; strokes and results of the one before stay and are found again later."""
        if self.track is not None and self.track.image is image:
            return
        self.work.cancel()
        self.work.progress = None
        self.problem = why_unsuitable(image) if image is not None else None
        if image is None or self.problem:
            self.track = None
        else:
            self.track = self._tracks.get(image) or self._new_track(image)
            self.track.look_at(self.frame)
            self._soon()
        self.changed()

    def choose_label(self, label: int) -> None:
        """Draw as object `label`, or `BACKGROUND`, from now on, with the tool in use or the brush."""
        self.label = label
        if self.track is None:
            return
        self.track.note_label(label)
        for layer in self.track.sources:
            layers.choose_label(layer, label)
        active = self.viewer.layers.selection.active
        if active in self.track.sources:
            layers.start_drawing(active)
        else:
            self.draw_with("brush")
        self.changed()

    @property
    def tool(self) -> Kind | None:
        """What the person draws with now."""
        active = self.viewer.layers.selection.active
        if self.track is None or active not in self.track.sources:
            return None
        return next(kind for kind, layer in layers.LAYER_OF.items() if isinstance(active, layer))

    def draw_with(self, kind: Kind) -> None:
        """Go on with a brush, points or shapes: in the layer for that, which is made if there is none."""
        if self.track is None:
            return
        layer = next((s for s in self.track.sources if isinstance(s, layers.LAYER_OF[kind])), None)
        if layer is None:
            layer = layers.new_annotation_layer(kind, self.track.image, self.label)
            self._adopt(self.track, layer, empty=True)
            self.viewer.add_layer(layer)
        self.viewer.layers.selection.active = layer
        layers.start_drawing(layer)
        self._open()  # so that the first stroke need not wait for it
        self.changed()

    def candidates(self) -> list[Layer]:
        """Return the layers that could hold annotations of the video."""
        if self.track is None:
            return []
        image = self.track.image
        return [s for s in self.viewer.layers if not layers.is_mask_layer(s) and can_annotate(s, image)]

    def use_layer(self, layer: Layer, use: bool) -> None:
        """Take a layer's content as annotations, or no longer."""
        if self.track is None or use == (layer in self.track.sources):
            return
        if use:
            self._adopt(self.track, layer)
            self.track.look_at(self.frame)
        else:
            self._release(self.track, layer)
        self._soon()
        self.changed()

    def mark_complete(self, complete: bool) -> None:
        """Say whether the unpainted pixels of the frame in view are background."""
        if self.track is not None:
            self.track.mark_complete(self.frame, complete)
            self._soon()

    def configure(self, config: PmlConfig) -> None:
        """Segment with other settings from now on."""
        self.work.config = config
        if self.track is not None and self.track.is_annotated:
            self.work.segment(self.track, self.frame)

    def propagate(self) -> None:
        """Segment the whole video, from the frame in view outward."""
        if self.track is not None:
            self.work.propagating = True
            self._sync(work=True)

    def go_to_suggestion(self) -> None:
        """Show the frame where an annotation would help most."""
        t = self.track.session.next_frame_to_annotate() if self.track and self.track.session else None
        if t is not None:
            axis = self.viewer.dims.ndim - 3
            position = self.track.image.data_to_world((t, 0, 0))[0]
            self.viewer.dims.set_point(axis, position)

    # What happens in the viewer

    def _on_inserted(self, event: Any) -> None:
        """An empty layer that is added while the plugin is open is meant to be drawn in."""
        layer = event.value
        empty = isinstance(layer, Points | Shapes) and len(layer.data) == 0
        if self.track is not None and empty and can_annotate(layer, self.track.image):
            self._adopt(self.track, layer)
        self.changed()

    def _on_removed(self, event: Any) -> None:
        layer = event.value
        track = self._tracks.pop(layer, None)
        if track is not None:
            for source in list(track.sources):
                self._release(track, source)
            if track is self.track:
                self.work.cancel()
                self.track = None
        for other in self._tracks.values():
            if layer in other.sources:
                self._release(other, layer)
                self._soon()
            if layer is other.masks:
                other.masks = None
                self.work.cancel()
        self.changed()

    def _on_active(self, event: Any) -> None:
        self.changed()

    def _on_step(self, event: Any) -> None:
        self._soon()
        self.changed()

    def _on_edited(self, event: Any) -> None:
        if self.track is not None and event.source in self.track.sources:
            self.track.note_edit(event.source, self.frame)
            self._soon()

    def _on_redrawn(self, event: Any) -> None:
        if self.track is None or event.source not in self.track.sources:
            return
        if self.track.note_redraw(event.source, self.frame):
            self._soon()

    def _on_chosen(self, event: Any) -> None:
        """Follow the label that the person chose among napari's own controls."""
        label = layers.chosen_label(event.source)
        if label not in (UNLABELLED, self.label) and event.source is self.viewer.layers.selection.active:
            self.label = label
            self.track.note_label(label)
            self.changed()

    # Annotations, session, jobs

    def _new_track(self, image: Image) -> Track:
        track = self._tracks[image] = Track(image)
        for layer in self.viewer.layers:
            role = layers.role_of(layer, image)
            if role == "masks" and isinstance(layer, Labels):
                track.masks = layer
            elif role is not None and can_annotate(layer, image):
                self._adopt(track, layer)
        return track

    def _adopt(self, track: Track, layer: Layer, empty: bool = False) -> None:
        if layer in track.sources:
            return
        layers.make_annotating(layer)
        layers.choose_label(layer, self.label)
        track.add_source(layer, empty)
        layers.watch(layer, self._on_edited, self._on_redrawn, self._on_chosen)

    def _release(self, track: Track, layer: Layer) -> None:
        layers.unwatch(layer, self._on_edited, self._on_redrawn, self._on_chosen)
        track.remove_source(layer)

    def _sync(self, work: bool = False) -> None:
        """Tell the session what is new in the layers; if that (or `work`) calls for it, segment."""
        track = self.track
        if track is None:
            return
        if track.session is None:
            if work or track.has_news:
                self._open()
            return
        changed = self._tell(track)
        if not track.is_annotated:
            if track.has_masks:
                self.work.clear(track)
        elif work or changed or (not self.work.propagating and track.is_stale(self.frame)):
            self.work.segment(track, self.frame)
        self.changed()

    def _tell(self, track: Track) -> bool:
        try:
            return track.tell_session()
        except PmlError as error:
            show_error(str(error))
            return False

    def _open(self) -> None:
        track = self.track
        if track.session is None:
            self.work.open(track, self.frame, partial(self._sync, work=True))

    def _show(self, track: Track, t: int | None) -> None:
        """Show the mask of frame `t`, or of all frames, as it is now."""
        if track.masks is None:
            track.masks = layers.new_mask_layer(track.session.masks.labels, track.image)
            active = self.viewer.layers.selection.active
            shown = self.viewer.layers  # strokes lie over masks, masks over the image
            place = min((shown.index(source) for source in track.sources), default=len(shown))
            shown.insert(place, track.masks)
            shown.selection.active = active
        elif track.masks.data is not track.session.masks.labels:
            track.masks.data = track.session.masks.labels
            track.masks.editable = False
        elif t is None or (track is self.track and t == self.frame):
            track.masks.refresh(thumbnail=False, highlight=False, extent=False)
