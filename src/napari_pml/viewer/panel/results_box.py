"""The part of the panel for what comes after segmenting: measure, document, save."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd
from napari.components import ViewerModel
from napari.utils.notifications import show_info
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QHBoxLayout, QPushButton, QWidget
from superqt import QCollapsible

from napari_pml.io.calibration import Calibration
from napari_pml.viewer.colours import object_colormap, palette
from napari_pml.viewer.control.controller import Controller
from napari_pml.viewer.document.document import VideoDocument
from napari_pml.viewer.document.inputs import inputs_of
from napari_pml.viewer.document.results import calibration_of, measured, show_summary, show_tracks, tracked
from napari_pml.viewer.jobs.tasks import run_task
from napari_pml.viewer.panel.save_dialog import ask_where, folder_of

_TABLE = "Features table widget"  # what napari calls it


class ResultsBox(QCollapsible):
    """Buttons that make something of the masks of the chosen video; one task at a time."""

    def __init__(self, viewer: ViewerModel, controller: Controller) -> None:
        """Show the buttons.

        Args:
            viewer: gets new layers.
            controller: knows the chosen video.
        """
        super().__init__("Results", expandedIcon="▼", collapsedIcon="▶")
        self.setToolTip("Measure objects, follow their ways, save masks")
        self._viewer, self._controller, self._busy = viewer, controller, False
        buttons = QWidget()
        row = QHBoxLayout(buttons)
        row.setContentsMargins(0, 0, 0, 0)
        self.table = QPushButton("Table", toolTip="Measure every object, and show the table")
        self.tracks = QPushButton("Tracks", toolTip="Show the way of every object as a Tracks layer")
        self.save = QPushButton("Save masks...")
        self.save.setToolTip(
            "PNG, TIFF, Zarr or COCO, a video with the masks drawn over it, or a table for every frame"
        )
        for button, clicked in ((self.table, self._table), (self.tracks, self._tracks), (self.save, self._save)):
            button.clicked.connect(clicked)
            row.addWidget(button)
        self.addWidget(buttons)
        self.layout().setContentsMargins(0, 0, 0, 0)

    def refresh(self) -> None:
        """Allow what is possible now."""
        document = self._controller.document
        session = document.session if document is not None else None
        ready = session is not None and bool(session.masks.finished) and not self._busy
        self.table.setEnabled(ready and document is not None and document.masks is not None)
        for button in (self.tracks, self.save):
            button.setEnabled(ready)

    def _table(self) -> None:
        document = self._controller.chosen
        said = f"For every frame: Save masks... as .csv{_caveats(document)}"

        def done(table: pd.DataFrame) -> None:
            if document.masks is None:  # taken away in the meantime
                return
            show_summary(table, document.masks)
            self._viewer.layers.selection.active = document.masks  # whose features napari's table shows
            _open_table(self._viewer)
            show_info(said)

        masks, calibration, names = document.live_session.masks, _calibration(document), dict(document.names)
        self._run("measuring", lambda: measured(masks, calibration, names), done)

    def _tracks(self) -> None:
        document = self._controller.chosen
        caveats = _caveats(document)

        def done(table: pd.DataFrame) -> None:
            show_tracks(table, document.image, self._viewer.layers)
            if caveats:
                show_info(f"Tracks of all masks{caveats}")

        masks, calibration, names = document.live_session.masks, _calibration(document), dict(document.names)
        self._run("tracks", lambda: tracked(masks, calibration, names), done)

    def _save(self) -> None:
        document = self._controller.chosen
        path = ask_where(self, folder_of(document.image), f"{document.image.name} masks")
        if path is None:
            return
        session, calibration, inputs = document.live_session, _calibration(document), inputs_of(self._viewer.layers)
        names, colormap = dict(document.names), object_colormap(document.appearance.colours)

        def work() -> None:
            from napari_pml.io.save import save

            save(path, session.masks, session.video, calibration, inputs, names, palette(colormap))

        said = f"Saved {path}{_caveats(document)}"
        self._run("saving masks", work, lambda _: show_info(said))

    def _run(self, title: str, work: Callable[[], Any], done: Callable[[Any], None]) -> None:
        self._busy = True
        self.refresh()
        run_task(title, work, done, self._ended)

    def _ended(self) -> None:
        self._busy = False
        self.refresh()


def _open_table(viewer: ViewerModel) -> None:
    """Show napari's table of features, below the canvas, where there is room for its columns."""
    is_new = not any(name.startswith(_TABLE) for name in viewer.window.dock_widgets)
    dock, _ = viewer.window.add_plugin_dock_widget("napari", _TABLE)
    if is_new:
        dock.parent().addDockWidget(Qt.DockWidgetArea.BottomDockWidgetArea, dock)


def _caveats(document: VideoDocument) -> str:
    """Return how many frames have no finished mask, or one of earlier annotations, to be said with a result."""
    session = document.live_session
    finished, n_frames = session.masks.finished, session.masks.shape[0]
    earlier = len(set(finished).intersection(session.stale_frames()))
    empty = n_frames - len(finished)
    text = f"; {empty} of {n_frames} frames have no finished mask and are empty: propagate first" if empty else ""
    return text + (f"; {earlier} of {len(finished)} masks are from before the last change" if earlier else "")


def _calibration(document: VideoDocument) -> Calibration:
    return calibration_of(document.image.scale, document.image.units, document.data)
