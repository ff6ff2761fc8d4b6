"""Results as layers: measurements, tracks, and the calibration of a layer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.components import LayerList
from napari.layers import Image, Labels, Layer, Tracks

from napari_pml.errors import ExportError
from napari_pml.io.calibration import Calibration
from napari_pml.viewer.colours import palette
from napari_pml.viewer.document.document import VideoDocument
from napari_pml.viewer.document.layers import role_of
from napari_pml.viewer.document.metadata import TRACK_NAMES, TRACKS_OF
from napari_pml.viewer.document.prompts import video_data, video_shape

if TYPE_CHECKING:
    import pandas as pd

    from napari_pml.store.masks import MaskStore
    from napari_pml.video.video import Video

_PLACE = ("scale", "translate", "rotate", "shear", "affine", "units", "axis_labels")


def calibration_of(scale: Iterable[float], units: Iterable[Any], data: Any) -> Calibration:
    """Return what a layer knows of its frames and pixels.

    Args:
        scale: of the layer's axes, the last three of which are time, rows and columns.
        units: of these axes, as napari keeps them.
        data: of the layer; a video file knows when each frame is shown.
    """
    frame, *pixel = map(abs, list(scale)[-3:])  # negative where a layer is shown upside down
    of_time, *of_pixel = list(units)[-3:]
    video = getattr(data, "video", None)
    seconds = times = None
    damaged = tuple(video.damaged) if video is not None else ()
    if of_time.is_compatible_with("second"):
        seconds = float((frame * of_time).to("second").magnitude)
    elif video is not None:
        times = video.times
    if all(unit.is_compatible_with("meter") for unit in of_pixel):
        height, width = (float((n * u).to(of_pixel[-1]).magnitude) for n, u in zip(pixel, of_pixel, strict=True))
        return Calibration(seconds, (height, width), str(of_pixel[-1]), times, damaged)
    height, width = map(float, pixel)
    return Calibration(seconds, (height, width) if (height, width) != (1, 1) else None, times=times, damaged=damaged)


def measured(
    masks: MaskStore, calibration: Calibration, names: Mapping[int, str] = MappingProxyType({})
) -> pd.DataFrame:
    """Return the measurements of all finished frames; ExportError if there are none. Slow: for the background."""
    import pandas as pd

    from napari_pml.io.measure import measure

    return pd.concat(measure(masks, calibration, names), ignore_index=True)


def tracked(
    masks: MaskStore, calibration: Calibration, names: Mapping[int, str] = MappingProxyType({})
) -> pd.DataFrame:
    """Return the same for tracks; ExportError if no mask shows an object. Slow: for the background."""
    table = measured(masks, calibration, names)
    if table.empty:
        raise ExportError("No mask shows an object, so there are no tracks. Paint a stroke on one, and propagate.")
    return table


def names_of(masks: Any, shown: Iterable[Layer]) -> dict[int, str]:
    """Return the names of the objects in the data of a layer, if it shows masks of ours, one of the layers `shown`."""
    layers = list(shown)
    images = (
        image
        for layer in layers
        for image in layers
        if layer.data is masks and isinstance(image, Image) and role_of(layer, image) == "masks"
    )
    return next((dict(VideoDocument.of(image).names) for image in images), {})


def show_summary(table: pd.DataFrame, layer: Labels) -> None:
    """Make a row for every object the features of a mask layer, which shows them under the pointer.

    A Labels layer has one row for a label, so that rows for every frame would show the numbers of another frame.
    napari's table takes row n for label n, so the background and numbers that no object has are rows without numbers.
    """
    from napari_pml.io.measure import summary

    rows = summary(table).set_index("object")
    rows = rows.reindex(range(max(rows.index, default=0) + 1)).fillna({"name": "", "frames": 0}).astype({"frames": int})
    layer.features = rows.rename_axis("index").reset_index()


def new_tracks(table: pd.DataFrame, layer: Layer) -> Tracks:
    """Return the trajectories of the objects' centres as a Tracks layer, daughters joined to their parents.

    The measurements are its features.
    """
    table = table.sort_values(["object", "frame"], ignore_index=True)
    names = dict(zip(table["object"].tolist(), table["name"].tolist(), strict=True)) if "name" in table else {}
    descent = table[table["parent"] > 0].groupby("object")["parent"].first() if "parent" in table else {}
    tracks = Tracks(
        table[["object", "frame", "centroid_y", "centroid_x"]].to_numpy(),
        features=table.drop(columns="name", errors="ignore"),
        graph={child: [parent] for child, parent in descent.items()},
        name=f"{layer.name} tracks",
        metadata={TRACKS_OF: str(layer.unique_id), TRACK_NAMES: names},
        blending="translucent",
        **{name: getattr(layer, name) for name in _PLACE},
    )
    if isinstance(layer, Labels):
        rgb = palette(layer.colormap)[tracks.data[:, 0].astype(int)] / 255
        tracks.track_colors = np.pad(rgb, ((0, 0), (0, 1)), constant_values=1)
    else:
        appearance = VideoDocument.of(layer).appearance
        appearance.tracks.add(tracks)
        appearance.apply(tracks)
    return tracks


def show_tracks(table: pd.DataFrame, layer: Layer, shown: LayerList) -> None:
    """Add the tracks of `layer` to the layers `shown`, in place of those that were made for it before."""
    for earlier in [other for other in shown if other.metadata.get(TRACKS_OF) == str(layer.unique_id)]:
        shown.remove(earlier)
    shown.append(new_tracks(table, layer))


def image_below(labels: Labels, shown: Iterable[Layer]) -> Image | None:
    """Return the uppermost image layer of the size of `labels` among those `shown`, if there is one."""
    shape = tuple(labels.data.shape)
    fitting = [s for s in shown if isinstance(s, Image) and s.ndim == 3 and video_shape(s) == shape]
    return fitting[-1] if fitting else None


def as_video(data: Any, rgb: bool) -> Video:
    """Open what an image layer shows as a video."""
    from napari_pml import open_video

    return open_video(data, channel_axis=3 if rgb else None)


def video_of(image: Image) -> Video:
    """Open the video that an image layer shows."""
    return as_video(video_data(image), image.rgb)
