"""A plot of the reference pixels, in which each can be asked what it is."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QPointF, QSize, Qt, Signal
from qtpy.QtGui import QColor, QMouseEvent, QPainter, QPaintEvent
from qtpy.QtWidgets import QToolTip, QWidget

from napari_pml.types import BACKGROUND
from napari_pml.viewer.colours import RGBA, colour_of

if TYPE_CHECKING:
    from napari_pml.methods.reference_map import ReferenceMap

_GROUND = "#16181d"  # dark in every theme, as the objects' colours are bright
_MARGIN = 12  # pixels
_RADIUS, _PAINTED_RADIUS = 1.5, 3.0  # pixels
_REACH = 4  # pixels: so near to a point's edge means the point


class ScatterPlot(QWidget):
    """Reference pixels in the colours of their objects; painted ones are large."""

    chosen = Signal(int)  # number of the point that was clicked

    def __init__(self) -> None:
        super().__init__()
        self._map: ReferenceMap | None = None
        self._colour: Callable[[int], RGBA] = colour_of
        self.setMouseTracking(True)
        self.setMinimumHeight(220)

    def show_map(self, reference_map: ReferenceMap | None, colour: Callable[[int], RGBA] = colour_of) -> None:
        """Show other points, or none, in the colours that their objects have."""
        self._map, self._colour = reference_map, colour
        self.update()

    def places(self) -> NDArray[np.float64]:
        """Return where the points are in the widget, as (N, 2) x, y in pixels; one scale for both axes."""
        assert self._map is not None
        positions = self._map.positions
        low, high = positions.min(0), positions.max(0)
        room = np.array([self.width(), self.height()]) - 2 * _MARGIN
        scale = (room / np.maximum(high - low, 1e-6)).min()
        middle = np.array([self.width(), self.height()]) / 2
        places: NDArray[np.float64] = (positions - (low + high) / 2) * (scale, -scale) + middle
        return places

    def point_at(self, x: float, y: float) -> int | None:
        """Return the number of the point at a place in the widget; None if there is none."""
        if self._map is None:
            return None
        radii = np.where(self._map.painted, _PAINTED_RADIUS, _RADIUS)
        distances = np.hypot(*(self.places() - (x, y)).T) - radii
        nearest = int(distances.argmin())
        return nearest if distances[nearest] <= _REACH else None

    def sizeHint(self) -> QSize:
        """As wide as the panel."""
        return QSize(240, 220)

    def paintEvent(self, event: QPaintEvent) -> None:
        """Draw the points, as they come."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.fillRect(self.rect(), QColor(_GROUND))
        if self._map is None:
            painter.setPen(QColor("#c8c8c8"))
            text = "Paint a stroke: its pixels appear here."
            painter.drawText(self.rect().adjusted(_MARGIN, 0, -_MARGIN, 0), Qt.AlignmentFlag.AlignCenter, text)
            return
        places, colours = self.places(), {n: QColor.fromRgbF(*self._colour(n)) for n in set(self._map.labels.tolist())}
        for (x, y), label, painted in zip(places, self._map.labels.tolist(), self._map.painted, strict=True):
            radius = _PAINTED_RADIUS if painted else _RADIUS
            painter.setPen(QColor("black") if painted else Qt.PenStyle.NoPen)
            painter.setBrush(colours[label])
            painter.drawEllipse(QPointF(x, y), radius, radius)

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        """Say what the point under the mouse is."""
        number = self.point_at(event.position().x(), event.position().y())
        self.setCursor(Qt.CursorShape.ArrowCursor if number is None else Qt.CursorShape.PointingHandCursor)
        if number is None:
            QToolTip.hideText()
        else:
            QToolTip.showText(event.globalPosition().toPoint(), self.describe(number), self)

    def mousePressEvent(self, event: QMouseEvent) -> None:
        """Choose the point under the mouse."""
        number = self.point_at(event.position().x(), event.position().y())
        if number is not None:
            self.chosen.emit(number)

    def describe(self, number: int) -> str:
        """Return what a point is."""
        assert self._map is not None
        label = int(self._map.labels[number])
        name = "background" if label == BACKGROUND else f"object {label}"
        how = "painted" if self._map.painted[number] else "not painted"
        t = int(self._map.frames[number])
        where = "Another video" if t < 0 else f"Frame {t}"
        return f"{where}, {name}, {how}"
