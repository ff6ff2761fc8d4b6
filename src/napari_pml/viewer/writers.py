"""Layers as files under File > Save: masks as PNG, Zarr, COCO or a table, drawn over their video, several as a folder.

napari calls these in the main thread and takes their errors for notifications.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
from napari.layers import Layer

from napari_pml.types import ExportError
from napari_pml.viewer.readers import LayerTuple
from napari_pml.viewer.results import as_video, calibration_of


def write_labels(path: str, data: Any, meta: dict[str, Any]) -> list[str]:
    """Write one Labels layer as .png, .zarr, .json (COCO) or .csv (measurements); return the path written.

    Several frames as .png become a folder of that name without the suffix, one PNG for each.

    Raises:
        ExportError: these are no masks, or the place cannot be written.
    """
    from napari_pml.export import write_mask_png
    from napari_pml.save import as_masks, save

    target, labels = Path(path), _full(data, meta)
    masks = as_masks(labels)
    if target.suffix.lower() != ".png":
        # a single image has no axis of time; of three axes and one more, the last three count
        save(target, masks, None, calibration_of((1, *meta["scale"]), (meta["units"][0], *meta["units"]), labels))
    elif len(labels.shape) == 2:
        write_mask_png(masks[0].labels, target)
    else:
        target = target.with_suffix("")
        for t in masks.finished:
            write_mask_png(masks[t].labels, target / f"{t:05d}.png")
    return [str(target)]


def write_overlay(path: str, layers: list[LayerTuple]) -> list[str]:
    """Write an image layer with a Labels layer drawn over it as .mp4; return its path.

    Raises:
        ExportError: the two are not of one size, or the place cannot be written.
    """
    from napari_pml.export import export_overlay
    from napari_pml.save import as_masks

    (image, of_image, _), (labels, of_labels, _) = sorted(layers, key=lambda layer: layer[2])
    video = as_video(_full(image, of_image), of_image["rgb"])
    masks = as_masks(_full(labels, of_labels))
    if masks.shape != video.shape:
        raise ExportError(
            f"'{of_image['name']}' has {video.shape} frames, rows and columns, '{of_labels['name']}' {masks.shape}; "
            "masks can only be drawn over their own video. Select another two layers."
        )
    export_overlay(video, masks, Path(path))
    return [path]


def write_tracks(path: str, data: Any, meta: dict[str, Any]) -> list[str]:
    """Write one Tracks layer as .csv, a row for each point: `track_id`, `t`, `z` if there is one, `y`, `x`, features.

    These columns, without the features, are the data of a Tracks layer again, as other trackers write them too.

    Raises:
        ExportError: the place cannot be written.
    """
    import pandas as pd

    from napari_pml.export import written

    columns = ["track_id", "t", *"zyx"[5 - np.shape(data)[1] :]]
    table = pd.DataFrame(data, columns=columns).assign(**dict(meta["features"]))
    with written(Path(path)) as unfinished:
        table.to_csv(unfinished, index=False)
    return [path]


def write_folder(path: str, layers: list[LayerTuple]) -> list[str]:
    """Write every layer into one folder, under its own name; return the paths.

    Labels become folders of PNGs, images TIFFs, points, shapes and tracks tables.

    Raises:
        ExportError: there are labels that are no masks, or the place cannot be written.
    """
    folder, paths = Path(path), []
    folder.mkdir(parents=True, exist_ok=True)
    for data, meta, kind in layers:
        target = folder / re.sub(r"[^\w .-]+", "_", meta["name"])
        if kind == "labels":
            paths += write_labels(f"{target}.png", data, meta)
        elif kind == "tracks":
            paths += write_tracks(f"{target}.csv", data, meta)
        elif kind == "image":
            paths += _write_image(Path(f"{target}.tif"), _full(data, meta), meta["rgb"])
        else:
            paths += Layer.create(data, meta, kind).save(f"{target}.csv")
    return paths


def _write_image(path: Path, data: Any, rgb: bool) -> list[str]:
    """Write an image of any number of axes as a TIFF, a frame at a time."""
    import tifffile

    from napari_pml.export import written

    shape = tuple(data.shape)
    pages = (np.asarray(data[place]) for place in np.ndindex(shape[: len(shape) - 2 - rgb]))
    with written(path) as unfinished:
        tifffile.imwrite(
            unfinished, pages, shape=shape, dtype=data.dtype, photometric="rgb" if rgb else "minisblack",
            compression="zlib", bigtiff=np.prod(shape) * np.dtype(data.dtype).itemsize > 2**31,
        )  # fmt: skip
    return [str(path)]


def _full(data: Any, meta: dict[str, Any]) -> Any:
    """Return a layer's array in full resolution."""
    return data[0] if meta.get("multiscale") else data
