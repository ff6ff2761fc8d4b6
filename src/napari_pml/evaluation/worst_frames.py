"""The frames on which masks are worst, as small pictures."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import maximum_filter, minimum_filter

from napari_pml.evaluation.davis import DavisSequence
from napari_pml.evaluation.results import SequenceResult, mask_path
from napari_pml.io.label_images import read_labels
from napari_pml.types import Labels
from napari_pml.video.video import open_video

WIDTH = 480
"""Of a picture, in pixels."""

MARGIN = 0.25
"""Left around the objects on every side, as a share of their extent."""

SMALLEST_PART = 0.3
"""Of a frame's height and width that is shown at least."""

RIGHT, WRONG, MISSED = (50, 130, 255), (255, 45, 45), (255, 210, 0)
"""Colours of pixels with the true label, with another object's or outside of all, and without the label they need."""

OPACITY = 0.45
"""Of these colours."""

SPACING = 8
"""Frames of one video are chosen at least a share 1 / `SPACING` of it apart: neighbours look alike."""


def worst_frames(results: tuple[SequenceResult, ...], n: int) -> list[tuple[SequenceResult, int]]:
    """Return up to `n` frames with the smallest mean J over objects, from as many videos as there are."""
    per_video = max(1, n // len(results))
    chosen: list[tuple[float, int, int]] = []
    for place, result in enumerate(results):
        region = result.evaluation.region.mean(0)
        apart = len(region) / SPACING
        taken: list[int] = []
        for t in np.argsort(region, kind="stable").tolist():
            if len(taken) < per_video and all(abs(t - other) >= apart for other in taken):
                taken.append(t)
        chosen += [(float(region[t]), place, t + 1) for t in taken]
    return [(results[place], t) for _, place, t in sorted(chosen)[:n]]


def picture(sequence: DavisSequence, out: Path, t: int) -> str:
    """Show on frame t what was found, what was not, and the outline of the true mask in white.

    Args:
        sequence: the video.
        out: folder of the evaluation, with the masks.
        t: frame number.

    Returns:
        A JPEG of the part of the frame with the objects, as a data: address.

    Raises:
        PmlError: the frame or one of its masks cannot be read.
    """
    rgb = open_video(sequence.frames[0].parent).rgb(t)
    found, truth = read_labels(mask_path(out, sequence, t)), sequence.mask(t)
    part = _around(found | truth)
    image = Image.fromarray(_drawn(_resized(rgb[part]), _resized(found[part]), _resized(truth[part])))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=85)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _around(labels: Labels) -> tuple[slice, slice]:
    """Return the rows and columns around everything labelled, in the proportions of the frame."""
    places = np.argwhere(labels > 0) if labels.any() else np.argwhere(labels == 0)
    first, last = places.min(0), places.max(0) + 1
    share = np.clip((last - first) / labels.shape * (1 + 2 * MARGIN), SMALLEST_PART, 1).max()
    size = np.ceil(share * np.array(labels.shape)).astype(int)
    start = np.clip((first + last - size) // 2, 0, labels.shape - size)
    return slice(start[0], start[0] + size[0]), slice(start[1], start[1] + size[1])


def _drawn(rgb: NDArray[np.float32], found: Labels, truth: Labels) -> NDArray[np.uint8]:
    """Tint an (H, W, 3) frame in 0..1 by what is right and wrong, and outline the truth in white with a dark rim."""
    image = 255 * rgb
    for colour, where in (
        (RIGHT, (found == truth) & (truth > 0)),
        (WRONG, (found != truth) & (found > 0)),
        (MISSED, (found != truth) & (found == 0)),
    ):
        image[where] = (1 - OPACITY) * image[where] + OPACITY * np.array(colour, np.float32)
    for size, grey in ((5, 0), (3, 255)):
        image[maximum_filter(truth, size) != minimum_filter(truth, size)] = grey
    return np.rint(image).astype(np.uint8)


def _resized(array: NDArray[np.generic]) -> NDArray[Any]:
    """Return an image (H, W, 3) or labels (H, W) as wide as a picture."""
    size = (WIDTH, max(1, round(array.shape[0] * WIDTH / array.shape[1])))
    if array.ndim == 2:
        return np.asarray(Image.fromarray(array).resize(size, Image.Resampling.NEAREST))
    pixels = np.rint(255 * array).astype(np.uint8)
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC), np.float32) / 255
