"""Dialog to choose what the network sees: a channel, a slice, or up to three of them as colours."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

from napari.components import ViewerModel
from napari.layers import Image
from qtpy.QtCore import QSignalBlocker, Qt
from qtpy.QtWidgets import QCheckBox, QComboBox, QDialog, QDialogButtonBox, QFormLayout, QLabel, QSpinBox, QWidget

from napari_pml.viewer.document.channels import Plane, combined, layer_of, layers_like, planes_of
from napari_pml.viewer.document.prompts import is_stack, long_axes, video_data
from napari_pml.viewer.jobs.background import Background

if TYPE_CHECKING:
    from napari_pml.video.video import LayerData

_COLOURS = ("Red", "Green", "Blue")


class ChannelDialog(QDialog):
    """Choose channels of one image, or images of one size; `accept` adds the new layer to the viewer.

    Attributes:
        made: the new layer, once there is one.
    """

    def __init__(self, image: Image, viewer: ViewerModel, parent: QWidget) -> None:
        super().__init__(parent)
        self.setWindowTitle("Choose channels")
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)  # it knows layers, which may be large
        self._image, self._viewer, self._reader = image, viewer, Background()
        self.made: Image | None = None
        self._planes: list[Plane] = []
        form = QFormLayout(self)
        self.time, self.across = QComboBox(), QComboBox()
        self.places: dict[int, QSpinBox] = {}  # where to look along each further axis
        self.remove = QCheckBox("Take the original out of the viewer")
        self.remove.setToolTip("Where time is not the axis before the last two, its sliders and the new layer's differ")
        if is_stack(image):
            time, across = _guess(image)
            for box, axis in ((self.time, time), (self.across, across)):
                box.addItems([_axis_name(image, i) for i in range(image.ndim)])
                box.setCurrentIndex(axis)
                box.currentIndexChanged.connect(self._list_planes)
            form.addRow("Time", self.time)
            form.addRow("Channels or slices", self.across)
            for axis in _further(image):
                place = QSpinBox()
                place.setRange(0, video_data(image).shape[axis] - 1)
                place.setValue(place.maximum() // 2)
                place.valueChanged.connect(self._list_planes)
                self.places[axis] = place
                form.addRow(_axis_name(image, axis), place)
        self.colours = [QComboBox() for _ in _COLOURS]
        for name, box in zip(_COLOURS, self.colours, strict=True):
            box.currentIndexChanged.connect(self._show_whether_complete)
            form.addRow(name, box)
        form.addRow(QLabel("Choose one alone for a grey video.", wordWrap=True))
        if is_stack(image):
            form.addRow(self.remove)
        self.buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Ok | QDialogButtonBox.StandardButton.Cancel)
        self.buttons.accepted.connect(self.accept)
        self.buttons.rejected.connect(self.reject)
        form.addRow(self.buttons)
        self._list_planes()

    def accept(self) -> None:
        """Read some frames in the background, then add the new layer."""
        planes = [box.currentData() for box in self.colours]

        def read() -> Iterator[LayerData]:
            yield combined(planes)

        self.setEnabled(False)
        self._reader.start(read, lambda data: self._add(layer_of(data, planes)), partial(self.setEnabled, True))

    def done(self, result: int) -> None:
        """Close, and read no more."""
        self._reader.drain()
        super().done(result)

    def _add(self, layer: Image) -> None:
        self.made = layer
        if self.remove.isChecked():
            self._viewer.layers.remove(self._image)
        self._viewer.add_layer(layer)
        super().accept()

    def _list_planes(self) -> None:
        """Offer the channels, the first three as colours; of many slices the one in the middle."""
        if is_stack(self._image):
            time, across = self.time.currentIndex(), self.across.currentIndex()
            places = {axis: box.value() for axis, box in self.places.items()}
            for axis, box in self.places.items():
                box.setEnabled(axis not in (time, across))
            others = {axis: place for axis, place in places.items() if axis not in (time, across)}
            self._planes = planes_of(self._image, time, across, others) if time != across else []
            self.remove.setChecked(time != 1)
        else:
            self._planes = _alike(self._image, self._viewer)
        n = len(self._planes)
        chosen = list(range(n)) if n <= len(_COLOURS) else [n // 2]
        for i, box in enumerate(self.colours):
            with QSignalBlocker(box):
                box.clear()
                box.addItem("-", None)
                for plane in self._planes:
                    box.addItem(plane.name if not plane.others else f"number {plane.name}", plane)
                box.setCurrentIndex(chosen[i] + 1 if i < len(chosen) else 0)
        self._show_whether_complete()

    def _show_whether_complete(self) -> None:
        complete = any(box.currentData() is not None for box in self.colours)
        self.buttons.button(QDialogButtonBox.StandardButton.Ok).setEnabled(complete)


def has_choice(image: Image | None, viewer: ViewerModel) -> bool:
    """Return whether there is something to choose: a fourth axis, or other grey videos of the same size."""
    return image is not None and (is_stack(image) or len(_alike(image, viewer)) > 1)


def _alike(image: Image, viewer: ViewerModel) -> list[Plane]:
    return layers_like(image, [layer for layer in viewer.layers if isinstance(layer, Image)])


def _guess(image: Image) -> tuple[int, int]:
    """Return the axes that are probably time, and channels or slices: by their names, else by their lengths."""
    labels = [label.lower() for label in image.axis_labels]
    shape = video_data(image).shape
    front = [axis for axis in long_axes(image) if axis < image.ndim - 2] or list(range(image.ndim - 2))
    shortest = min(front, key=lambda axis: shape[axis])
    across = next((i for letter in "cz" for i, label in enumerate(labels) if label[:1] == letter), shortest)
    others = [axis for axis in front if axis != across] or [axis for axis in range(image.ndim) if axis != across]
    time = next((i for i, label in enumerate(labels) if label[:1] == "t"), others[0])
    return time, across


def _further(image: Image) -> list[int]:
    """Return the axes along which a place has to be chosen, if neither time nor channels lie on them."""
    return long_axes(image)[:-2] if len(long_axes(image)) > 4 else []


def _axis_name(image: Image, axis: int) -> str:
    label = image.axis_labels[axis]
    return f"{f'axis {axis + 1}' if label.startswith('-') else label}, {video_data(image).shape[axis]} long"
