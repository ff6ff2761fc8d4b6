"""Masks in COCO's JSON format, which most tools for annotation and evaluation read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_pml.io.destination import written
from napari_pml.store.masks import MaskStore
from napari_pml.types import Labels


def export_coco(masks: MaskStore, path: Path, names: Mapping[int, str] = MappingProxyType({})) -> None:
    """Write all finished masks: an image entry for every such frame, an annotation for every object on it.

    Image t has the id t + 1 and the file name `00000.png` of `export_masks`. Every object is of the one category
    "object", since categories are kinds of objects; which one it is says `track_id`, and `name` where it has one. Masks
    are run lengths, not compressed.

    Args:
        masks: of a video.
        path: of the .json.
        names: object -> its name, if it has one.

    Raises:
        ExportError: the file cannot be written.
    """
    _, height, width = masks.shape
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for t in masks.finished:
        images.append({"id": t + 1, "file_name": f"{t:05d}.png", "height": height, "width": width, "frame": t})
        labels = masks[t].labels
        for label in np.unique(labels[labels > 0]).tolist():
            annotation, named = _annotation(labels, label), {"name": names[label]} if label in names else {}
            annotations.append({"id": len(annotations) + 1, "image_id": t + 1, **annotation, **named})
    content = {
        "info": {"description": "masks of a video, made with napari-pml"},
        "images": images,
        "categories": [{"id": 1, "name": "object", "supercategory": "object"}],
        "annotations": annotations,
    }
    with written(path) as unfinished:
        unfinished.write_text(json.dumps(content), encoding="utf-8")


def run_lengths(mask: NDArray[np.bool_]) -> list[int]:
    """Return the lengths of the runs in (H, W), column after column: outside, inside, outside, ...; sum H * W."""
    columns = mask.ravel(order="F")
    changes = np.flatnonzero(np.diff(columns)) + 1
    starts = np.concatenate([[0], changes, [columns.size]])
    lengths: list[int] = np.diff(starts).tolist()
    return [0, *lengths] if columns[0] else lengths


def _annotation(labels: Labels, label: int) -> dict[str, Any]:
    mask = labels == label
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    top, left = int(rows[0]), int(columns[0])
    return {
        "category_id": 1,
        "track_id": label,
        "iscrowd": 0,
        "area": int(mask.sum()),
        "bbox": [left, top, int(columns[-1]) - left + 1, int(rows[-1]) - top + 1],
        "segmentation": {"size": list(labels.shape), "counts": run_lengths(mask)},
    }
