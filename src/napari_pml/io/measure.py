"""Measure every object on every frame: place, size, certainty. One frame at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pandas as pd
from skimage.measure import regionprops_table

from napari_pml.errors import ExportError
from napari_pml.io.calibration import Calibration
from napari_pml.io.destination import written
from napari_pml.io.lineage import find_parents
from napari_pml.store.masks import MaskStore
from napari_pml.types import CONFIDENCE_STRIDE, Confidence, FrameMask

FORMULAS = "=+-@\t\r"
"""How formulas begin."""

_COLUMNS = {
    "label": "object",
    "area": "area_px",
    "centroid-0": "centroid_y",
    "centroid-1": "centroid_x",
    "bbox-0": "top",
    "bbox-1": "left",
    "bbox-2": "bottom",
    "bbox-3": "right",
    "intensity_mean": "mean_confidence",
}
"""scikit-image's name of a property -> column of the table."""


def measure_frame(
    mask: FrameMask,
    calibration: Calibration,
    names: Mapping[int, str] = MappingProxyType({}),
    parents: Mapping[int, int] = MappingProxyType({}),
) -> pd.DataFrame:
    """Measure the objects on one frame.

    Args:
        mask: of the frame.
        calibration: what is known of it.
        names: object -> its name, if it has one.
        parents: object -> the one that it descends from, if any, see `find_parents`.

    Returns:
        A row for every object that has a pixel there, with the columns `frame`, `time_s` (if known), `object`,
        `name` (if any object has one; "" for those that have none), `parent` (if any object has one; 0 for those that
        have none), `area_px` (pixels), `area_<unit>2` (if known), `centroid_y`, `centroid_x` (pixels, 0 is the middle
        of the first one), `centroid_y_<unit>`, `centroid_x_<unit>` (if known), `top`, `left`, `bottom`, `right` (the
        bounding box in pixels; bottom and right lie outside), `mean_confidence` (0..1) and `damaged` (if any frame of
        the video is: whether this one is, so that what is measured is its neighbour's picture).
    """
    properties = regionprops_table(
        mask.labels,
        intensity_image=_at_pixels(mask),
        properties=("label", "area", "centroid", "bbox", "intensity_mean"),
    )
    table = pd.DataFrame(properties).rename(columns=_COLUMNS)
    table["area_px"] = table["area_px"].astype(np.int64)
    if calibration.pixel is not None:
        height, width = calibration.pixel
        table.insert(2, f"area_{calibration.unit}2", table["area_px"] * height * width)
        place = table.columns.get_loc("centroid_x") + 1
        for axis, size in (("x", width), ("y", height)):
            table.insert(place, f"centroid_{axis}_{calibration.unit}", table[f"centroid_{axis}"] * size)
    if (seconds := calibration.time_of(mask.t)) is not None:
        table.insert(0, "time_s", seconds)
    table.insert(0, "frame", mask.t)
    if parents:
        table.insert(
            table.columns.get_loc("object") + 1, "parent", [parents.get(n, 0) for n in table["object"].tolist()]
        )
    if names:
        table.insert(table.columns.get_loc("object") + 1, "name", [names.get(n, "") for n in table["object"].tolist()])
    if calibration.damaged:
        table["damaged"] = mask.t in calibration.damaged
    return table


def measure(
    masks: MaskStore, calibration: Calibration, names: Mapping[int, str] = MappingProxyType({})
) -> Iterator[pd.DataFrame]:
    """Yield the measurements of every finished frame, as `measure_frame` returns them.

    Raises:
        ExportError: no frame is finished.
    """
    if not masks.finished:
        raise ExportError("There are no masks to measure yet. Paint a stroke, and propagate.")
    parents = find_parents(masks[t] for t in masks.finished)
    for t in masks.finished:
        yield measure_frame(masks[t], calibration, names, parents)


def export_table(tables: Iterable[pd.DataFrame], path: Path) -> None:
    """Write measurements to a .csv file with one header line.

    Raises:
        ExportError: the file cannot be written.
    """
    with written(path) as unfinished, unfinished.open("w", encoding="utf-8", newline="") as file:
        for i, table in enumerate(tables):
            without_formulas(table).to_csv(file, index=False, header=i == 0)


def without_formulas(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table whose names no spreadsheet takes for formulas: those that begin like one begin with a '."""
    if "name" not in table:
        return table
    return table.assign(name=[f"'{name}" if name[:1] in FORMULAS and name else name for name in table["name"]])


def summary(measurements: pd.DataFrame) -> pd.DataFrame:
    """Summarise the measurements of each object.

    Args:
        measurements: of all frames.

    Returns:
        A row for every object: `object`, `name` and `parent` (if there are any), `frames` (on how many it is seen),
        `first_frame`, `last_frame`, `mean_<area>` for each column of areas, and `mean_confidence`.
    """
    areas = [name for name in measurements.columns if name.startswith("area_")]
    by_object = measurements.groupby("object", as_index=False)
    return by_object.agg(
        **{name: (name, "first") for name in ("name", "parent") if name in measurements},
        frames=("frame", "size"),
        first_frame=("frame", "min"),
        last_frame=("frame", "max"),
        **{f"mean_{name}": (name, "mean") for name in areas},
        mean_confidence=("mean_confidence", "mean"),
    )


def _at_pixels(mask: FrameMask) -> Confidence:
    """Return the confidence of each pixel's cell, as (H, W)."""
    rows, columns = (np.arange(n) // CONFIDENCE_STRIDE for n in mask.labels.shape)
    confidence: Confidence = mask.confidence[rows[:, None], columns]
    return confidence
