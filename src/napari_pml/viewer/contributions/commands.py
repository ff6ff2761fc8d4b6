"""What stands in napari's menus: under Layers > Segment and Layers > VideoDocument, and under File > IO Utilities."""

from __future__ import annotations

import pandas as pd
from napari.layers import Image, Labels
from napari.utils.notifications import show_error, show_info
from napari.viewer import Viewer
from qtpy.QtWidgets import QApplication

from napari_pml.io.calibration import Calibration
from napari_pml.viewer.colours import palette
from napari_pml.viewer.document.inputs import inputs_of
from napari_pml.viewer.document.results import calibration_of, image_below, names_of, show_tracks, tracked, video_of
from napari_pml.viewer.jobs.tasks import run_task
from napari_pml.viewer.panel.save_dialog import ask_where, folder_of
from napari_pml.viewer.preferences import PLUGIN


def segment_selected(viewer: Viewer) -> None:
    """Open the panel with the selected image layer chosen."""
    viewer = _unwrapped(viewer)
    selected = viewer.layers.selection.active
    _, panel = viewer.window.add_plugin_dock_widget(PLUGIN, "Segment video")
    if selected is not None:
        place = panel.images.findText(selected.name)
        panel.images.setCurrentIndex(place if place >= 0 else panel.images.currentIndex())


def track_selected(viewer: Viewer) -> None:
    """Add the tracks of the objects in the selected Labels layer."""
    viewer = _unwrapped(viewer)
    labels = _selected_masks(viewer)
    if labels is None:
        return
    data, calibration = labels.data, _calibration(labels, image_below(labels, viewer.layers))
    names = names_of(data, viewer.layers)

    def work() -> pd.DataFrame:
        from napari_pml.io.save import as_masks

        return tracked(as_masks(data), calibration, names)

    run_task("tracks", work, lambda table: show_tracks(table, labels, viewer.layers))


def save_selected(viewer: Viewer) -> None:
    """Ask for a file, and write the selected Labels layer there as masks of a video."""
    viewer = _unwrapped(viewer)
    labels = _selected_masks(viewer)
    if labels is None:
        return
    image = image_below(labels, viewer.layers)
    path = ask_where(QApplication.activeWindow(), folder_of(image or labels), labels.name)
    if path is None:
        return
    data, calibration, inputs = labels.data, _calibration(labels, image), inputs_of(viewer.layers)
    names, colormap = names_of(data, viewer.layers), labels.colormap

    def work() -> None:
        from napari_pml.io.save import as_masks, save

        video = None if image is None else video_of(image)
        save(path, as_masks(data), video, calibration, inputs, names, palette(colormap))

    run_task("saving masks", work, lambda _: show_info(f"Saved {path}"))


def _calibration(labels: Labels, image: Image | None) -> Calibration:
    """Return what masks and the video below them know together."""
    return calibration_of(labels.scale, labels.units, None if image is None else image.data)


def _unwrapped(viewer: Viewer) -> Viewer:
    """Return the viewer behind napari's proxy, whose layers are other objects than those in its events."""
    return getattr(viewer, "__wrapped__", viewer)


def _selected_masks(viewer: Viewer) -> Labels | None:
    """Return the selected layer if it can be masks of a video; if not, say so and return None."""
    layer = viewer.layers.selection.active
    if isinstance(layer, Labels) and layer.ndim == 3 and not layer.multiscale:
        return layer
    show_error("Select the Labels layer that holds the masks: its axes are (time, rows, columns).")
    return None
