"""Keeps a segmentation session in step with the layers of a viewer. Knows layers, but no windows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari.components import ViewerModel
from napari.layers import Image, Layer, Points, Shapes
from napari.utils.notifications import show_error

from napari_pml.errors import PmlError
from napari_pml.types import UNLABELLED
from napari_pml.viewer.document import layers
from napari_pml.viewer.document.layers import Kind
from napari_pml.viewer.document.lazy_frames import MaskFrames
from napari_pml.viewer.document.prompts import can_annotate, video_data
from napari_pml.viewer.document.track import Track, why_unsuitable
from napari_pml.viewer.document.tracks import Tracks
from napari_pml.viewer.jobs.work import Runner, Work

if TYPE_CHECKING:
    from napari_pml import Session
    from napari_pml.methods.config import MethodConfig


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
        self.work = Work(runner, self._show, changed, self._go_on, self._in_view)
        self._soon = self.tell_soon = partial(self.work.soon, self._sync)
        self.track: Track | None = None
        self.label = 1
        self.problem: str | None = None
        self._tracks = Tracks(
            viewer.layers, self._on_edited, self._on_redrawn, self._on_chosen, self._on_tool, self._on_video_replaced
        )
        viewer.layers.events.inserted.connect(self._on_inserted)
        viewer.layers.events.removed.connect(self._on_removed)
        viewer.layers.selection.events.active.connect(self._on_tool)
        viewer.dims.events.current_step.connect(self._on_step)
        viewer.mouse_drag_callbacks.append(self._on_press)

    def leave(self) -> None:
        """Let go of the projects, too: the window is gone, and another may go on with them."""
        self.work.stop()
        for track in self._tracks:
            if track is self.track and track.session is not None:
                self._tell(track)  # so that the last stroke is saved
            track.forget_session()
        self.track = None

    def close(self) -> None:
        """Let go of the viewer; who opens the panel again finds everything as it is."""
        self.work.stop()
        if self.track is not None and self.track.session is not None:
            self._tell(self.track)  # so that the last stroke is saved
        self.viewer.layers.events.inserted.disconnect(self._on_inserted)
        self.viewer.layers.events.removed.disconnect(self._on_removed)
        self.viewer.layers.selection.events.active.disconnect(self._on_tool)
        self.viewer.dims.events.current_step.disconnect(self._on_step)
        self.viewer.mouse_drag_callbacks.remove(self._on_press)
        for track in self._tracks:
            self._tracks.forget(track)

    # What the person chooses

    @property
    def frame(self) -> int:
        """The frame of the chosen video that is in view."""
        assert self.track is not None
        return self.track.frame_at(self.viewer.dims.point)

    def choose_image(self, image: Image | None) -> None:
        """Work on another video; strokes and results of the one before stay and are found again later."""
        if self.track is not None and self.track.image is image:
            return
        self.work.cancel()
        self.work.progress = None
        self.work.forget_problems()
        self.problem = why_unsuitable(image) if image is not None else None
        if image is None or self.problem:
            self.track = None
        else:
            self.track = self._tracks.get(image) or self._tracks.make(image, self.label)
            self._step_inside()
            self._bring_into_view()
            self._soon()
        self.changed()

    def forget(self, track: Track) -> None:
        """Let go of a video; chosen again, it begins anew with its layers and its project."""
        self.work.cancel()
        if track.session is not None:
            self._tell(track)  # so that the last stroke is saved
        track.forget_session()
        self._tracks.forget(track)
        self.track = None

    def choose_label(self, label: int) -> None:
        """Draw as object `label`, or `BACKGROUND`, from now on, with the tool in use or the brush."""
        self.label = label
        if self.track is None:
            return
        self.track.note_label(label)
        for layer in self.track.sources:
            layers.choose_label(layer, label, self.track.appearance.colour(label))
        active = self.viewer.layers.selection.active
        if active in self.track.sources and layers.can_hold(active, label):
            layers.start_drawing(active)
        else:
            self.draw_with("brush")
        self.changed()

    @property
    def tool(self) -> Kind | None:
        """What the person draws with now; None while a drag would move the picture."""
        active = self.viewer.layers.selection.active
        if self.track is None or active not in self.track.sources or not layers.has_tool(active):
            return None
        return next(kind for kind, layer in layers.LAYER_OF.items() if isinstance(active, layer))

    def draw_with(self, kind: Kind) -> None:
        """Go on with a brush, points or shapes: in the layer for that, which is made if there is none."""
        if self.track is None:
            return
        fitting = (s for s in self.track.sources if isinstance(s, layers.LAYER_OF[kind]))
        layer = next((s for s in fitting if layers.can_hold(s, self.label)), None)
        if layer is None:
            layer = layers.new_annotation_layer(kind, self.track.image, self.label)
            self._tracks.adopt(self.track, layer, self.label, empty=True)
            self.viewer.add_layer(layer)
        self.viewer.layers.selection.active = layer
        if not layer.visible:
            layer.visible = True
        layers.start_drawing(layer)
        self._take_tool()
        self._open()  # so that the first stroke need not wait for it
        self.changed()

    def candidates(self) -> list[Layer]:
        """Return the layers that could hold annotations of the video."""
        if self.track is None:
            return []
        image = self.track.image
        return [s for s in self.viewer.layers if not layers.is_mask_layer(s) and can_annotate(s, image)]

    def use_layer(self, layer: Layer, use: bool, complete: bool = False) -> None:
        """Take a layer's content as annotations, `complete` ones where it holds something, or no longer."""
        if self.track is None or use == (layer in self.track.sources):
            return
        if use:
            self._tracks.adopt(self.track, layer, self.label)
            self.track.complete |= self.track.may_show(layer, set()) if complete else set()
            self.track.look_at(self.frame)
        else:
            self._tracks.release(self.track, layer)
        self._soon()
        self.changed()

    def learn_from(self, path: Path | None) -> None:
        """Let what is annotated in a project of another video count here too, in place of what did so before.

        Args:
            path: of the project; None to forget it.
        """
        track = self.track
        if track is None:
            return
        self.work.forget_problems()

        def learned(names: Mapping[int, str]) -> None:
            track.names.update({label: name for label, name in names.items() if label not in track.names})
            track.objects |= set(track.session.object_ids)
            if track is self.track:
                self._sync(work=True)

        def learn() -> None:
            self.work.learn_from(track, path, learned)

        if track.session is None:
            self.work.open(track, self.frame, learn)
        else:
            learn()

    def mark_complete(self, complete: bool) -> None:
        """Say whether the unpainted pixels of the frame in view are background."""
        if self.track is not None:
            self.track.mark_complete(self.frame, complete)
            self._soon()

    def configure(self, config: MethodConfig) -> None:
        """Segment with other settings from now on."""
        self.work.config = config
        self.work.forget_problems()
        if self.track is not None and self.track.is_annotated:
            self.work.segment(self.track, self.frame)

    def choose_network(self, name: str) -> None:
        """Embed the video with another network from now on; if it cannot be had, the one before goes on."""
        track = self.track
        if track is None:
            return
        self.work.forget_problems()

        def use() -> None:
            self.work.use_network(track, name, self.frame, partial(self._sync, work=True))

        if track.session is None:
            self.work.open(track, self.frame, use)
        else:
            use()

    def propagate(self) -> None:
        """Segment the whole video, from the frame in view outward."""
        self.work.forget_problems()
        self._go_on()

    def try_again(self) -> None:
        """Do again what failed, and say so if it fails again."""
        self.work.forget_problems()
        self.work.preparation.postpone()
        self._sync(work=True)
        self.changed()

    def go_to_suggestion(self) -> None:
        """Show the frame where an annotation would help most."""
        t = self.track.session.next_frame_to_annotate() if self.track and self.track.session else None
        if t is not None:
            self.go_to(t)

    def go_to(self, t: int) -> None:
        """Show frame `t` of the chosen video."""
        axis = self.viewer.dims.ndim - 3
        position = self.track.image.data_to_world((t, 0, 0))[0]
        self.viewer.dims.set_point(axis, position)

    # What happens in the viewer

    def _on_inserted(self, event: Any) -> None:
        """An empty layer that is added while the plugin is open is meant to be drawn in."""
        layer = event.value
        empty = isinstance(layer, Points | Shapes) and len(layer.data) == 0
        if any(image is not layer and image.data is layer.data for image in self.viewer.layers):
            layers.drop_project(layer)  # it shows the same video again
        if self.track is not None and empty and can_annotate(layer, self.track.image):
            self._tracks.adopt(self.track, layer, self.label)
        elif self.track is not None:
            self._tracks.claim(self.track, layer, self.label)
            if self.track.has_news:
                self._soon()
        self.changed()

    def _on_removed(self, event: Any) -> None:
        layer = event.value
        track = self._tracks.get(layer)
        if track is not None:
            self._tracks.forget(track)
            if track is self.track:
                self.work.cancel()
                self.track = None
            track.forget_session()
        for other in self._tracks:
            if layer in other.sources:
                self._tracks.release(other, layer)
                self._soon()
            if layer is other.masks:
                other.masks, other.masks_removed = None, True
                if other is self.track:
                    self.work.cancel()
        self.changed()

    def _on_tool(self, event: Any) -> None:
        self._take_tool()
        self.changed()

    def _on_step(self, event: Any) -> None:
        if self.tool is not None:
            self._step_inside()
        self._soon()
        self.changed()

    def _on_press(self, viewer: ViewerModel, event: Any) -> None:
        self.work.preparation.postpone()

    def _on_edited(self, event: Any) -> None:
        painted = layers.painted_frames(event)
        for track in self._tracks.of_source(event.source):
            if can_annotate(event.source, track.image):
                track.note_edit(event.source, painted)
                if track is self.track and painted is not None:
                    if self._sync():  # before the window is drawn again
                        continue
                    track.note_edit(event.source, painted)  # a script's stroke is told of before it is there
            else:
                self._tracks.release(track, event.source)
                show_error(_unfitting([event.source], track.image))
            if track is self.track:
                self._soon()

    def _on_redrawn(self, event: Any) -> None:
        for track in self._tracks.of_source(event.source):
            if not can_annotate(event.source, track.image):
                continue  # its data are being replaced: `_on_edited` comes next
            if track.note_redraw(event.source, track.frame_at(self.viewer.dims.point)) and track is self.track:
                self._soon()

    def _on_chosen(self, event: Any) -> None:
        """Follow the label that the person chose among napari's own controls."""
        label = layers.chosen_label(event.source)
        if label not in (UNLABELLED, self.label) and event.source is self.viewer.layers.selection.active:
            self.label = label
            for track in self._tracks.of_source(event.source):
                track.note_label(label)
            self.changed()

    def _on_video_replaced(self, event: Any) -> None:
        """Begin anew with what the image layer shows now; annotations stay where they still fit."""
        image = event.source
        old = self._tracks.get(image)
        if old.data is video_data(image):
            return
        chosen = old is self.track
        if chosen:
            self.work.cancel()
            self.track = None
        unfitting = self._tracks.renew(old, self.label)
        if unfitting:
            show_error(_unfitting(unfitting, image))
        if chosen:
            self.choose_image(image)

    # Annotations, session, jobs

    def _bring_into_view(self) -> None:
        """Show the chosen video; a hidden layer is not left to be drawn in."""
        self.track.look_away()  # what is drawn anew because it is shown again has not changed
        self._tracks.bring_into_view(self.track)
        self.track.look_at(self.frame)
        active = self.viewer.layers.selection.active
        if active is not None and not active.visible:
            self.viewer.layers.selection.active = self.track.image

    def _take_tool(self) -> None:
        """What is drawn with a tool shall be seen."""
        if self.tool is None:
            return
        self._step_inside()
        if self._tracks.is_covered(self.track):
            self._bring_into_view()

    def _step_inside(self) -> None:
        """Show the last frame if the viewer stands behind it: another video may be longer, and nothing drawn there."""
        if not self.track.shows(self.viewer.dims.point):
            self.go_to(self.frame)

    def _go_on(self) -> None:
        if self.track is not None:
            self.work.propagating = True
            self._sync(work=True)

    def _in_view(self) -> tuple[Session, int] | None:
        return (self.track.session, self.frame) if self.track is not None and self.track.session is not None else None

    def _sync(self, work: bool = False) -> bool:
        """Tell the session what is new in the layers; if that (or `work`) calls for it, segment.

        Returns:
            Whether anything was new.
        """
        track = self.track
        if track is None:
            return False
        if track.session is None:
            if work or track.has_news:
                self._open()
            return False
        changed = self._tell(track)
        if not track.is_annotated:
            if track.has_masks:
                self.work.clear(track)
        elif work or changed or (not self.work.propagating and track.is_stale(self.frame)):
            self.work.segment(track, self.frame)
        self.changed()
        return changed

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
        if track.masks_removed or track not in self._tracks:  # a job that was stopped had yielded this
            return
        if track.masks is None:
            track.masks = layers.new_mask_layer(MaskFrames(track.session), track.image)
            track.appearance.dress(track.masks)
            layers.insert_below(track.masks, track.sources, self.viewer.layers)
        elif getattr(track.masks.data, "session", None) is not track.session:
            track.masks.data = MaskFrames(track.session)
            track.masks.editable = False
        elif t is None or (track is self.track and t == self.frame):
            track.masks.refresh(thumbnail=False, highlight=False, extent=False)


def _unfitting(sources: list[Layer], image: Image) -> str:
    names = ", ".join(f"'{layer.name}'" for layer in sources)
    return f"'{image.name}' and {names} have different sizes now, so what is drawn there no longer annotates the video."
