"""A method at work on one video: it learns what is annotated when it must, and turns a frame into a mask."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, TypeVar, overload

import numpy as np
import torch
import torch.nn.functional as F

from napari_pml.embedding.video_embeddings import VideoEmbeddings
from napari_pml.errors import DeviceError, SettingsError
from napari_pml.grid import grid_shape, resize_cells
from napari_pml.methods.config import MethodConfig
from napari_pml.methods.protocol import LearningProgress
from napari_pml.methods.references import CELL_BITS, explicit_background
from napari_pml.methods.transferred import TransferredReferences
from napari_pml.refinement.guided_filter import Refiner
from napari_pml.types import (
    BACKGROUND,
    CONFIDENCE_STRIDE,
    UNLABELLED,
    Annotations,
    FrameMask,
    Labels,
    PixelLabels,
    Scores,
)
from napari_pml.video.working import WorkingVideo

Result = TypeVar("Result")


class WorkingMasks(Sequence[FrameMask]):
    """Finished masks in the resolution in which a method sees the video, each made when it is asked for."""

    def __init__(self, masks: Sequence[FrameMask], video: WorkingVideo) -> None:
        self._masks, self._video = masks, video

    def __len__(self) -> int:
        return len(self._masks)

    @overload
    def __getitem__(self, i: int) -> FrameMask: ...

    @overload
    def __getitem__(self, i: slice) -> Sequence[FrameMask]: ...

    def __getitem__(self, i: int | slice) -> FrameMask | Sequence[FrameMask]:
        found = self._masks[i]
        if not isinstance(found, FrameMask):
            return WorkingMasks(found, self._video)
        grid = grid_shape(*self._video.shape[1:], CONFIDENCE_STRIDE)
        confidence = stretched(torch.tensor(found.confidence), grid).numpy()
        return replace(found, labels=self._video.labels(found.labels, complete=True), confidence=confidence)


def stretched(values: torch.Tensor, grid: tuple[int, int]) -> torch.Tensor:
    """Return values of cells that cover an image, (h, w), as those of `grid` others that cover the same one."""
    return F.interpolate(values[None, None].float(), grid, mode="bilinear", antialias=True)[0, 0]


def native_labels(found: PixelLabels, video: WorkingVideo) -> Labels:
    """Return labels of the pixels of a working video as those of the native pixels, each that of the nearest one."""
    places = (
        ((np.arange(n) + 0.5) * factor).astype(int)
        for n, factor in zip(video.native.shape[1:], video.factor, strict=True)
    )
    return np.asarray(found.labels[np.ix_(*places)], np.uint16)


class Segmenter:
    """One method with one network on one video; other settings, another network or other references make another one.

    Attributes:
        config: the method and its settings.
        embeddings: of the video.
        transferred: reference pixels of other videos.
        method: made of these.
        provenance: what masks depend on besides the annotations, as JSON.
        learned: the annotations that the method has learned, or None.
    """

    def __init__(self, config: MethodConfig, embeddings: VideoEmbeddings, transferred: TransferredReferences | None):
        """Make the method; nothing is learned yet.

        Raises:
            WeightsError: the method needs a network that there is not for this embedder.
            SettingsError: frames have too many cells.
        """
        h, w = embeddings.grid
        if h * w > 2**CELL_BITS:
            raise SettingsError(
                f"Each frame has {h} x {w} cells for {embeddings.embedder.name!r}, more than {2**CELL_BITS}. Choose a "
                "lower resolution, or make the video smaller."
            )
        self.config, self.embeddings, self.transferred = config, embeddings, transferred
        self.method = config.make(embeddings, transferred)
        embedder = embeddings.embedder
        self.provenance: dict[str, Any] = {
            "settings": config.as_record(),
            "embedder": embedder.name,
            "fingerprint": embedder.fingerprint,
            "method": config.fingerprint(embedder),
            "references": transferred.digest if transferred else None,
            "resolution": embeddings.resolution,
        }
        self._refine = Refiner(embeddings.video)
        self._converted: tuple[Annotations, Annotations] | None = None
        self.learned: Annotations | None = None
        self._learning: tuple[Annotations, Iterator[LearningProgress]] | None = None

    def learn(self, annotations: Annotations) -> LearningProgress | None:
        """Take one step of learning these annotations; return None when they are learned."""
        return self.on_any_device(lambda: self._learn(annotations))

    def segment(
        self, annotations: Annotations, t: int, finished: Sequence[FrameMask], grid: tuple[int, int]
    ) -> FrameMask:
        """Return the mask of frame t, after what is left to learn.

        Args:
            annotations: to segment from.
            t: frame number.
            finished: masks of the frames on the way from the annotation to `t`, the nearest last.
            grid: (h, w) of the cells in which confidence is wanted.
        """
        return self.on_any_device(lambda: self._segment(annotations, t, finished, grid))

    def _learn(self, annotations: Annotations) -> LearningProgress | None:
        if self.learned is annotations:
            return None
        if self._learning is None or self._learning[0] is not annotations:
            self.learned, self._learning = (
                None,
                (annotations, self.method.learn(self._at_work(annotations))),
            )
        progress = next(self._learning[1], None)
        if progress is None:
            self.learned, self._learning = annotations, None
        return progress

    def _segment(
        self, annotations: Annotations, t: int, finished: Sequence[FrameMask], grid: tuple[int, int]
    ) -> FrameMask:
        if t in annotations.complete:
            labels, confidence = np.zeros_like(annotations.frames[t]), np.ones(grid, np.float32)
        else:
            while self._learn(annotations):
                pass
            video = self.embeddings.video
            found = self.method.segment(t, finished if video.is_native else WorkingMasks(finished, video))
            if isinstance(found, Scores):
                labels = self._refine(t, found, self.config.refine)
                shares, stride = found.values.amax(0).clamp_max(1), found.stride
            else:
                labels, shares, stride = native_labels(found, video), torch.from_numpy(found.confidence), 1
            if video.is_native:
                confidence = resize_cells(shares, stride, grid, CONFIDENCE_STRIDE).cpu().numpy()
            else:
                confidence = stretched(shares, grid).cpu().numpy()
        if t in annotations.frames:  # what is painted is law
            painted = explicit_background(annotations, t)
            labels = np.where(painted == UNLABELLED, labels, np.where(painted == BACKGROUND, 0, painted))
        return FrameMask(t, labels.astype(np.uint16), confidence, annotations.revision)

    def _at_work(self, annotations: Annotations) -> Annotations:
        """Return annotations as the method knows them, the same object for the same ones."""
        if self._converted is None or self._converted[0] is not annotations:
            self._converted = annotations, self.embeddings.video.annotations(annotations)
        return self._converted[1]

    def on_any_device(self, compute: Callable[[], Result]) -> Result:
        """Run `compute`, which embeds; if the GPU's memory does not suffice, go on with the CPU from now on.

        Raises:
            DeviceError: the CPU's memory does not suffice either.
        """
        embedder = self.embeddings.embedder
        try:
            return compute()
        except (torch.OutOfMemoryError, MemoryError) as error:
            if embedder.device.type == "cpu":
                raise DeviceError(
                    f"This computer's memory does not suffice: {error}. Close other programs, or make the "
                    "video smaller."
                ) from error
            warnings.warn(
                f"The memory of {embedder.device} does not suffice for this video; going on with the CPU, which is "
                f"slower. Close other programs that use the GPU, or choose device='cpu' from the start.",
                stacklevel=2,
            )
        embedder.to(torch.device("cpu"))
        state = self.method.state()  # the rest of what the method knows lies in the GPU's memory
        self.method = self.config.make(self.embeddings, self.transferred)
        self.method.restore(state)
        self.learned = self._learning = None
        return self.on_any_device(compute)
