"""Layers as files under File > Save: masks as PNG, Zarr, COCO or a table, drawn over their video, several as a folder.

napari calls these in the main thread and takes their errors for notifications.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
from napari import current_viewer
from napari.layers import Labels, Layer

from napari_pml.errors import ExportError
from napari_pml.viewer.colours import palette
from napari_pml.viewer.contributions.readers import LayerTuple
from napari_pml.viewer.document.inputs import inputs_of, read_from_array
from napari_pml.viewer.document.metadata import TRACK_NAMES
from napari_pml.viewer.document.results import as_video, calibration_of, names_of

_SUFFIXES = {"labels": ".png", "image": ".tif", "tracks": ".csv", "points": ".csv", "shapes": ".csv"}


def write_labels(path: str, data: Any, meta: dict[str, Any]) -> list[str]:
    """Write one Labels layer as .png, .zarr, .json (COCO) or .csv (measurements); return the path written.

    Several frames as .png become a folder of that name without the suffix, one PNG for each.

    Raises:
        ExportError: these are no masks, an open layer is read from there, the folder holds masks of a longer video, or
            the place cannot be written.
    """
    from napari_pml.io.export import export_folder
    from napari_pml.io.label_images import write_mask_png
    from napari_pml.io.save import as_masks, save

    labels = _full(data, meta)
    as_png, is_single = Path(path).suffix.lower() == ".png", len(labels.shape) == 2
    target = _mask_place(path, labels)
    _check([target], [(data, meta, "labels")])
    masks = as_masks(labels)
    if as_png and is_single:
        write_mask_png(masks[0].labels, target)
    elif as_png:
        export_folder(masks, target)
    else:
        # a single image has no axis of time; of three axes and one more, the last three count
        calibration = calibration_of((1, *meta["scale"]), (meta["units"][0], *meta["units"]), labels)
        viewer = current_viewer()
        save(target, masks, None, calibration, names=names_of(data, viewer.layers if viewer is not None else ()))
    return [str(target)]


def write_overlay(path: str, layers: list[LayerTuple]) -> list[str]:
    """Write an image layer with a Labels layer drawn over it as .mp4; return its path.

    Raises:
        ExportError: the two are not of one size, an open layer is read from there, or the place cannot be written.
    """
    from napari_pml.io.overlay import export_overlay
    from napari_pml.io.save import as_masks

    _check([Path(path)], layers)
    (image, of_image, _), (labels, of_labels, _) = sorted(layers, key=lambda layer: layer[2])
    video = as_video(_full(image, of_image), of_image["rgb"])
    masks = as_masks(_full(labels, of_labels))
    if masks.shape != video.shape:
        raise ExportError(
            f"'{of_image['name']}' has {video.shape} frames, rows and columns, '{of_labels['name']}' {masks.shape}; "
            "masks can only be drawn over their own video. Select another two layers."
        )
    export_overlay(video, masks, Path(path), palette(of_labels["colormap"]))
    return [path]


def write_tracks(path: str, data: Any, meta: dict[str, Any]) -> list[str]:
    """Write one Tracks layer as .csv, a row for each point: `track_id`, `t`, `z` if there is one, `y`, `x`, `name` if
    any object has one, features.

    These columns, without name and features, are the data of a Tracks layer again, as other trackers write them too. A
    feature that has the name of one of them becomes `feature_x`.

    Raises:
        ExportError: an open layer is read from there, or the place cannot be written.
    """
    import pandas as pd

    from napari_pml.io.destination import written
    from napari_pml.io.measure import without_formulas

    _check([Path(path)], [(data, meta, "tracks")])
    columns = ["track_id", "t", *"zyx"[5 - np.shape(data)[1] :]]
    table = pd.DataFrame(data, columns=columns)
    if names := meta.get("metadata", {}).get(TRACK_NAMES):
        table["name"] = [names.get(n, "") for n in table["track_id"]]
    features = {
        f"feature_{name}" if name in columns else name: values
        for name, values in meta["features"].items()
        if name != "track_id"  # which napari adds
    }
    table = table.assign(**features)
    with written(Path(path)) as unfinished:
        without_formulas(table).to_csv(unfinished, index=False)
    return [path]


def write_folder(path: str, layers: list[LayerTuple]) -> list[str]:
    """Write every layer into one folder, under its own name; return the paths. Of equal names, later ones get a number.

    Labels become folders of PNGs, images TIFFs, points, shapes and tracks tables.

    Raises:
        ExportError: there are labels that are no masks, or the place cannot be written; or an open layer is read from
            one of these files, and then none is written.
    """
    folder, paths = Path(path), list[str]()
    names = _distinct([(re.sub(r"[^\w .-]+", "_", meta["name"]), _SUFFIXES[kind]) for _, meta, kind in layers])
    targets = [str(folder / name) for name in names]
    places = (
        _mask_place(target, _full(data, meta)) if kind == "labels" else Path(target)
        for (data, meta, kind), target in zip(layers, targets, strict=True)
    )
    _check(places, layers)
    folder.mkdir(parents=True, exist_ok=True)
    for (data, meta, kind), target in zip(layers, targets, strict=True):
        if kind == "labels":
            paths += write_labels(target, data, meta)
        elif kind == "tracks":
            paths += write_tracks(target, data, meta)
        elif kind == "image":
            paths += _write_image(Path(target), _full(data, meta), meta["rgb"])
        else:
            paths += Layer.create(data, meta, kind).save(target)
    return paths


def _distinct(names: Iterable[tuple[str, str]]) -> list[str]:
    """Join stems and suffixes; of equal names, on a disk to which capitals are the same, later ones get a number."""
    distinct: dict[str, str] = {}
    for stem, suffix in names:
        numbered = (stem if i == 1 else f"{stem}_{i}" for i in count(1))
        name = next(f"{name}{suffix}" for name in numbered if f"{name}{suffix}".lower() not in distinct)
        distinct[name.lower()] = name
    return list(distinct.values())


def _mask_place(path: str, labels: Any) -> Path:
    """Return where labels are written: as a .png, several frames become a folder."""
    place = Path(path)
    return place.with_suffix("") if place.suffix.lower() == ".png" and len(labels.shape) > 2 else place


def _check(targets: Iterable[Path], layers: Iterable[LayerTuple]) -> None:
    """Raise ExportError if one of `layers`, or one that is shown, is read from a place that would be written.

    A label image in memory may be saved over its own file: that is how it is edited.
    """
    from napari_pml.io.destination import Inputs

    viewer, in_memory = current_viewer(), [data for data, _, _ in layers if type(data) is np.ndarray]
    shown = viewer.layers if viewer is not None else ()
    read = inputs_of(s for s in shown if not (isinstance(s, Labels) and any(s.data is data for data in in_memory)))
    for data, meta, _ in layers:
        read += read_from_array(_full(data, meta), meta.get("metadata", {}))
    known = Inputs(read)
    for target in targets:
        known.check(target)


def _write_image(path: Path, data: Any, rgb: bool) -> list[str]:
    """Write an image of any number of axes as a TIFF, a frame at a time."""
    import tifffile

    from napari_pml.io.destination import written

    shape = tuple(data.shape)
    pages = (np.asarray(data[place]) for place in np.ndindex(shape[: len(shape) - 2 - rgb]))
    with written(path) as unfinished:
        tifffile.imwrite(
            unfinished, pages, shape=shape, dtype=data.dtype, photometric="rgb" if rgb else "minisblack",
            compression="zlib", ome=False,  # whatever the name: OME-TIFF knows no 64-bit numbers
            bigtiff=np.prod(shape) * np.dtype(data.dtype).itemsize > 2**31,
        )  # fmt: skip
    return [str(path)]


def _full(data: Any, meta: dict[str, Any]) -> Any:
    """Return a layer's array in full resolution."""
    return data[0] if meta.get("multiscale") else data
