"""Masks as the Cell Tracking Challenge has them: mask000.tif, mask001.tif, ... and res_track.txt."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tifffile

from napari_pml.errors import ExportError
from napari_pml.io.destination import written
from napari_pml.io.lineage import find_parents, find_tracks
from napari_pml.store.masks import MaskStore


def is_ctc_name(path: Path) -> bool:
    """Whether a folder is named as the challenge names results: 01_RES, for instance."""
    return path.name.endswith("_RES")


def export_ctc(masks: MaskStore, folder: Path) -> None:
    """Write all finished masks into a folder, by the challenge's rules.

    A line of res_track.txt is a track: its label, its first and its last frame, and the label of its parent, or 0. An
    object that is away for some frames becomes several tracks; frames without a mask show none.

    Args:
        masks: of a video.
        folder: one that does not exist yet, such as 01_RES.

    Raises:
        ExportError: the folder exists already or cannot be written, or there are too many tracks for 16 bits.
    """
    if folder.exists():
        raise ExportError(f"{folder} exists already. Choose another name, or remove it first.")
    finished = masks.finished
    parents = find_parents(masks[t] for t in finished)
    tracks = find_tracks((masks[t] for t in finished), parents)
    if tracks and tracks[-1].label > np.iinfo(np.uint16).max:
        raise ExportError("There are more tracks than 16 bits can number: objects come and go too often.")
    digits = max(3, len(str(masks.shape[0] - 1)))
    shown = set(finished)
    with written(folder) as unfinished:
        unfinished.mkdir()
        for t in range(masks.shape[0]):
            new = np.zeros(2**16, np.uint16)
            for track in tracks:
                if track.first <= t <= track.last:
                    new[track.source] = track.label
            labels = new[masks[t].labels] if t in shown else np.zeros(masks.shape[1:], np.uint16)
            tifffile.imwrite(unfinished / f"mask{t:0{digits}}.tif", labels, compression="zlib")
        lines = (f"{x.label} {x.first} {x.last} {x.parent}\n" for x in tracks)
        (unfinished / "res_track.txt").write_text("".join(lines), encoding="ascii")
