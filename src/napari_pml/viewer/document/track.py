"""What belongs to one image layer: the layers its annotations are drawn in, its session, and its masks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np
from napari.layers import Image, Labels, Layer
from numpy.typing import NDArray

from napari_pml.types import BACKGROUND, UNLABELLED, labels_in
from napari_pml.viewer.document.appearance import appearance_of
from napari_pml.viewer.document.autosave import project_for
from napari_pml.viewer.document.drawings import drawings_of
from napari_pml.viewer.document.layers import role_of
from napari_pml.viewer.document.prompts import annotation, contents, video_data
from napari_pml.viewer.preferences import preferences

if TYPE_CHECKING:
    from napari_pml import Session


_SESSIONS: WeakKeyDictionary[Image, tuple[Any, Session]] = WeakKeyDictionary()
"""The array that was opened, and its session: who closes the panel and opens it again finds the masks as they were."""


def why_unsuitable(image: Image) -> str | None:
    """Explain why an image layer is no video, or return None if it is one."""
    shape = tuple(video_data(image).shape)
    if image.ndim == 3:
        return None
    if image.ndim < 3:
        return (
            f"'{image.name}' is a single image of shape {shape}. A video has a time axis in front: "
            f"(time, rows, columns). Open all frames as one stack."
        )
    choose = "Press 'Choose channels...'." if image.ndim == 4 and not image.rgb else "Take one position or one z plane."
    return (
        f"'{image.name}' has {image.ndim} axes {shape}; a video has three (time, rows, columns), and colour "
        f"as RGB. {choose}"
    )


class Track:
    """One video in the viewer.

    Attributes:
        image: the layer that shows the video.
        data: the video as an array.
        sources: layers whose content is its annotation.
        masks: the layer that shows the result, once there is one.
        masks_removed: whether the person removed that layer, and no work was begun since.
        session: None until it was opened in the background.
        complete: frames whose unpainted pixels are background.
        objects: known objects, annotated or only chosen.
        appearance: names, own colours and hidden objects.
    """

    def __init__(self, image: Image) -> None:
        self.image = image
        self.sources: list[Layer] = []
        self.masks: Labels | None = None
        self.masks_removed = False
        self.data = video_data(image)
        self.session = _known_session(image)
        self.complete = set(self.session.annotations.complete) if self.session else set()
        self.objects: set[int] = {1, *(self.session.object_ids if self.session else ())}
        self.appearance = appearance_of(image)
        self._drawn: dict[Layer, dict[int, bytes]] = {}  # frames on which a source has or had something
        self._unmarked: WeakKeyDictionary[Layer, set[int]] = WeakKeyDictionary()  # see `unmark`
        self._labels: dict[int, set[int]] = {}  # what the session was told about each frame
        # frames that the session has to hear about
        self._news = set(self.session.annotations.frames) if self.session else set()
        self._views: dict[Layer, int] = {}  # the frame in which each source was last drawn

    @property
    def names(self) -> dict[int, str]:
        """The names of the objects that have one."""
        return self.appearance.names

    def open_session(self, view: int) -> Iterator[Session]:
        """Yield a new session for the video, and embed frame `view`; a job for the background."""
        from napari_pml import Session, open_video  # imports torch: not when the viewer starts
        from napari_pml.embedding.cache import users_cache

        video, chosen = open_video(self.data, channel_axis=3 if self.image.rgb else None), preferences()
        session = Session(
            video,
            device=chosen.device,
            embedding_bytes=chosen.embedding_bytes,
            embedding_cache=users_cache(chosen.embedding_disk_gb),
            project=project_for(self.image, video),
        )
        self.complete |= session.annotations.complete
        if session.project is not None:
            self.names.update(session.project.record.names)
            self.appearance.restore_colours(session.project.record.colours)
        self.objects |= set(session.object_ids)
        self._news |= session.annotations.frames.keys()
        _SESSIONS[self.image] = self.data, session
        yield session
        session.embed(view)  # so that the first stroke need not wait for it

    def dress(self) -> None:
        """Show the objects' colours in all of its layers."""
        for layer in (*self.sources, *([self.masks] if self.masks is not None else ()), *self.appearance.tracks):
            self.appearance.dress(layer)

    def forget_session(self) -> None:
        """Let go of the session; the next one is opened from the image's project."""
        _SESSIONS.pop(self.image, None)
        if self.session is not None and self.session.project is not None:
            self.session.project.close()

    def owns(self, layer: Layer) -> bool:
        """Whether a layer shows the video, annotates it, or was made for it."""
        return layer is self.image or layer in self.sources or role_of(layer, self.image) is not None

    def is_empty(self, layer: Layer) -> bool:
        """Whether nothing was ever drawn in a source."""
        return not self._drawn[layer]

    def add_source(self, layer: Layer, empty: bool = False) -> None:
        """Take a layer's content as annotations; it need not be looked through if it is known to be empty."""
        self.sources.append(layer)
        self._drawn[layer] = {} if empty else contents(layer, self.image)
        self._news |= self._drawn[layer].keys()
        self.complete |= self._unmarked.pop(layer, set()) & self._drawn[layer].keys()

    def remove_source(self, layer: Layer) -> None:
        """Take a layer's content as annotations no longer."""
        self.sources.remove(layer)
        self._news |= self._drawn.pop(layer).keys()

    def unmark(self, layer: Layer) -> None:
        """Take frames on which only this source has something as complete no longer, until it is a source again.

        Without it they would be background from edge to edge.
        """
        others = {t for source in self.sources if source is not layer for t in self._drawn[source]}
        self._unmarked[layer] = self.complete & (self._drawn[layer].keys() - others)
        self.complete -= self._unmarked[layer]

    def take_over(self, old: Track) -> None:
        """Keep what was said about the same frames of the video that was shown before."""
        self.objects |= old.objects
        for t in old.complete:
            if t < self.data.shape[0]:
                self.mark_complete(t, True)

    def note_edit(self, layer: Layer, painted: set[int] | None) -> None:
        """Remember that something was drawn in a source: on the `painted` frames, or anywhere if that is unknown."""
        before = self._drawn[layer]
        if painted is not None:
            before |= dict.fromkeys(painted, b"")
            self._news |= painted
            return
        now = contents(layer, self.image)
        if isinstance(layer, Labels):
            before |= now
            self._news |= before.keys()
        else:
            self._drawn[layer] = now
            self._news |= {t for t in before.keys() | now.keys() if before.get(t) != now.get(t)}

    def note_redraw(self, layer: Layer, view: int) -> bool:
        """Remember that a Labels source was drawn anew; return False if merely another frame came into view.

        Undo and redo may have changed any frame that was ever painted.
        """
        stepped = self._views.get(layer) != view
        self._views[layer] = view
        if not stepped:
            self._news |= self._drawn[layer].keys() | {view}
        return not stepped

    def may_show(self, layer: Layer, labels: set[int]) -> set[int]:
        """Return the frames on which a source may mark one of `labels`: all that were drawn on and not seen without."""
        alone = len(self.sources) == 1  # otherwise something drawn in another source may lie over it
        seen = {t for t, shown in self._labels.items() if alone and t not in self._news and not shown & labels}
        return self._drawn[layer].keys() - seen

    def look_at(self, view: int) -> None:
        """Remember that frame `view` is looked at in every source."""
        self._views = dict.fromkeys(self.sources, view)

    def look_away(self) -> None:
        """Remember that no source is looked at: when it is drawn next, a frame comes into view."""
        self._views.clear()

    def frame_at(self, point: Sequence[float]) -> int:
        """Return the frame that is nearest to a place in the viewer's world."""
        return min(max(self._index(point), 0), self.data.shape[0] - 1)

    def shows(self, point: Sequence[float]) -> bool:
        """Whether there is a frame at a place in the viewer's world."""
        return 0 <= self._index(point) < self.data.shape[0]

    def _index(self, point: Sequence[float]) -> int:
        return round(float(self.image.world_to_data(point)[0]))

    def note_label(self, label: int) -> None:
        """Remember an object that was chosen, so that it can be chosen again."""
        if label not in (UNLABELLED, BACKGROUND):
            self.objects.add(label)

    def mark_complete(self, t: int, complete: bool) -> None:
        """Say whether the unpainted pixels of frame `t` are background."""
        (self.complete.add if complete else self.complete.discard)(t)
        self._news.add(t)

    @property
    def has_news(self) -> bool:
        """Whether there is something that the session does not know yet."""
        return bool(self._news)

    def tell_session(self) -> bool:
        """Bring the session's annotations up to date with the layers; return whether anything changed.

        Raises:
            AnnotationError: a layer holds something that cannot be an annotation.
            ProjectError: what is new could not be saved.
        """
        project, told = self.session.project, {}
        if project is not None:
            project.note(names=dict(self.names), colours=self.appearance.chosen_rgb)
            if self._news:
                project.note(drawings=drawings_of(self.sources, self.image))
        try:
            while self._news:
                t = self._news.pop()
                told[t] = annotation(t, self.sources, self.image)
        finally:  # what is drawn on other frames counts
            changed = self._tell(told)
        if project is not None:
            project.flush()
        return changed

    def _tell(self, frames: Mapping[int, NDArray[np.uint16]]) -> bool:
        """Tell the session what is annotated on some frames."""
        for t, labels in frames.items():
            self._labels[t] = set(labels_in(labels).tolist()) - {UNLABELLED}
            self.objects |= self._labels[t] - {BACKGROUND}
        return self.session.annotate_frames(frames, complete=self.complete & frames.keys())

    @property
    def is_drawn_on(self) -> bool:
        """Whether something is drawn that the session knows or will soon hear about."""
        return bool(self._news) or self.is_annotated

    @property
    def is_annotated(self) -> bool:
        """Whether the session knows of any annotation, of this video or of another."""
        session = self.session
        return session is not None and (bool(session.annotations.frames) or session.borrowed is not None)

    @property
    def has_masks(self) -> bool:
        """Whether there is a mask of any frame."""
        return bool((self.session.masks.revisions >= 0).any())

    @property
    def has_background(self) -> bool:
        """Whether the session knows some background."""
        return bool(self.complete) or any(BACKGROUND in labels for labels in self._labels.values())

    def is_stale(self, t: int) -> bool:
        """Whether frame `t` has no mask of the present annotations."""
        return bool(self.session.masks.revisions[t] < self.session.annotations.revision)

    @property
    def frames_done(self) -> int:
        """How many frames have a mask of the present annotations."""
        return self.data.shape[0] - len(self.session.stale_frames())


def session_in(path: Path) -> Session | None:
    """Return the session that has the project at `path` open in this process."""
    return next((session for session in _saved_sessions() if session.project.path == path.absolute()), None)


def open_projects() -> list[Path]:
    """Return the paths of the projects that are open in this process."""
    return [session.project.path for session in _saved_sessions()]


def _saved_sessions() -> list[Session]:
    return [session for _, session in _SESSIONS.values() if session.project is not None]


def _known_session(image: Image) -> Session | None:
    """Return the session that was opened for what an image layer shows now; drop one of earlier data."""
    data, session = _SESSIONS.get(image, (None, None))
    if data is video_data(image):
        return session
    _SESSIONS.pop(image, None)
    return None
