"""The buttons with which a person says what the next stroke is: an object, a new one, or background."""

from __future__ import annotations

from qtpy.QtCore import QSize, Signal
from qtpy.QtGui import QColor, QIcon, QPainter, QPixmap
from qtpy.QtWidgets import QPushButton, QWidget
from superqt.utils import QFlowLayout

from napari_pml.types import BACKGROUND
from napari_pml.viewer.colours import colour_of

_SWATCH = 14  # pixels


class ObjectBar(QWidget):
    """One button per object, in the colour of its strokes."""

    chosen = Signal(int)  # an object or BACKGROUND

    def __init__(self) -> None:
        super().__init__()
        self._buttons: dict[int, QPushButton] = {}
        self._layout = QFlowLayout(self)
        self._layout.setContentsMargins(0, 0, 0, 0)
        self._background = self._new_button(BACKGROUND, "Background")
        self._background.setToolTip("Paint what belongs to no object")
        self._add = QPushButton("+ object")
        self._add.setToolTip("Begin a new object")
        self._add.clicked.connect(lambda: self.chosen.emit(max(self._buttons, default=0) + 1))

    def show_objects(self, objects: set[int], label: int) -> None:
        """Show a button for each object, the one of `label` pressed."""
        wanted = sorted(objects)
        if wanted != sorted(self._buttons):
            while self._layout.count():
                self._layout.takeAt(0)
            for gone in self._buttons.keys() - set(wanted):
                self._buttons.pop(gone).deleteLater()
            for new in set(wanted) - self._buttons.keys():
                self._buttons[new] = self._new_button(new, str(new))
            for button in (*(self._buttons[n] for n in wanted), self._add, self._background):
                self._layout.addWidget(button)
        for number, button in (*self._buttons.items(), (BACKGROUND, self._background)):
            button.setChecked(number == label)

    def _new_button(self, label: int, text: str) -> QPushButton:
        swatch = QPixmap(_SWATCH, _SWATCH)
        swatch.fill(QColor("black"))  # a thin frame, so that grey is seen on grey
        painter = QPainter(swatch)
        painter.fillRect(swatch.rect().adjusted(1, 1, -1, -1), QColor.fromRgbF(*colour_of(label)))
        painter.end()
        button = QPushButton(QIcon(swatch), text, checkable=True, iconSize=QSize(_SWATCH, _SWATCH))
        button.setToolTip(f"Paint object {label}")
        button.clicked.connect(lambda: self.chosen.emit(label))
        return button
