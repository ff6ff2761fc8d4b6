"""Stand-ins for the engine and the worker thread, so that the viewer's logic is tested alone and at once."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np

from napari_pml import PmlConfig
from napari_pml.errors import AnnotationError
from napari_pml.grid import grid_shape
from napari_pml.store.masks import MaskStore
from napari_pml.types import BACKGROUND, CONFIDENCE_STRIDE, Annotations, FrameMask


@dataclass(frozen=True)
class FakeConfig(PmlConfig):
    invert: bool = False


class FakeVideo:
    def __init__(self, array: np.ndarray) -> None:
        self.array = np.asarray(array)
        self.shape = array.shape[:3]
        self.damaged: list[int] = []

    def __len__(self) -> int:
        return self.shape[0]


class FakeEmbeddings:
    seconds = None

    def __init__(self, array: np.ndarray) -> None:
        self._array = array

    def __getitem__(self, t: int) -> np.ndarray:
        return self._array[t]


class FakeSession:
    """Retrieval in miniature: a pixel takes the label of the annotated pixel with the nearest intensity."""

    def __init__(self, video: FakeVideo, **options: object) -> None:
        self.video, self.options, self.project = video, options, None
        self.masks = MaskStore(video.shape, grid_shape(*video.shape[1:], CONFIDENCE_STRIDE))
        self.annotations = Annotations(video.shape)
        self.transferred, self.object_ids, self.uses_embeddings = None, (), True
        self.embeddings = FakeEmbeddings(video.array)
        self.device, self.embedder = SimpleNamespace(type="cpu"), SimpleNamespace(name="fake")
        self.resolution = "auto"
        self._config = FakeConfig()
        self.prepared: list[int] = []

    @property
    def config(self) -> FakeConfig:
        return self._config

    @config.setter
    def config(self, config: FakeConfig) -> None:
        if config != self._config:
            self._config = config
            self.annotations = self.annotations.renewed()

    def annotate_frames(self, frames: Mapping[int, np.ndarray], *, complete: Collection[int] = ()) -> bool:
        before = self.annotations
        for t, labels in frames.items():
            self.annotations = self.annotations.with_frame(t, labels, complete=t in complete)
        return self.annotations is not before

    def transfer_from(self, *others: object) -> bool:
        return False

    def keep_in(self, project: object) -> None:
        self.project = project

    def reference_pixels(self) -> None:
        return None

    def embed(self, t: int) -> None:
        _ = self.embeddings[t]

    def learn(self) -> Iterator[object]:
        yield from ()

    def segment(self, t: int) -> FrameMask:
        annotations = self.annotations
        if not annotations.frames:
            raise AnnotationError("Nothing is annotated yet.")
        unpainted = {s: BACKGROUND if s in annotations.complete else 0 for s in annotations.frames}
        known = [
            (self.video.array[s].ravel(), np.where(a == 0, unpainted[s], a).ravel())
            for s, a in annotations.frames.items()
        ]
        values = np.concatenate([v[a > 0] for v, a in known]).astype(int)
        labels = np.concatenate([a[a > 0] for _, a in known])
        nearest = np.abs(np.arange(256)[:, None] - values).argmin(1)
        found = labels[nearest][self.video.array[t]]
        found[found == BACKGROUND] = 0
        if self._config.invert:
            found = np.where(found == 0, 1, 0).astype(np.uint16)
        mask = FrameMask(t, found, np.full(self.masks.grid, 1 / (t + 1), np.float32), annotations.revision)
        self.masks.put(mask)
        return mask

    def propagate(self, start: int = 0) -> Iterator[FrameMask]:
        annotations = self.annotations
        if not annotations.frames:
            raise AnnotationError("Nothing is annotated yet.")
        for t in sorted(self.stale_frames(), key=lambda t: abs(t - start)):
            if self.annotations is not annotations:
                return
            yield self.segment(t)

    def prepare(self, start: int = 0) -> Iterator[tuple[int, int]]:
        for n in range(len(self.video)):
            self.prepared.append(start)
            yield n + 1, len(self.video)

    def stale_frames(self) -> list[int]:
        return np.flatnonzero(self.masks.revisions < self.annotations.revision).tolist()

    def next_frame_to_annotate(self) -> int | None:
        made = [t for t in range(len(self.video)) if t in self.masks and t not in self.annotations.frames]
        return min(made, key=lambda t: self.masks[t].confidence.mean(), default=None)


class Runner:
    """Runs jobs in this thread: at once, or frame by frame if a test says `hold`."""

    def __init__(self) -> None:
        self.hold = False
        self._task = None

    def start(self, job, receive, ended) -> None:
        self._task = (job(), receive, ended)
        while not self.hold and self._task is not None:
            self.step()

    def step(self) -> None:
        values, receive, ended = task = self._task
        try:
            receive(next(values))
        except StopIteration:
            if self._task is task:
                self._task = None
                ended()

    def quit(self) -> None:
        if self._task is not None:
            _, _, ended = self._task
            self._task = None
            ended()

    def soon(self, callback) -> None:
        callback()

    def when_quiet(self, callback) -> None:
        self.quiet = callback

    @property
    def busy(self) -> bool:
        return self._task is not None
