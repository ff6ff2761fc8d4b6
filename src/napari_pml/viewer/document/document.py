"""One video in the viewer: its image layer, the layers of its annotations and masks, and its session."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from napari.components import Dims
from napari.layers import Image, Labels, Layer
from psygnal import Signal

from napari_pml.types import BACKGROUND, UNLABELLED
from napari_pml.viewer.document import layers
from napari_pml.viewer.document.annotation_layers import AnnotationLayers
from napari_pml.viewer.document.appearance import Appearance
from napari_pml.viewer.document.autosave import project_for
from napari_pml.viewer.document.drawings import drawings_of
from napari_pml.viewer.document.lazy_frames import MaskFrames
from napari_pml.viewer.document.metadata import DOCUMENT
from napari_pml.viewer.document.position import Position
from napari_pml.viewer.document.prompts import can_annotate, is_single, is_stack, video_data
from napari_pml.viewer.preferences import preferences

if TYPE_CHECKING:
    from napari_pml.viewer.document.session import SessionLike


class VideoDocument:
    """One video in the viewer. It stays with its image layer, so who opens the panel again finds everything.

    Attributes:
        image: the layer that shows the video.
        data: the video as an array.
        sources: the layers whose content is its annotation.
        position: knows the frame in view.
        masks: the layer that shows the result, once there is one.
        masks_removed: whether that layer was removed, and no work was begun since.
        session: None until it was opened in the background.
        objects: known objects, annotated or only chosen.
        appearance: names, own colours and hidden objects.
        hidden: layers that were hidden because another video was chosen; they are shown when this one is.
        replaced: emitted when the image layer shows other data.
    """

    replaced = Signal()

    def __init__(self, image: Image, appearance: Appearance | None = None) -> None:
        self.image, self.data = image, video_data(image)
        self.session: SessionLike | None = None
        self.appearance = appearance or Appearance()
        self.hidden: WeakSet[Layer] = WeakSet()
        self.masks: Labels | None = None
        self.masks_removed = False
        self.objects: set[int] = {1}
        self.position: Position
        self.sources: AnnotationLayers
        self.open(Dims(ndim=3))

    @classmethod
    def of(cls, image: Image) -> VideoDocument:
        """Return the document of an image layer; a new one if there is none of what it shows now."""
        document = cls.existing(image)
        if document is None or document.data is not video_data(image):
            document = cls(image, document.appearance if document is not None else None)
            image.metadata[DOCUMENT] = document
        return document

    @classmethod
    def existing(cls, image: Layer) -> VideoDocument | None:
        """Return the document that an image layer has, if it has one; a duplicate has none of its own."""
        document = image.metadata.get(DOCUMENT)
        return document if isinstance(document, VideoDocument) and document.image is image else None

    def __deepcopy__(self, memo: Any) -> VideoDocument:
        return self  # napari copies metadata with layers

    # From panel to panel

    def open(self, dims: Dims) -> None:
        """Begin to be looked after, without annotation layers; all that is annotated has to be told again."""
        annotations = self.session.annotations if self.session is not None else None
        self.position = Position(self.image, dims, self.data.shape[0])
        self.sources = AnnotationLayers(self.image, self.position)
        self.masks, self.masks_removed = None, False
        self.objects = {1, *(self.session.object_ids if self.session is not None else ())}
        if annotations is not None:
            self.sources.complete |= annotations.complete
            self.sources.mark_dirty(set(annotations.frames))
        self.image.events.data.connect(self._on_data)

    def close(self) -> None:
        """Be looked after no longer: annotation layers are not watched."""
        self.image.events.data.disconnect(self._on_data)
        self.replaced.disconnect()
        self.sources.clear()

    def _on_data(self, event: Any) -> None:
        if self.data is not video_data(self.image):
            self.replaced.emit()

    # The session

    def open_session(self) -> SessionLike:
        """Return a new session for the video; slow, for the background."""
        from napari_pml import Session, open_video  # imports torch: not when the viewer starts
        from napari_pml.embedding.cache import users_cache
        from napari_pml.embedding.memory import keep_freed_memory

        keep_freed_memory()
        video, chosen = open_video(self.data, channel_axis=3 if self.image.rgb else None), preferences()
        return Session(
            video,
            device=chosen.device,
            embedding_bytes=chosen.embedding_bytes,
            embedding_cache=users_cache(chosen.embedding_disk_gb),
            project=project_for(self.image, video),
        )

    def begin_session(self, session: SessionLike) -> None:
        """Go on with a session, and with everything that its project knows."""
        self.session = session
        self.complete |= session.annotations.complete
        self.objects |= set(session.object_ids)
        self.sources.mark_dirty(set(session.annotations.frames))
        if session.project is not None:
            self.names.update(session.project.record.names)
            self.appearance.restore_colours(session.project.record.colours)
            self.apply_colours()

    @property
    def live_session(self) -> SessionLike:
        """The session, where there is one."""
        assert self.session is not None
        return self.session

    def end_session(self) -> None:
        """Let go of the session; the next one is opened from the image's project."""
        if self.session is not None and self.session.project is not None:
            self.session.project.close()
        self.session = None

    @property
    def is_dirty(self) -> bool:
        """Whether there is something that the session does not know yet."""
        return self.sources.is_dirty

    def flush(self) -> bool:
        """Bring the session's annotations up to date with the layers; return whether anything changed.

        Raises:
            AnnotationError: a layer holds something that cannot be an annotation.
            ProjectError: what is new could not be saved.
        """
        session, project = self.live_session, self.live_session.project
        if project is not None:
            project.note(names=dict(self.names), colours=self.appearance.chosen_rgb)
            if self.is_dirty:
                project.note(drawings=drawings_of(self.sources, self.image))
        frames = {}
        try:
            for t, labels in self.sources.take_dirty():
                frames[t] = labels
        finally:  # what is drawn on other frames counts
            self.objects |= self.sources.note_told(frames) - {BACKGROUND}
            changed = session.annotate_frames(frames, complete=self.complete & frames.keys())
        if project is not None:
            project.flush()
        return changed

    # What is shown

    @property
    def names(self) -> dict[int, str]:
        """The names of the objects that have one."""
        return self.appearance.names

    @property
    def complete(self) -> set[int]:
        """The frames whose unpainted pixels are background."""
        return self.sources.complete

    @complete.setter
    def complete(self, frames: set[int]) -> None:
        self.sources.complete = frames

    @property
    def frame(self) -> int:
        """The frame in view."""
        return self.position.frame

    def owns(self, layer: Layer) -> bool:
        """Whether a layer shows the video, annotates it, or was made for it."""
        return layer is self.image or layer in self.sources or layers.role_of(layer, self.image) is not None

    def adopt(self, layer: Layer, empty: bool = False) -> None:
        """Take a layer's content as annotations; it need not be looked through if it is known to be empty."""
        if layer not in self.sources:
            layers.make_annotating(layer)
            self.appearance.apply(layer)
            self.sources.add(layer, empty)

    def claim(self, layer: Layer) -> None:
        """Take a layer that was made for the image, as what it was made for."""
        role = layers.role_of(layer, self.image)
        if role == "masks" and isinstance(layer, Labels):
            if self.masks is None or self.masks is layer:
                self.masks = layer
            else:
                layers.drop_role(layer)  # a duplicate, to be painted in
        elif role is not None and can_annotate(layer, self.image):
            self.adopt(layer)

    def take_over(self, old: VideoDocument) -> None:
        """Keep what was said about the same frames of the video that was shown before."""
        self.objects |= old.objects
        for t in old.complete:
            if t < self.data.shape[0]:
                self.sources.mark_complete(t, True)

    def note_label(self, label: int) -> None:
        """Remember an object that was chosen, so that it can be chosen again."""
        if label not in (UNLABELLED, BACKGROUND):
            self.objects.add(label)

    def apply_colours(self) -> None:
        """Show the objects' colours in all of its layers."""
        masks = [self.masks] if self.masks is not None else []
        for layer in (*self.sources, *masks, *self.appearance.tracks):
            self.appearance.apply(layer)

    def new_mask_layer(self) -> Labels:
        """Return a new layer that shows the masks of the session, in the objects' colours."""
        self.masks = layers.new_mask_layer(MaskFrames(self.live_session), self.image)
        self.appearance.apply(self.masks)
        return self.masks

    def refresh_masks(self, t: int | None = None) -> None:
        """Show the mask of frame `t`, or of all frames, as it is now."""
        assert self.masks is not None
        if getattr(self.masks.data, "session", None) is not self.session:
            self.masks.data = MaskFrames(self.live_session)
            self.masks.editable = False
        elif t in (None, self.frame):
            self.masks.refresh(thumbnail=False, highlight=False, extent=False)

    # How far the work is

    @property
    def is_drawn_on(self) -> bool:
        """Whether something is drawn that the session knows or will soon hear about."""
        return self.is_dirty or self.is_annotated

    @property
    def is_annotated(self) -> bool:
        """Whether the session knows of any annotation, of this video or of another."""
        session = self.session
        return session is not None and (bool(session.annotations.frames) or session.transferred is not None)

    @property
    def has_masks(self) -> bool:
        """Whether there is a mask of any frame."""
        return self.session is not None and bool((self.session.masks.revisions >= 0).any())

    def is_stale(self, t: int) -> bool:
        """Whether frame `t` has no mask of the present annotations."""
        return bool(self.live_session.masks.revisions[t] < self.live_session.annotations.revision)

    @property
    def frames_done(self) -> int:
        """How many frames have a mask of the present annotations."""
        return int(self.data.shape[0]) - len(self.live_session.stale_frames())


def why_unsuitable(image: Image) -> str | None:
    """Explain why an image layer is no video, or return None if it is one."""
    shape = tuple(video_data(image).shape)
    if image.ndim == 3 or is_single(image):
        return None
    if image.ndim < 3:
        return (
            f"'{image.name}' is a single image of shape {shape}. A video has a time axis in front: "
            f"(time, rows, columns). Open all frames as one stack."
        )
    choose = "Press 'Choose channels...'." if is_stack(image) else "Take one position or one z plane."
    return (
        f"'{image.name}' has {image.ndim} axes {shape}; a video has three (time, rows, columns), and colour "
        f"as RGB. {choose}"
    )
