"""A strip that shows all frames of a video at once, and leads to each of them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QEvent, QPointF, QRectF, QSize, Qt, Signal
from qtpy.QtGui import QColor, QImage, QMouseEvent, QPainter, QPaintEvent, QPolygonF
from qtpy.QtWidgets import QSizePolicy, QToolTip, QWidget

from napari_pml.viewer.document.overview import WORDS, Overview, State

_HEIGHT = 44  # pixels: annotations above, bars below
_LANE = 9  # pixels of that for annotations
_LOWEST = 0.2  # height of the bar of the least certain frame, as a share of the highest
_PLAIN = 0.8  # a video whose frames are all more certain than this has high bars only
_COLOURS = {State.DONE: "#56b4e9", State.OUTDATED: "#e69f00", State.PREVIEW: "#999999"}  # told apart by everybody
_VIEW = "#d55e00"
_DAMAGED = "#cc79a7"


class Timeline(QWidget):
    """One bar per frame, the lower the less certain, in the colour of its state; above, what is annotated.

    The least certain frame sets the scale. Where there are more frames than pixels, a bar shows the frame that needs
    most attention.
    """

    chosen = Signal(int)  # the frame that the person clicked on

    def __init__(self) -> None:
        super().__init__()
        self._overview: Overview | None = None
        self._view = 0
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setAccessibleName("Timeline")

    def sizeHint(self) -> QSize:
        """Return a strip as wide as there is room for."""
        return QSize(200, _HEIGHT)

    def show_frames(self, overview: Overview | None, view: int) -> None:
        """Show what is known about all frames, and that frame `view` is looked at; without an overview, hide."""
        self._overview, self._view = overview, view
        self.setVisible(overview is not None)
        self.update()

    def describe(self, t: int) -> str:
        """Return what there is to say about frame t, in a line."""
        overview = self._overview
        assert overview is not None
        parts = [WORDS[State(overview.states[t])]]
        if overview.states[t] != State.NONE:
            parts.append(f"certainty {100 * overview.certainties[t]:.0f} %")
        if overview.complete[t]:
            parts.append("complete")
        elif overview.annotated[t]:
            parts.append("annotated")
        if overview.damaged[t]:
            parts.append("damaged: a repeat of its neighbour")
        return f"Frame {t}: {', '.join(parts)}"

    def paintEvent(self, event: QPaintEvent) -> None:
        """Paint the strip."""
        if self._overview is None:
            return
        n_frames, ratio = len(self._overview.states), self.devicePixelRatioF()
        columns = self._overview.in_columns(max(1, round(self.width() * ratio)))
        bars = QRectF(0, _LANE, self.width(), _HEIGHT - _LANE)
        ink = self.palette().windowText().color()
        painter = QPainter(self)
        trough = QColor(ink)
        trough.setAlphaF(0.12)
        painter.fillRect(bars, trough)
        image = _bars(columns, round(bars.height() * ratio))
        painter.drawImage(bars, QImage(image.data, image.shape[1], image.shape[0], QImage.Format.Format_RGBA8888))
        width = self.width() / n_frames
        for first, last in _runs(columns.damaged):
            left = first / ratio
            painter.fillRect(QRectF(left, _HEIGHT - 6, max(2, last / ratio - left), 6), QColor(_DAMAGED))
        for marked, height in ((columns.annotated, _LANE - 2), (columns.complete, _HEIGHT)):
            for first, last in _runs(marked):
                if width > 4:  # so wide that each frame is seen
                    for t in range(first * n_frames // len(marked), (last - 1) * n_frames // len(marked) + 1):
                        painter.fillRect(QRectF((t + 0.5) * width - 1.5, 0, 3, height), ink)
                else:
                    left = first / ratio
                    painter.fillRect(QRectF(left - 0.5, 0, max(2, last / ratio - left), height), ink)
        middle = (self._view + 0.5) * width
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.fillRect(QRectF(middle - 1, 0, 2, _HEIGHT), QColor(_VIEW))
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(QColor(_VIEW))
        corners = ((-5, _HEIGHT), (5, _HEIGHT), (0, _HEIGHT - 7))
        painter.drawPolygon(QPolygonF([QPointF(middle + x, y) for x, y in corners]))
        painter.end()

    def mousePressEvent(self, event: QMouseEvent) -> None:
        """Go to the frame under the mouse."""
        if event.buttons() & Qt.MouseButton.LeftButton:
            t = self._frame_at(event.position().x())
            if t != self._view:
                self._view = t
                self.update()
                self.chosen.emit(t)

    mouseMoveEvent = mousePressEvent  # dragging; without a button held there are no such events

    def event(self, event: QEvent) -> bool:
        """Say what is under the mouse."""
        if event.type() == QEvent.Type.ToolTip and self._overview is not None:
            legend = (f"<font color='{colour}'>&#9632;</font> {WORDS[state]}" for state, colour in _COLOURS.items())
            lines = (
                f"<b>{self.describe(self._frame_at(event.pos().x()))}</b>",
                *legend,
                "low bar: uncertain",
                "tick: annotated; long tick: complete",
                *([f"<font color='{_DAMAGED}'>&#9632;</font> damaged"] if self._overview.damaged.any() else ()),
            )
            QToolTip.showText(event.globalPos(), f"<p style='white-space: pre'>{'<br>'.join(lines)}</p>", self)
            return True
        return bool(super().event(event))

    def _frame_at(self, x: float) -> int:
        assert self._overview is not None
        n_frames = len(self._overview.states)
        return min(max(int(x * n_frames / self.width()), 0), n_frames - 1)


def _bars(columns: Overview, height: int) -> NDArray[np.uint8]:
    """Return (height, n, 4) uint8 RGBA with a bar in every column that has a mask."""
    known = columns.certainties[~np.isnan(columns.certainties)]
    floor = min(_PLAIN, known.min(initial=1))
    shares = _LOWEST + (1 - _LOWEST) * (columns.certainties - floor) / (1 - floor)
    tops = np.rint(height * (1 - np.where(columns.states == State.NONE, 0, shares)))
    colours = np.zeros((len(State), 4), np.uint8)
    for state, colour in _COLOURS.items():
        colours[state] = QColor(colour).getRgb()
    covered = np.arange(height)[:, None] >= tops
    return np.ascontiguousarray(colours[columns.states] * covered[..., None])


def _runs(marked: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Return (first, one past the last) of every run of True."""
    edges = np.flatnonzero(np.diff(marked, prepend=False, append=False))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))
