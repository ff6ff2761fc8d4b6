"""Dialog to choose a mask as annotation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from napari.utils.notifications import show_error
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QCheckBox, QComboBox, QDialog, QDialogButtonBox, QFileDialog, QFormLayout, QLabel, QWidget

from napari_pml.errors import AnnotationError
from napari_pml.viewer.control.controller import Controller
from napari_pml.viewer.control.mask_import import can_take_all, mask_in_view, take_mask, usable_layers
from napari_pml.viewer.document.inputs import note_input
from napari_pml.viewer.jobs.background import Background

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_pml.io.label_files import NamedLabels

_FILTER = "Label images, labelme, CVAT for images (*.png *.tif *.tiff *.npy *.json *.xml)"


class MaskDialog(QDialog):
    """Which mask, for which frames, and whether the rest is background."""

    def __init__(self, controller: Controller, parent: QWidget) -> None:
        super().__init__(parent)
        self.setWindowTitle("Take a mask as annotation")
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self._controller = controller
        self._reader = Background()  # of its own: reading a file must not stop a propagation
        self.masks = QComboBox()
        for layer in usable_layers(controller):
            self.masks.addItem(layer.name, layer)
        self.masks.addItem("From a file...", None)
        self.masks.currentIndexChanged.connect(self._show_choice)
        self.frames = QComboBox()
        self.complete = QCheckBox("Everything else is background", checked=True)
        self.complete.setToolTip("The frame counts as complete: its mask is exactly the one chosen here")
        self.note = QLabel(wordWrap=True)
        self.frames.currentIndexChanged.connect(self._show_note)
        buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Ok | QDialogButtonBox.StandardButton.Cancel)
        buttons.accepted.connect(self.accept)
        buttons.rejected.connect(self.reject)
        form = QFormLayout(self)
        form.addRow("Mask", self.masks)
        form.addRow("For", self.frames)
        form.addRow(self.complete)
        form.addRow(self.note)
        form.addRow(buttons)
        self._show_choice()

    def accept(self) -> None:
        """Take what was chosen; where that fails, the dialog stays open for another choice."""
        layer = self.masks.currentData()
        if layer is None:
            path, _ = QFileDialog.getOpenFileName(self, "Open a mask", filter=_FILTER)
            if path:
                self.take_file(Path(path))
        elif self.frames.currentData():
            self._controller.use_layer(layer, True, complete=self.complete.isChecked())
            super().accept()
        else:
            self._take(mask_in_view(self._controller, layer))

    def take_file(self, path: Path) -> None:
        """Read a mask in the background, and take it."""
        t, size = self._controller.frame, self._controller.chosen.data.shape[1:3]

        def read() -> Iterator[NamedLabels]:
            from napari_pml.io.label_files import read_annotation  # imports torch: not when the viewer starts

            yield read_annotation(path, t, size)

        self.setEnabled(False)
        self._reader.start(read, partial(self._take_named, path), partial(self.setEnabled, True))

    def done(self, result: int) -> None:
        """Close, and read no more."""
        self._reader.drain()
        super().done(result)

    def _take_named(self, path: Path, found: NamedLabels) -> None:
        document = self._controller.chosen
        note_input(document.image, path)
        # Object 1 is there from the beginning, for the first stroke.
        taken = document.objects if document.is_drawn_on else ()
        try:
            named = found.renumbered(dict.fromkeys(taken, "") | document.names)
        except AnnotationError as error:
            show_error(str(error))
        else:
            self._take(named.labels, named.names)

    def _take(self, mask: NDArray[Any], names: Mapping[int, str] = MappingProxyType({})) -> None:
        try:
            take_mask(self._controller, mask, complete=self.complete.isChecked(), names=names)
        except AnnotationError as error:
            show_error(str(error))
        else:
            super().accept()

    def _show_choice(self) -> None:
        """Offer the frames that the chosen mask could be for."""
        controller, layer = self._controller, self.masks.currentData()
        self.frames.clear()
        self.frames.addItem(f"frame {controller.frame}, which is in view", False)
        if layer is not None and can_take_all(controller, layer):
            self.frames.addItem("all frames that hold something", True)

    def _show_note(self) -> None:
        whole = self.frames.currentData()
        self.note.setText(
            "The layer itself becomes an annotation layer: what is painted from now on may go there."
            if whole
            else "It replaces what is painted on the frame. Ctrl+Z brings that back."
        )
