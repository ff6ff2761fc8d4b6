"""The objects of a video as a list that Qt shows: colour swatch, number, name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from qtpy.QtCore import QAbstractListModel, QModelIndex, Qt, Signal
from qtpy.QtGui import QColor, QFont, QIcon, QPainter, QPixmap

from napari_pml.viewer.colours import RGBA

SWATCH = 14  # pixels

Role = Qt.ItemDataRole


@dataclass(frozen=True)
class Row:
    """One object as it is listed; `colour` is opaque."""

    label: int
    name: str
    colour: RGBA
    hidden: bool


class ObjectModel(QAbstractListModel):
    """As cheap as what is seen of it: Qt asks only for the rows in view."""

    renamed = Signal(int, str)

    def __init__(self) -> None:
        super().__init__()
        self.rows: tuple[Row, ...] = ()

    def show_rows(self, rows: tuple[Row, ...]) -> None:
        """Show other rows, ordered by label; nothing happens where nothing changed."""
        if rows == self.rows:
            return
        same_objects = [row.label for row in rows] == [row.label for row in self.rows]
        if same_objects:
            self.rows = rows
            self.dataChanged.emit(self.index(0), self.index(len(rows) - 1))
        else:
            self.beginResetModel()
            self.rows = rows
            self.endResetModel()

    def rowCount(self, parent: QModelIndex | None = None) -> int:
        """How many objects there are."""
        return len(self.rows)

    def data(self, index: QModelIndex, role: int = Role.DisplayRole) -> Any:
        """Return what Qt asks for about one object; its label as `UserRole`."""
        row = self.rows[index.row()]
        if role == Role.DisplayRole:
            return f"{row.label}  {row.name}".rstrip() + (" (hidden)" if row.hidden else "")
        if role == Role.EditRole:
            return row.name
        if role == Role.UserRole:
            return row.label
        if role == Role.DecorationRole:
            return swatch(row.colour)
        if role == Role.FontRole:
            font = QFont()
            font.setItalic(row.hidden)
            return font
        return None

    def setData(self, index: QModelIndex, value: Any, role: int = Role.EditRole) -> bool:
        """A person has typed a name."""
        self.renamed.emit(self.rows[index.row()].label, str(value))
        return True

    def flags(self, index: QModelIndex) -> Qt.ItemFlag:
        """Every object can be chosen and renamed."""
        return super().flags(index) | Qt.ItemFlag.ItemIsEditable


def swatch(colour: RGBA) -> QIcon:
    """Return a small square in a colour, with a thin frame so that grey is seen on grey."""
    square = QPixmap(SWATCH, SWATCH)
    square.fill(QColor("black"))
    painter = QPainter(square)
    painter.fillRect(square.rect().adjusted(1, 1, -1, -1), QColor.fromRgbF(*colour))
    painter.end()
    icon = QIcon(square)
    icon.addPixmap(square, QIcon.Mode.Selected)  # or Qt tints it
    return icon
