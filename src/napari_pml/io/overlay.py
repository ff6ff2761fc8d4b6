"""Masks drawn over their video: an .mp4, or a sheet of frames."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from types import MappingProxyType
from typing import Literal

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from napari_pml.io.destination import check_destination, written
from napari_pml.io.label_images import davis_palette
from napari_pml.store.masks import MaskStore
from napari_pml.types import BACKGROUND, PREVIEW_REVISION, Labels
from napari_pml.video.video import Video

OPACITY = 0.45
"""Opacity of an object in an overlay; its outline is opaque."""

SHEET_TILE = 320
"""Width of a tile of a contact sheet, in pixels."""


def overlay_palette(own: Mapping[int, Sequence[int]] = MappingProxyType({})) -> NDArray[np.uint8]:
    """Return the colour of every label in an overlay, as (65536, 3) RGB.

    Args:
        own: object -> the RGB, 0..255, that it has instead of its colour in the DAVIS palette.
    """
    davis = davis_palette()
    palette = np.concatenate([davis[:1], np.tile(davis[1:], (BACKGROUND // 255, 1))])
    for label, colour in own.items():
        palette[label] = colour
    return palette


def overlay_frame(
    rgb: NDArray[np.float32], labels: Labels, palette: NDArray[np.uint8] | None = None
) -> NDArray[np.uint8]:
    """Paint objects over a frame, translucent with an opaque outline.

    Args:
        rgb: (H, W, 3) in 0..1.
        labels: (H, W), 0 = background.
        palette: as `overlay_palette` returns it, which is what None stands for.

    Returns:
        (H, W, 3) uint8.
    """
    colours = (overlay_palette() if palette is None else palette)[labels] / np.float32(255)
    inside = (labels > 0)[..., None]
    outline = (_outline(labels) & (labels > 0))[..., None]
    opacity = np.where(outline, 1, np.where(inside, OPACITY, 0)).astype(np.float32)
    return np.rint((rgb * (1 - opacity) + colours * opacity) * 255).astype(np.uint8)


def export_overlay(video: Video, masks: MaskStore, path: Path, palette: NDArray[np.uint8] | None = None) -> None:
    """Write the video with its objects painted over it as an .mp4; frames without a mask stay as they are.

    Args:
        video: to paint over.
        masks: of its objects.
        path: of the .mp4.
        palette: as for `overlay_frame`.

    Raises:
        ExportError: the suffix is another one, or the file cannot be written.
        VideoError: a frame cannot be decoded.
    """
    check_destination(overlay=path)
    height, width = video.shape[1:]
    codec: Literal["libx264", "mpeg4"] = "libx264" if "libx264" in av.codecs_available else "mpeg4"
    with written(path) as unfinished, av.open(f"file:{unfinished.absolute()}", "w") as container:
        stream = container.add_stream(codec, rate=_rate(video.fps))
        stream.width, stream.height = width + width % 2, height + height % 2  # the codecs want even numbers
        stream.pix_fmt = "yuv420p"
        for t in range(len(video)):
            painted = np.pad(_painted(video, masks, t, palette), ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
            container.mux(stream.encode(av.VideoFrame.from_ndarray(painted, format="rgb24")))
        container.mux(stream.encode())


def contact_sheet(video: Video, masks: MaskStore, path: Path, columns: int = 4, n: int = 12) -> None:
    """Write `n` evenly spaced frames with their objects as one PNG, to see a result at a glance.

    Raises:
        ExportError: the file cannot be written.
        VideoError: a frame cannot be decoded.
    """
    times = np.unique(np.linspace(0, len(video) - 1, min(n, len(video))).round().astype(int)).tolist()
    height = max(1, round(SHEET_TILE * video.shape[1] / video.shape[2]))
    sheet = Image.new("RGB", (SHEET_TILE * min(columns, len(times)), height * -(-len(times) // columns)))
    for place, t in enumerate(times):
        tile = Image.fromarray(_painted(video, masks, t)).resize((SHEET_TILE, height))
        ImageDraw.Draw(tile).text((4, 2), str(t), fill="white", stroke_width=1, stroke_fill="black")
        sheet.paste(tile, (place % columns * SHEET_TILE, place // columns * height))
    with written(path) as unfinished:
        sheet.save(unfinished, format="PNG")


def _rate(fps: float) -> Fraction:
    """Return a frame rate as a fraction of small numbers, also below 1."""
    return Fraction(fps).limit_denominator(1001) if fps >= 1 else 1 / Fraction(1 / fps).limit_denominator(1001)


def _painted(video: Video, masks: MaskStore, t: int, palette: NDArray[np.uint8] | None = None) -> NDArray[np.uint8]:
    labels = masks[t].labels if masks.revisions[t] > PREVIEW_REVISION else np.zeros(video.shape[1:], np.uint16)
    return overlay_frame(video.rgb(t), labels, palette)


def _outline(labels: Labels) -> NDArray[np.bool_]:
    """Return where a pixel within two pixels along a row or column has another label, as (H, W)."""
    padded = np.pad(labels, 2, mode="edge")
    height, width = labels.shape
    outline = np.zeros(labels.shape, bool)
    for shift in (0, 1, 3, 4):
        outline |= padded[shift : shift + height, 2:-2] != labels
        outline |= padded[2:-2, shift : shift + width] != labels
    return outline
