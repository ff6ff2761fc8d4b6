"""Controls that show what the network sees, and where it is unsure."""

from __future__ import annotations

from functools import partial

from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QCheckBox, QLabel
from superqt import QCollapsible

from napari_pml.viewer.control.controller import Controller
from napari_pml.viewer.control.insight import Insight, Look
from napari_pml.viewer.control.marker import Marker
from napari_pml.viewer.jobs.background import Background
from napari_pml.viewer.panel.scatter import ScatterPlot

_CAPTION = "Painted pixels are large.\nWhat looks alike lies together.\nClick a point to see where it is."
_MARKED_MS = 4000


class LookInside(QCollapsible):
    """Check boxes for layers over the video, and the plot of the reference pixels; folded at first."""

    def __init__(self, controller: Controller) -> None:
        """Observe `controller`."""
        super().__init__("Look inside", expandedIcon="▼", collapsedIcon="▶")
        self.setToolTip("See where the result is unsure, and what the network sees")
        self.layout().setContentsMargins(0, 0, 0, 0)
        self._controller = controller
        self._backgrounds = Background(), Background()
        self._insight = Insight(controller, *self._backgrounds)
        self._insight.map_changed.connect(self._show_map)
        self._marker = Marker(controller.viewer)
        self._unmark = QTimer(self, singleShot=True, interval=_MARKED_MS)
        self._unmark.timeout.connect(self._marker.remove)

        self.boxes: dict[Look, QCheckBox] = {}
        looks: tuple[tuple[Look, str, str], ...] = (
            ("confidence", "Confidence: where it is unsure", "Red where labels compete, clear where one is sure"),
            ("embedding", "Embedding: what it sees", "What looks alike to the network has the same colour"),
        )
        for look, text, tip in looks:
            box = self.boxes[look] = QCheckBox(text, toolTip=tip)
            box.clicked.connect(lambda wanted, look=look: self._insight.show(look, wanted))
            self.addWidget(box)
        self.plot = ScatterPlot()
        self.plot.chosen.connect(self._go_to)
        self.addWidget(self.plot)
        self.addWidget(QLabel(_CAPTION))
        self.toggled.connect(self._insight.watch_references)
        self.destroyed.connect(partial(_drain, self._backgrounds))

    def refresh(self) -> None:
        """Show everything as it is now."""
        self._insight.refresh()
        for look, box in self.boxes.items():
            shown = self._insight.shows(look)
            box.setChecked(shown)
            box.setEnabled(shown or self._insight.can_show(look))

    def shut(self) -> None:
        """Stop, and take the marker away; the other layers stay."""
        self._marker.remove()
        _drain(self._backgrounds)

    def _show_map(self) -> None:
        document = self._controller.document
        self.plot.show_map(self._insight.map, *([] if document is None else [document.appearance.colour]))

    def _go_to(self, number: int) -> None:
        points = self._insight.map
        assert points is not None
        t = int(points.frames[number])
        if t >= 0:  # and not of another video
            self._marker.show(self._controller.chosen.image, t, *points.pixels[number].tolist())
            self._unmark.start()


def _drain(backgrounds: tuple[Background, ...]) -> None:
    for background in backgrounds:
        background.drain()
