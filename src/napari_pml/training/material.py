"""What training clips are made of: annotated frames, of videos in DAVIS layout or of single stills."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_pml.errors import DatasetError
from napari_pml.grid import IntensityScale
from napari_pml.io.label_images import read_labels
from napari_pml.types import Labels
from napari_pml.video.arrays import IMAGE_SUFFIXES
from napari_pml.video.folder import natural_order, read_image

FOLDS = 5
"""Number of folds for cross-validation."""

SCALE_PIXELS = 100_000
"""Pixels on which the intensity scale of a frame is measured."""


@dataclass(frozen=True)
class AnnotatedClip:
    """The annotated frames of one video, in order of time; a still is a video of one frame.

    Attributes:
        name: of the video, to show to people.
        images: image files of the annotated frames.
        masks: label images, one for each of them.
        times: place of each of them in the whole video, -1 (first) to 1 (last).
    """

    name: str
    images: tuple[Path, ...]
    masks: tuple[Path, ...]
    times: tuple[float, ...]

    def read(self, i: int) -> tuple[NDArray[np.generic], IntensityScale, Labels]:
        """Read an annotated frame.

        Args:
            i: its number among the annotated frames.

        Returns:
            (H, W, C) intensities as stored, how they become RGB, and (H, W) labels, 0 = background. The scale is
            measured on this very frame, by the rule that a `Video` applies to all of its frames.

        Raises:
            DatasetError: the image cannot be read, or differs in size from its mask.
            AnnotationError: the mask cannot be read.
        """
        try:
            frame = read_image(self.images[i])
        except Exception as error:  # on damaged files, decoders raise anything
            raise DatasetError(f"{self.images[i]} cannot be read: {error}. Copy it again, or take it out.") from error
        labels = read_labels(self.masks[i])
        if labels.shape != frame.shape[:2]:
            raise DatasetError(
                f"{self.masks[i]} is {labels.shape[0]} x {labels.shape[1]} (rows x columns), but its frame "
                f"{self.images[i].name} is {frame.shape[0]} x {frame.shape[1]}. A mask has the size of its frame."
            )
        step = int(np.ceil(np.sqrt(labels.size / SCALE_PIXELS)))
        return frame, IntensityScale.from_samples(frame[None, ::step, ::step]), labels


def find_annotated_clips(root: Path) -> list[AnnotatedClip]:
    """List what a folder of training material holds, whichever of two layouts it has.

    Videos: JPEGImages/<resolution>/<video>/<frame>.jpg beside Annotations/<resolution>/<video>/<frame>.png, as in
    DAVIS; frames without a mask count for time only. Stills: images/<name>.jpg beside masks/<name>.png. Images may also
    be PNG, TIFF, BMP or WebP, masks TIFF.

    Raises:
        DatasetError: the folder has neither layout, a mask has no frame, or there is no mask at all.
    """
    if (root / "JPEGImages").is_dir():
        folders = sorted(p for p in root.glob("JPEGImages/*/*") if p.is_dir())
        found = [_video(p, root / "Annotations" / p.relative_to(root / "JPEGImages")) for p in folders]
        annotated = [video for video in found if video.images]
    elif (root / "images").is_dir() and (root / "masks").is_dir():
        images, masks = _images(root / "images"), _images(root / "masks")
        _check_every_mask_has_a_frame(images, masks, root / "masks")
        annotated = [AnnotatedClip(stem, (images[stem],), (mask,), (0.0,)) for stem, mask in masks.items()]
    else:
        raise DatasetError(
            f"{root} holds no training material: expected JPEGImages/480p/<video>/*.jpg beside "
            f"Annotations/480p/<video>/*.png, as in DAVIS, or stills images/*.jpg beside masks/*.png."
        )
    if not annotated:
        raise DatasetError(f"{root} holds not a single mask. Annotate some frames; a mask has the name of its frame.")
    return annotated


def without_fold(annotated: list[AnnotatedClip], fold: int | None) -> list[AnnotatedClip]:
    """Leave one fold out of the clips of a folder; None leaves nothing out, see `only_fold`."""
    return annotated if fold is None else [f for i, f in enumerate(annotated) if i % FOLDS != fold]


def only_fold(annotated: list[AnnotatedClip], fold: int) -> list[AnnotatedClip]:
    """Return one fold of the clips of a folder: every fifth one in the order of their names, from `fold` on."""
    return annotated[fold::FOLDS]


def content_of(folders: Sequence[Path]) -> str:
    """Return 16 characters that tell the material in some folders from any other, wherever it lies.

    Names and sizes of the annotated frames count, their places in the video, and every byte of their masks.

    Raises:
        DatasetError: see `find_annotated_clips`; or a file cannot be read.
    """
    found = hashlib.sha256()
    for annotated in (annotated for folder in folders for annotated in find_annotated_clips(folder)):
        try:
            frames = [(image.name, image.stat().st_size) for image in annotated.images]
            masks = [hashlib.sha256(mask.read_bytes()).hexdigest() for mask in annotated.masks]
        except OSError as error:
            raise DatasetError(f"{annotated.name} cannot be read: {error}. Copy it again, or take it out.") from error
        found.update(json.dumps([annotated.name, frames, annotated.times, masks]).encode())
    return found.hexdigest()[:16]


def _video(frames: Path, annotations: Path) -> AnnotatedClip:
    images, masks = _images(frames), _images(annotations)
    _check_every_mask_has_a_frame(images, masks, annotations)
    place = {stem: 2 * t / max(1, len(images) - 1) - 1 for t, stem in enumerate(images)}
    return AnnotatedClip(
        frames.name, tuple(images[s] for s in masks), tuple(masks.values()), tuple(place[s] for s in masks)
    )


def _images(folder: Path) -> dict[str, Path]:
    """Return the images of a folder by their names without suffix, in order; none if there is no such folder."""
    if not folder.is_dir():
        return {}
    files = sorted(folder.iterdir(), key=natural_order)
    return {p.stem: p for p in files if p.suffix.lower() in IMAGE_SUFFIXES and p.name[0] != "."}


def _check_every_mask_has_a_frame(images: dict[str, Path], masks: dict[str, Path], folder: Path) -> None:
    lonely = sorted(masks.keys() - images.keys())
    if lonely:
        raise DatasetError(
            f"{folder / masks[lonely[0]].name} has no frame of the name {lonely[0]}. A mask has the name of its frame."
        )
