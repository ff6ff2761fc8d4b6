"""One video being segmented: annotations in, masks out."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import islice
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from napari_pml.embedding.cache import EmbeddingCache
from napari_pml.embedding.device import choose_device
from napari_pml.embedding.protocol import Embedder
from napari_pml.embedding.registry import load_embedder
from napari_pml.embedding.video_embeddings import MEMORY_BYTES, VideoEmbeddings
from napari_pml.engine.blending import PackedMasks, blend
from napari_pml.engine.project_knowledge import (
    comparable,
    known_config,
    known_embedder,
    known_references,
    known_resolution,
)
from napari_pml.engine.propagation import chains, outward_from, way_to
from napari_pml.engine.segmenter import Segmenter
from napari_pml.errors import AnnotationError
from napari_pml.grid import grid_shape
from napari_pml.methods.config import MethodConfig
from napari_pml.methods.protocol import LearningProgress
from napari_pml.methods.references import ReferencePixels
from napari_pml.methods.registry import DEFAULT
from napari_pml.methods.transferred import TransferredReferences
from napari_pml.store.masks import FinishedMasks, MaskStore
from napari_pml.store.project import Project
from napari_pml.types import CONFIDENCE_STRIDE, PREVIEW_REVISION, Annotations, FrameMask, frame_number
from napari_pml.video.video import Video
from napari_pml.video.working import checked_resolution

Result = TypeVar("Result")


class Session:
    """One video being segmented.

        >>> session = Session(open_video("cat.mp4"))
        >>> session.annotate(0, first_mask, complete=True)
        >>> for mask in session.propagate():
        ...     show(mask.t, mask.labels)

    Annotations may change at any time and from any thread; a running `propagate` then ends, and the next one does
    only what has become stale.

    Attributes:
        video: what is segmented.
        annotations: the present snapshot.
        masks: every finished mask, each with the revision it was computed from, and previews where it is older.
        project: where everything is saved as it is done, or None.
    """

    def __init__(
        self,
        video: Video,
        config: MethodConfig | None = None,
        *,
        embedder: str | Embedder | None = None,
        device: str | None = None,
        masks: MaskStore | None = None,
        embedding_bytes: int = MEMORY_BYTES,
        embedding_cache: EmbeddingCache | None = None,
        project: Project | None = None,
        resolution: str | None = None,
    ):
        """Begin with nothing annotated, or go on with a project.

        Args:
            video: from `open_video`.
            config: the method and its settings; by default as the project says, or `METHODS["pml"]`.
            embedder: a name, the path of trained weights, see `load_embedder`, or an object with the `Embedder`
                protocol; by default as the project says, or "compact".
            device: "cuda", "mps" or "cpu"; by default the best there is.
            embedding_bytes: how much main memory embeddings may take.
            embedding_cache: keeps them on disk, beyond the end of the session, if the video is a file or folder;
                `users_cache()` is that of the viewer and the command line.
            masks: where masks are kept; in the project or in memory by default.
            resolution: in which the network sees frames, one of `RESOLUTIONS`: "auto" makes the shorter side of larger
                ones 480 pixels long, "native" leaves all as they are, "2x" and "4x" are for objects of a few pixels;
                by default as the project says, or "auto". Masks are always as large as the video.
            project: of this video. Its masks count as stale if settings or embedder are others than before.

        Raises:
            WeightsError: the embedder, or a network that the method needs beside it, cannot be loaded.
            ProjectError: the project is of another video, damaged, closed, in use by another session, or cannot be
                written.
        """
        self.video = video
        if embedder is None:
            embedder = known_embedder(project, choose_device(device))
        elif isinstance(embedder, str):
            embedder = load_embedder(embedder, choose_device(device))
        resolution = checked_resolution(resolution or known_resolution(project))
        embeddings = VideoEmbeddings(video, embedder, embedding_bytes, embedding_cache, resolution)
        self.project: Project | None = None
        self._kept: Annotations | None = None  # of which the project has what was learned
        self._to_settle = False  # whether the project is still as it was, but shall not stay so
        self._states: Mapping[str, Mapping[str, NDArray[Any]]] = {}  # of the methods that were chosen before
        self._computing = threading.Lock()
        self._annotating = threading.Lock()
        if project is None:
            self.masks = masks or MaskStore(video.shape, self._confidence_grid)
            # Whatever is in the store already is older than any annotation to come.
            self.annotations = Annotations(video.shape, revision=max(PREVIEW_REVISION, int(self.masks.revisions.max())))
            self._segmenter = Segmenter(config or DEFAULT, embeddings, None)
        else:
            self._go_on(project, config, embeddings)

    def _go_on(self, project: Project, config: MethodConfig | None, embeddings: VideoEmbeddings) -> None:
        """Take over everything from a project."""
        project.check(self.video)
        self.masks = project.masks(self._confidence_grid)
        self.annotations = project.annotations
        provenance, config = project.record.provenance, config or known_config(project)
        self._segmenter = Segmenter(config, embeddings, known_references(project, embeddings.embedder))
        self._states = project.learned()
        self._segmenter.method.restore(self._states.get(config.method, {}))
        project.claim(self)
        self.project = project
        newest = int(self.masks.revisions.max())
        if newest > self.annotations.revision:  # of annotations that the disk refused
            self.annotations = replace(self.annotations, revision=newest + 1)
        elif comparable(provenance, self.embedder.name) != self._segmenter.provenance:
            self.annotations = self.annotations.renewed()
        self._to_settle = self.annotations is not project.annotations or provenance != self._segmenter.provenance

    def _take(self, annotations: Annotations) -> None:
        """Save annotations and work with them from now on, in this order: no mask on disk may be ahead of them.

        Raises:
            ProjectError: they could not be saved, but they count.
        """
        try:
            if self.project is not None:
                self.project.save(annotations, self._segmenter.provenance)
        finally:
            self.annotations, self._to_settle = annotations, False

    def _settle(self) -> None:
        """Save what the next mask will depend on. Until then a project is left as it was: its network may come back.

        Raises:
            ProjectError: it could not be saved, but counts.
        """
        with self._annotating:
            if self._to_settle:
                self._take(self.annotations)

    @property
    def _confidence_grid(self) -> tuple[int, int]:
        return grid_shape(*self.video.shape[1:], CONFIDENCE_STRIDE)

    @property
    def embeddings(self) -> VideoEmbeddings:
        """The video's embeddings, computed lazily."""
        return self._segmenter.embeddings

    @property
    def uses_embeddings(self) -> bool:
        """Whether the method looks at embeddings of the video at all."""
        return self._segmenter.method.uses_embeddings

    @property
    def transferred(self) -> TransferredReferences | None:
        """Reference pixels of other videos, see `transfer_from`."""
        return self._segmenter.transferred

    @property
    def embedder(self) -> Embedder:
        """The network in use; another one makes every mask stale, and forgets what was learned from other videos.

        Raises:
            WeightsError: the method needs a network that there is not for this embedder; all stays as it was.
        """
        return self.embeddings.embedder

    @embedder.setter
    def embedder(self, embedder: Embedder) -> None:
        with self._computing, self._annotating:
            bytes_, cache = self.embeddings.memory.max_bytes, self.embeddings.cache
            embeddings = VideoEmbeddings(self.video, embedder, bytes_, cache, self.resolution)
            self._begin_anew(self.config, embeddings, None)

    @property
    def resolution(self) -> str:
        """In which resolution the network sees frames, one of `RESOLUTIONS`; another one makes every mask stale.

        Raises:
            SettingsError: there is no such resolution, or frames have too many cells then; all stays as it was.
        """
        return self.embeddings.resolution

    @resolution.setter
    def resolution(self, resolution: str) -> None:
        if checked_resolution(resolution) == self.resolution:
            return
        with self._computing, self._annotating:
            bytes_, cache = self.embeddings.memory.max_bytes, self.embeddings.cache
            embeddings = VideoEmbeddings(self.video, self.embedder, bytes_, cache, resolution)
            self._begin_anew(self.config, embeddings, self.transferred)

    @property
    def device(self) -> torch.device:
        """Where the network runs."""
        return self.embedder.device

    @property
    def object_ids(self) -> tuple[int, ...]:
        """The objects annotated here or learned from other videos, in increasing order."""
        return tuple(sorted({*self.annotations.object_ids, *(self.transferred.object_ids if self.transferred else ())}))

    @property
    def config(self) -> MethodConfig:
        """The method and its settings; setting others makes every mask stale.

        Raises:
            WeightsError: the method needs a network that there is not for this embedder; all stays as it was.
        """
        return self._segmenter.config

    @config.setter
    def config(self, config: MethodConfig) -> None:
        if config == self.config:
            return
        with self._computing, self._annotating:
            self._begin_anew(config, self.embeddings, self.transferred)

    def _begin_anew(
        self, config: MethodConfig, embeddings: VideoEmbeddings, transferred: TransferredReferences | None
    ) -> None:
        """Make every mask stale, since something else than annotations has changed; WeightsError changes nothing."""
        after = Segmenter(config, embeddings, transferred)
        self._states = self._all_states()
        after.method.restore(self._states.get(config.method, {}))  # what was learned need not be learned again
        self._segmenter, self._kept = after, None
        self._take(self.annotations.renewed())

    def transfer_from(self, *others: Session | Project) -> bool:
        """Let what is annotated on other videos count here too, in place of what was learned so before.

        An object there is the object of the same number here. Annotations of this video may be added, or may be none.

        Args:
            others: sessions or projects, which stay as they are. Their annotated frames are embedded again.

        Returns:
            Whether anything changed.

        Raises:
            AnnotationError: nothing is annotated in one of them.
            ProjectError: the video of a project is not to be found; or this session's project cannot be written.
        """
        sources = [(o.annotations, o.open_video() if isinstance(o, Project) else o.video) for o in others]
        with self._computing:  # until the end: another network could not match what this one has gathered
            transferred = None
            if sources:
                transferred = self._segmenter.on_any_device(
                    lambda: TransferredReferences.gather(sources, self.embedder, len(self.video), self.resolution)
                )
            with self._annotating:
                if (transferred and transferred.digest) == (self.transferred and self.transferred.digest):
                    return False
                if transferred is not None and self.project is not None:
                    self.project.save_references(transferred.digest, transferred.arrays)
                self._begin_anew(self.config, self.embeddings, transferred)
                return True

    def keep_in(self, project: Project) -> None:
        """Copy everything there is to another project, and go on there; strokes may be added meanwhile.

        Args:
            project: a new one, of this video. The project so far, if any, stays as it is and open.

        Raises:
            ProjectError: it is of another video, closed, in use by another session, or cannot be written; the work
                then goes on where it was.
            ExportError: the masks cannot be written.
        """
        project.check(self.video)
        project.claim(self)
        try:
            self._move_to(project)
        except BaseException:
            project.release(self)
            raise

    def _move_to(self, project: Project) -> None:
        with self._computing:
            masks = project.masks(self._confidence_grid)
            for t in np.flatnonzero(self.masks.revisions >= PREVIEW_REVISION).tolist():
                masks.put(self.masks[t])
            for t in self.masks.previewed:
                masks.put(self.masks.latest(t))
            if self.transferred is not None:
                project.save_references(self.transferred.digest, self.transferred.arrays)
            for method, state in self._all_states().items():
                project.save_learned(method, state)
            project.save(self.annotations, self._segmenter.provenance)
            with self._annotating:  # for a moment only: what has been painted meanwhile
                if self.project is not None:
                    record = self.project.record
                    project.note(names=record.names, colours=record.colours, drawings=record.drawings)
                project.save(self.annotations, self._segmenter.provenance)
                if self.project is not None:
                    self.project.release(self)
                self.masks, self.project = masks, project

    def annotate(self, t: int, labels: ArrayLike, *, complete: bool = False) -> bool:
        """Replace the annotation of frame t.

        Args:
            t: frame number.
            labels: (H, W) integers: 0 = not annotated, 1..65534 = objects, `BACKGROUND` (65535) = background.
            complete: unpainted pixels are background; this frame's mask is then exactly what is painted.

        Returns:
            Whether anything changed.

        Raises:
            AnnotationError: there is no such frame, or `labels` does not fit.
            ProjectError: the annotation could not be saved; it counts all the same.
        """
        t = frame_number(t, len(self.video))
        return self.annotate_frames({t: labels}, complete=[t] if complete else [])

    def annotate_frames(self, frames: Mapping[int, ArrayLike], *, complete: Collection[int] = ()) -> bool:
        """Replace the annotations of several frames, as one change.

        Args:
            frames: frame number -> (H, W) integers, see `annotate`.
            complete: those of them whose unpainted pixels are background.

        Returns:
            Whether anything changed.

        Raises:
            AnnotationError: there is no such frame, or labels do not fit; nothing has changed then.
            ProjectError: the annotations could not be saved; they count all the same.
        """
        with self._annotating:
            before = after = self.annotations
            for t, labels in frames.items():
                after = after.with_frame(t, labels, complete=t in complete)
            if after is not before:
                self._take(after)
            return after is not before

    def learn(self) -> Iterator[LearningProgress]:
        """Let the method learn what is annotated, and say how far it is; some have much to do, others nothing.

        `segment` and `propagate` begin with what is left to learn. Ends early when the annotations change. What was
        learned is kept in the project.

        Raises:
            AnnotationError: nothing is annotated.
            SettingsError: the method, as it is set, cannot learn this.
            ProjectError: what was learned could not be saved; it counts all the same.
        """
        annotations = self._annotated()
        while self.annotations is annotations:
            with self._computing:
                self._settle()
                progress = self._segmenter.learn(annotations)
                self._keep_learned(annotations)
            if progress is None:
                return
            yield progress

    def segment(self, t: int) -> FrameMask:
        """Segment one frame now, from the annotations and from the masks that there already are.

        Where a mask builds on others, this one is a preview, and `propagate` makes it final; a finished mask of earlier
        annotations is kept beneath it, see `MaskStore`.

        Raises:
            AnnotationError: nothing is annotated, or there is no such frame.
            ProjectClosedError: the session's project was closed, so masks cannot be kept any more.
        """
        t, mask = frame_number(t, len(self.video)), None
        while mask is None:  # annotations may change until it is this frame's turn
            annotations = self._annotated()
            if not self._is_stale(t, annotations):
                return self.masks[t]
            way = way_to(t, chains(annotations, t)) if self._segmenter.method.order == "outward" else range(0)
            mask = self._segment(annotations, t, [s for s in way if s in self.masks], final=not way)
        return mask

    def propagate(self, start: int = 0) -> Iterator[FrameMask]:
        """Segment every frame whose mask is stale, the frame in view first, then outward in time.

        Ends early when the annotations change. Each mask is in `masks` before it is yielded. A frame may come more
        than once, as a preview first and in its final form later; the final masks depend on annotations and settings
        alone, not on `start`.

        Args:
            start: the frame that the person looks at.

        Raises:
            AnnotationError: nothing is annotated, or there is no frame `start`.
            ProjectClosedError: the session's project was closed, so masks cannot be kept any more.
        """
        start, annotations = frame_number(start, len(self.video)), self._annotated()
        if self._is_stale(start, annotations):
            yield self.segment(start)
        if self._segmenter.method.order == "any":
            for t in outward_from(start, len(self.video)):
                if self.annotations is not annotations:
                    return
                if self._is_stale(t, annotations) and (mask := self._segment(annotations, t, [], final=True)):
                    yield mask
            return
        arrived = PackedMasks()  # what came from one side, until masks from the other side meet it
        for chain in chains(annotations, start):
            for i, t in enumerate(chain.frames):
                if self.annotations is not annotations:
                    return
                final = t not in chain.provisional
                if not (self._is_stale(t, annotations) if final else self._any_stale(chain.provisional, annotations)):
                    continue
                other, share = arrived.pop(t), 1 - i / len(chain.frames)
                mask = self._segment(annotations, t, chain.frames[:i], final=final, other=other, share=share)
                if mask is not None:
                    if not final:
                        arrived.put(mask)
                    yield mask

    def prepare(self, start: int = 0) -> Iterator[tuple[int, int]]:
        """Embed frames that nobody has asked for yet, the nearest to `start` first, while there is nothing else to do.

        Only as many as there is room for beside each other, and none if the method does not look at embeddings.

        Args:
            start: the frame that the person looks at.

        Returns:
            After each frame, how many are embedded, and how many will be in the end.
        """
        if not self.uses_embeddings:
            return
        wanted = list(islice(outward_from(start, len(self.video)), self.embeddings.capacity))
        due = self.embeddings.missing(wanted)
        for n, t in enumerate(due, start=1 + len(wanted) - len(due)):
            self.embed(t)
            yield n, len(wanted)

    def embed(self, t: int) -> None:
        """Embed frame t, if that is not done yet; with the CPU if the GPU's memory does not suffice.

        Raises:
            DeviceError: the CPU's memory does not suffice either.
            VideoError: the frame cannot be decoded.
        """
        with self._computing:
            self._segmenter.on_any_device(partial(self.embeddings.__getitem__, t))

    def stale_frames(self) -> list[int]:
        """Return the frames without a mask of the present annotations, in order."""
        return np.flatnonzero(self.masks.revisions < self.annotations.revision).tolist()

    def next_frame_to_annotate(self) -> int | None:
        """Return the frame whose mask is least certain (see `certainty`) among those not annotated.

        None if there is no such mask.
        """
        certainties = self.masks.certainties
        certainties[list(self.annotations.frames)] = np.nan
        return None if np.isnan(certainties).all() else int(np.nanargmin(certainties))

    def reference_pixels(self) -> ReferencePixels | None:
        """Return the reference pixels that the last mask was computed from; None if there are none.

        The same object comes again until annotations or settings change and a frame is segmented.
        """
        return self._segmenter.method.references if self.annotations.frames else None

    def _annotated(self) -> Annotations:
        """Return the present annotations, if there are any."""
        if not self.annotations.frames and self.transferred is None:
            raise AnnotationError(
                "Nothing is annotated yet. Paint at least one stroke on an object, or give the mask of a frame."
            )
        return self.annotations

    def _is_stale(self, t: int, annotations: Annotations) -> bool:
        return bool(self.masks.revisions[t] < annotations.revision)

    def _any_stale(self, frames: range, annotations: Annotations) -> bool:
        return bool((self.masks.revisions[list(frames)] < annotations.revision).any())

    def _segment(
        self,
        annotations: Annotations,
        t: int,
        finished: Sequence[int],
        *,
        final: bool,
        other: FrameMask | None = None,
        share: float = 1.0,
    ) -> FrameMask | None:
        """Segment frame t after `finished` and keep the mask, as a preview if it is not `final`.

        A mask that came from the `other` side is blended with it, see `blend`.

        If the annotations have changed by the time it is this frame's turn, return None: there may be newer masks. If
        another thread has finished the frame meanwhile, return that mask.
        """
        with self._computing:
            if self.annotations is not annotations:
                return None
            if not self._is_stale(t, annotations):
                return self.masks[t]
            self._settle()
            mask = self._segmenter.segment(annotations, t, FinishedMasks(self.masks, finished), self.masks.grid)
            self._keep_learned(annotations)
            if other is not None and t not in annotations.frames:
                mask = blend(mask, other, share)
            if not final:
                mask = replace(mask, revision=PREVIEW_REVISION)
            self.masks.put(mask)
        return mask

    def _keep_learned(self, annotations: Annotations) -> None:
        """Save what the method has learned from these annotations, once it has."""
        if self.project is not None and self._kept is not annotations and self._segmenter.learned is annotations:
            self._kept = annotations
            self.project.save_learned(self.config.method, self._segmenter.method.state())

    def _all_states(self) -> Mapping[str, Mapping[str, NDArray[Any]]]:
        """Return what every method has learned that was ever chosen, by the method's name."""
        return {**self._states, self.config.method: self._segmenter.method.state()}
