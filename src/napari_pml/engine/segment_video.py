"""Segment a whole video: what `segment`, `segment-many` and the evaluation do once annotations are there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from napari_pml.engine.session import Session
from napari_pml.io.destination import check_length, png_name
from napari_pml.io.label_images import write_mask_png
from napari_pml.types import FrameMask


def segment_video(session: Session, folder: Path | None = None) -> Iterator[FrameMask]:
    """Segment what is left of a video, beginning at its first annotated frame.

    Stop it at any time: each file is complete, and those of masks that were there already are written first.

    Args:
        session: with annotations.
        folder: gets every mask as soon as it is final, as 00000.png, 00001.png, ...; None: masks stay in the session.

    Yields:
        Every mask that was computed, also previews, which have no file yet.

    Raises:
        AnnotationError: nothing is annotated.
        ExportError: the folder holds masks of a longer video, or a file cannot be written.
        VideoError: a frame cannot be decoded.
        SettingsError: the method, as it is set, cannot learn the annotations.
    """
    if folder is not None:
        check_length(folder, len(session.video))
        for t in sorted(set(range(len(session.video))) - set(session.stale_frames())):
            write_mask_png(session.masks[t].labels, folder / png_name(t))
    for mask in session.propagate(min(session.annotations.frames, default=0)):
        if folder is not None and mask.revision == session.annotations.revision:
            write_mask_png(mask.labels, folder / png_name(mask.t))
        yield mask
