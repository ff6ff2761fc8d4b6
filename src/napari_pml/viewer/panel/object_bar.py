"""The list of objects, from one to hundreds, with the actions on them."""

from __future__ import annotations

from collections.abc import Callable

from napari.utils.notifications import show_error
from qtpy.QtCore import (
    QItemSelection,
    QItemSelectionModel,
    QModelIndex,
    QPoint,
    QSignalBlocker,
    QSize,
    QSortFilterProxyModel,
    Qt,
)
from qtpy.QtGui import QColor, QKeyEvent
from qtpy.QtWidgets import (
    QAbstractItemView,
    QColorDialog,
    QGridLayout,
    QHBoxLayout,
    QLineEdit,
    QListView,
    QMenu,
    QMessageBox,
    QPushButton,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from napari_pml.errors import AnnotationError
from napari_pml.types import BACKGROUND
from napari_pml.viewer.colours import colour_of
from napari_pml.viewer.control import objects
from napari_pml.viewer.control.controller import Controller
from napari_pml.viewer.document.document import VideoDocument
from napari_pml.viewer.panel.object_model import SWATCH, ObjectModel, Role, Row, swatch

_ROWS_IN_VIEW = 8
_MANY = 12  # objects: from here on a filter helps to find one

Select = QItemSelectionModel.SelectionFlag


class ObjectBar(QWidget):
    """A list of objects, with buttons for a new one, for background, and for the objects selected in the list."""

    def __init__(self, controller: Controller) -> None:
        super().__init__()
        self._controller = controller
        self._label: int | None = None  # what was painted when the list was last shown
        self._model = ObjectModel()
        self._model.renamed.connect(self._rename)
        self._filtered = QSortFilterProxyModel(filterCaseSensitivity=Qt.CaseSensitivity.CaseInsensitive)
        self._filtered.setSourceModel(self._model)
        self.add = QPushButton("+ object", toolTip="Begin a new object")
        self.add.clicked.connect(self._begin)
        self.background = QPushButton(swatch(colour_of(BACKGROUND)), "Background", checkable=True)
        self.background.setIconSize(QSize(SWATCH, SWATCH))
        self.background.setToolTip("Paint what belongs to no object")
        self.background.clicked.connect(lambda: controller.choose_label(BACKGROUND))
        self._filter = QLineEdit(placeholderText="Find an object by number or name", clearButtonEnabled=True)
        self._filter.setToolTip("Show only the objects whose number or name has this in it")
        self._filter.textChanged.connect(self._find)
        self._list = _ObjectView()
        self._list.setToolTip(
            "Click an object to paint it (N: the next, Shift+N: the one before); double-click to name it"
        )
        self._list.setModel(self._filtered)
        self._list.selectionModel().selectionChanged.connect(self._on_selected)
        self._list.clicked.connect(self._on_clicked)
        self.buttons = {
            name: self._new_button(name, tip, do)
            for name, tip, do in (
                ("Rename", "Give the object a name (F2)", self._edit_name),
                ("Colour", "Give the selected objects another colour", self._recolour),
                ("Hide", "Hide the selected objects in every layer, or show them again", self._hide),
                ("Merge", "Make one object of those selected (Ctrl-click selects more)", self._merge),
                ("Delete", "Take the selected objects and all their strokes away", self._delete),
            )
        }
        self._list.customContextMenuRequested.connect(self._open_menu)
        self._lay_out()

    def _lay_out(self) -> None:
        top, bottom = QHBoxLayout(), QGridLayout()
        top.addWidget(self.add)
        top.addWidget(self.background)
        for i, button in enumerate(self.buttons.values()):
            bottom.addWidget(button, i // 3, i % 3)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addLayout(top)
        layout.addWidget(self._filter)
        layout.addWidget(self._list)
        layout.addLayout(bottom)

    def _new_button(self, name: str, tip: str, do: Callable[[], None]) -> QPushButton:
        button = QPushButton(name, toolTip=tip)
        button.clicked.connect(lambda: do())
        return button

    def _open_menu(self, place: QPoint) -> None:
        """Offer what the buttons do beside the mouse."""
        menu = QMenu(self)
        for button in self.buttons.values():
            menu.addAction(button.text(), button.click).setEnabled(button.isEnabled())
        menu.exec(self._list.viewport().mapToGlobal(place))

    # What is shown

    def show_objects(self) -> None:
        """Show the objects of the controller's video, the one that is painted selected."""
        document = self._controller.document
        if document is None:
            self._model.show_rows(())
        else:
            looks = document.appearance
            self._model.show_rows(
                tuple(
                    Row(label, looks.names.get(label, ""), looks.colour(label), label in looks.hidden)
                    for label in sorted(document.objects)
                )
            )
        many = len(self._model.rows) > _MANY
        if not many and self._filter.text():
            self._filter.clear()
        self._filter.setVisible(many)
        self._list.show_rows_at_most(_ROWS_IN_VIEW)
        self.background.setChecked(self._controller.label == BACKGROUND)
        self._show_chosen()

    def _show_chosen(self) -> None:
        """Select the object that is painted; whoever selected several of them keeps those until another is painted."""
        label = self._controller.label
        if label != self._label or not self.selected:
            self._label = label
            with QSignalBlocker(self._list.selectionModel()):
                index = self._index_of(label)
                self._list.selectionModel().setCurrentIndex(index, Select.ClearAndSelect)
            self._list.viewport().update()
            self._list.scrollTo(index)
        self._show_buttons()

    def _show_buttons(self) -> None:
        document, selected = self._controller.document, self.selected
        for name, button in self.buttons.items():
            button.setEnabled(len(selected) >= 2 if name == "Merge" else bool(selected))
        self.buttons["Rename"].setEnabled(len(selected) == 1)
        hidden = document is not None and bool(selected) and selected <= document.appearance.hidden
        self.buttons["Hide"].setText("Show" if hidden else "Hide")

    @property
    def selected(self) -> set[int]:
        """The objects selected in the list."""
        return {index.data(Role.UserRole) for index in self._list.selectionModel().selectedIndexes()}

    def select(self, *labels: int) -> None:
        """Click objects in the list; a single one is painted from now on."""
        chosen = QItemSelection()
        for label in labels:
            chosen.select(self._index_of(label), self._index_of(label))
        self._list.selectionModel().select(chosen, Select.ClearAndSelect)
        self._on_clicked()

    def step(self, by: int) -> None:
        """Paint the object that is `by` places further down the list, or further up; past its end, begin anew."""
        n = self._filtered.rowCount()
        if n:
            at = self._index_of(self._controller.label).row()  # -1 where it is not in the list
            at = (at + by) % n if at >= 0 else (0 if by > 0 else n - 1)
            self._controller.choose_label(self._filtered.index(at, 0).data(Role.UserRole))

    def _index_of(self, label: int) -> QModelIndex:
        """Return the place of an object in the list; an invalid one if it is not shown there."""
        row = next((i for i, row in enumerate(self._model.rows) if row.label == label), -1)
        return self._filtered.mapFromSource(self._model.index(row))

    # What a person does

    def _find(self, text: str) -> None:
        self._filtered.setFilterFixedString(text)
        self._show_chosen()

    def _on_selected(self) -> None:
        if len(self.selected) == 1 and self.selected != {self._controller.label}:
            self._controller.choose_label(*self.selected)
        self._show_buttons()

    def _on_clicked(self) -> None:
        """The object that is painted already: take the brush again."""
        if len(self.selected) == 1:
            self._controller.choose_label(*self.selected)

    def _begin(self) -> None:
        if self._controller.document is not None:
            self._filter.clear()
            self._try(lambda document: self._controller.choose_label(objects.begin(document)))

    def _edit_name(self) -> None:
        (index,) = self._list.selectionModel().selectedIndexes()
        self._list.edit(index)

    def _rename(self, label: int, name: str) -> None:
        self._try(lambda document: objects.rename(document, label, name))
        self._controller.flush_soon()

    def _recolour(self) -> None:
        selected = self.selected  # which may be others when the dialog is closed, since work goes on
        first = self._controller.chosen.appearance.colour(min(selected))
        colour = QColorDialog.getColor(QColor.fromRgbF(*first), self, "Colour of the object")
        if colour.isValid():
            self._try(lambda document: objects.recolour(document, selected, colour.getRgbF()))
            self._controller.flush_soon()

    def _hide(self) -> None:
        hidden = self._controller.chosen.appearance.hidden
        self._try(lambda document: objects.set_hidden(document, self.selected, not self.selected <= hidden))

    def _merge(self) -> None:
        selected = self.selected
        others = selected - {min(selected)}
        if self._agreed(others, f"Make {_named(others)} part of object {min(selected)}"):
            self._try(lambda document: self._controller.choose_label(objects.merge(document, selected)))

    def _delete(self) -> None:
        selected = self.selected
        if self._agreed(selected, f"Delete {_named(selected)} and everything drawn for it"):
            self._try(lambda document: objects.delete(document, selected))

    def _agreed(self, labels: set[int], question: str) -> bool:
        """Ask before more than one frame is changed."""
        n = len(objects.frames_with(self._controller.chosen, labels))
        if n < 2:
            return True
        answer = QMessageBox.question(self, "Segment video", f"{question}, on {n} frames?")
        return bool(answer == QMessageBox.StandardButton.Yes)

    def _try(self, change: Callable[[VideoDocument], object]) -> None:
        """Change the document; if it cannot be, say why; show what has become of it."""
        document = self._controller.chosen
        try:
            change(document)
        except AnnotationError as error:
            show_error(str(error))
        label = self._controller.label
        if label != BACKGROUND and label not in document.objects:  # it was deleted
            self._controller.choose_label(min(document.objects, default=1))
        self._controller.changed.emit()


class _ObjectView(QListView):
    """A list whose keys stay napari's: letters and digits do not search in it."""

    def __init__(self) -> None:
        super().__init__()
        self.setSelectionMode(QAbstractItemView.SelectionMode.ExtendedSelection)
        triggers = QAbstractItemView.EditTrigger
        self.setEditTriggers(triggers.DoubleClicked | triggers.EditKeyPressed)
        self.setContextMenuPolicy(Qt.ContextMenuPolicy.CustomContextMenu)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setUniformItemSizes(True)
        self.setIconSize(QSize(SWATCH, SWATCH))
        self.setStyleSheet("QLineEdit { min-height: 0; padding: 0; }")  # a name is edited within its row

    def show_rows_at_most(self, n: int) -> None:
        """Become as high as the list is long, or as `n` rows."""
        rows = min(max(self.model().rowCount(), 1), n)
        row = self.sizeHintForIndex(self.model().index(0, 0)).height()  # without the editor of a name
        self.setFixedHeight(rows * max(row, self.fontMetrics().height()) + 2 * self.frameWidth())

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Leave letters and digits to the viewer's own keys."""
        if event.text().isalnum():
            event.ignore()
        else:
            super().keyPressEvent(event)


def _named(labels: set[int]) -> str:
    numbers = [str(label) for label in sorted(labels)]
    return f"object {numbers[0]}" if len(numbers) == 1 else f"objects {', '.join(numbers[:-1])} and {numbers[-1]}"
