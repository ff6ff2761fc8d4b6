"""What the refinement network learns from: the votes on videos that were segmented from their first mask."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save_file

from napari_pml.embedding.embedder import Embedder
from napari_pml.embedding.video_embeddings import VideoEmbeddings
from napari_pml.evaluation.davis import Sequence
from napari_pml.methods.pml import Pml, PmlConfig
from napari_pml.refine import pixel_labels
from napari_pml.types import Annotations, FrameMask
from napari_pml.video import open_video

FRAMES = 36
"""Of an episode, at most."""

SCALES = (1.0, 1.5, 2.0)
"""By which the frames of a video may be enlarged: outlines are to be found at any sharpness."""

GAPS = (1, 2, 3)
"""Frames from one of an episode to the next: the more, the harder for the votes."""


@dataclass(frozen=True)
class Example:
    """One object on one frame.

    Attributes:
        evidence: (3, h, w) float32, see `Scores.evidence`.
        frame: (3, H, W) float32 RGB in 0..1.
        truth: (1, H, W) float32, 1 where the object is.
    """

    evidence: torch.Tensor
    frame: torch.Tensor
    truth: torch.Tensor


class Episodes:
    """Episodes on disk: number n comes from video n, n + V, ... of V videos, and is the same whenever it is made."""

    def __init__(self, sequences: list[Sequence], embedder: Embedder, folder: Path, seed: int):
        """Keep episodes in `folder`, which is made; `embedder` embeds their frames."""
        self.sequences, self.embedder, self.folder, self.seed = sequences, embedder, folder, seed
        folder.mkdir(parents=True, exist_ok=True)

    def make(self, n: int) -> Path:
        """Return the file of episode n; segments a video, unless that was done before."""
        path = self.folder / f"{n:04d}-{self.embedder.fingerprint}.safetensors"
        if path.exists():
            return path
        rng = np.random.default_rng((self.seed, n))
        frames, masks = self._choose(self.sequences[n % len(self.sequences)], rng)
        evidence = list(segment(frames, masks, self.embedder))
        partial = path.with_suffix(".partial")
        tensors = {
            "evidence": torch.stack(evidence).half(),
            "frames": torch.from_numpy(frames[1:]),
            "masks": torch.from_numpy(masks[1:].astype(np.int32)),
            "object_ids": torch.from_numpy(np.unique(masks[0][masks[0] > 0]).astype(np.int32)),
        }
        save_file(tensors, partial)
        partial.replace(path)
        return path

    def _choose(self, sequence: Sequence, rng: np.random.Generator) -> tuple[NDArray[np.uint8], NDArray[np.uint16]]:
        """Choose frames of a video that begin with a visible object: (N, H, W, 3) and (N, H, W)."""
        gap, scale = int(rng.choice(GAPS)), float(rng.choice(SCALES))
        times = np.arange(len(sequence.frames))[:: gap * int(rng.choice((-1, 1)))]
        visible = [i for i in range(len(times)) if sequence.mask(int(times[i])).any()]
        first = visible[int(rng.integers(max(1, len(visible) - FRAMES)))] if visible else 0
        times = times[first : first + FRAMES]
        masks = [Image.fromarray(sequence.mask(t)) for t in times.tolist()]
        size = round(masks[0].width * scale), round(masks[0].height * scale)
        images = [Image.open(sequence.frames[t]).convert("RGB") for t in times.tolist()]
        return (
            np.stack([np.asarray(image.resize(size, Image.Resampling.BICUBIC)) for image in images]),
            np.stack([np.asarray(mask.resize(size, Image.Resampling.NEAREST)) for mask in masks]),
        )


def segment(frames: NDArray[np.uint8], masks: NDArray[np.uint16], embedder: Embedder) -> Iterator[torch.Tensor]:
    """Segment a video from its first mask, and yield the (O+1, 3, h, w) evidence of every frame after it.

    Args:
        frames: (N, H, W, 3).
        masks: (N, H, W), of which only the first is looked at.
        embedder: that embeds the frames; it also finds the outlines on which later frames build.
    """
    video = open_video(frames)
    method = Pml(VideoEmbeddings(video, embedder), PmlConfig())
    annotations = Annotations(video.shape).with_frame(0, masks[0], complete=True)
    method.learn(annotations)
    finished = [FrameMask(0, masks[0], np.ones(method.embeddings.grid, np.float32), annotations.revision)]
    for t in range(1, len(video)):
        scores = method.segment(t, finished)
        labels = pixel_labels(scores, video.rgb(t), embedder.stride, embedder.refinement or "edges")
        confidence = scores.values.amax(0).clamp_max(1).cpu().numpy()
        finished.append(FrameMask(t, labels, confidence, annotations.revision))
        yield scores.evidence.cpu()


def read_example(path: Path, rng: np.random.Generator) -> Example:
    """Read a random object on a random frame of an episode, and nothing else of it."""
    with safe_open(path, framework="pt") as file:
        ids = file.get_tensor("object_ids")
        evidence, frames, masks = (file.get_slice(name) for name in ("evidence", "frames", "masks"))
        t = int(rng.integers(evidence.get_shape()[0]))
        label = int(rng.integers(len(ids)))
        return Example(
            evidence[t, label + 1].float(),
            frames[t].permute(2, 0, 1).float() / 255,
            (masks[t] == ids[label]).float()[None],
        )
