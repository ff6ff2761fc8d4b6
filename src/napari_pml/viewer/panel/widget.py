"""What the person sees: one panel beside the viewer."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from napari.components import ViewerModel
from napari.layers import Image, Layer
from qtpy.QtCore import QEvent, QSignalBlocker, Qt
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QFrame,
    QHBoxLayout,
    QLabel,
    QListWidget,
    QListWidgetItem,
    QProgressBar,
    QPushButton,
    QScrollArea,
    QVBoxLayout,
    QWidget,
)
from superqt import QCollapsible

from napari_pml.viewer.control.controller import Controller
from napari_pml.viewer.control.projects import Projects
from napari_pml.viewer.document.document import why_unsuitable
from napari_pml.viewer.document.layers import Kind, shows_cells
from napari_pml.viewer.document.overview import Overview
from napari_pml.viewer.jobs.background import Background
from napari_pml.viewer.panel.activity import Activity
from napari_pml.viewer.panel.channel_dialog import ChannelDialog, has_choice
from napari_pml.viewer.panel.first_steps import FirstSteps
from napari_pml.viewer.panel.help import FirstHint, HelpButton
from napari_pml.viewer.panel.hints import hint, status
from napari_pml.viewer.panel.keys import bind_keys
from napari_pml.viewer.panel.look_inside import LookInside
from napari_pml.viewer.panel.mask_dialog import MaskDialog
from napari_pml.viewer.panel.object_bar import ObjectBar
from napari_pml.viewer.panel.project_bar import RestoreOffer, SaveBar
from napari_pml.viewer.panel.results_box import ResultsBox
from napari_pml.viewer.panel.settings_form import SettingsForm
from napari_pml.viewer.panel.timeline import Timeline
from napari_pml.viewer.panel.transfer_button import TransferButton


class SegmentationWidget(QWidget):
    """Choose a video, paint strokes, propagate."""

    def __init__(
        self,
        napari_viewer: "napari.viewer.Viewer",  # type: ignore[name-defined]  # noqa: F821, UP037  (napari reads it)
    ) -> None:
        """Show the panel for a viewer."""
        super().__init__()
        # napari passes a proxy whose layers are other objects than those in its events
        viewer: ViewerModel = getattr(napari_viewer, "__wrapped__", napari_viewer)
        self.background = Background()
        self.controller = Controller(viewer, self.background)
        self.activity = Activity()
        self.saving = Background()
        self.projects = Projects(self.controller, self.saving)
        self._viewer = viewer
        self._shown_sources: list[tuple[Layer, str, bool]] = []
        self._build()
        self.controller.changed.connect(self.refresh)
        self.projects.changed.connect(self.refresh)
        unbind, controller = self._bind_keys(), self.controller
        closing = [unbind, controller.close, self.background.drain, self.saving.drain, self.activity.close]
        self._shut = partial(_call_all, closing)
        self.destroyed.connect(lambda: controller.leave())  # a panel that was taken out has closed before
        self.destroyed.connect(self._shut)
        for event in ("inserted", "removed", "reordered", "renamed"):
            getattr(viewer.layers.events, event).connect(self._list_images)
        self._list_images()

    def _build(self) -> None:
        controller = self.controller
        self.images = QComboBox()
        self.images.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.images.setMinimumContentsLength(8)
        self.images.setToolTip("The image layer to segment: (time, rows, columns), grey or RGB")
        self.images.currentIndexChanged.connect(lambda: controller.choose_image(self.images.currentData()))

        self.channels = QPushButton("Choose channels...")
        self.channels.setToolTip("Choose which channels or slices the network sees, in a layer of their own")
        self.channels.clicked.connect(self._choose_channels)

        self.help, self.first_hint = HelpButton(), FirstHint()
        self.hint, self.problem = QLabel(wordWrap=True), QLabel(wordWrap=True)
        self.problem.setTextFormat(Qt.TextFormat.PlainText)
        self.try_again = QPushButton("Try again", toolTip="Do what failed once more, now that its cause is mended")
        self.try_again.clicked.connect(controller.try_again)
        self.first_steps = FirstSteps(self._viewer)
        self.objects = ObjectBar(controller)
        self.tools = QWidget()
        tools = QHBoxLayout(self.tools)
        tools.setContentsMargins(0, 0, 0, 0)
        self._tool_buttons: dict[Kind, QPushButton] = {}
        tools_offered: tuple[tuple[Kind, str], ...] = (
            ("brush", "Paint strokes, fill areas, erase (a Labels layer)"),
            ("points", "Click on objects (a Points layer)"),
            ("shapes", "Outline areas, draw lines (a Shapes layer)"),
        )
        for kind, tip in tools_offered:
            button = self._tool_buttons[kind] = QPushButton(kind.capitalize(), toolTip=tip, checkable=True)
            button.clicked.connect(lambda _, kind=kind: self._draw_with(kind))
            tools.addWidget(button)
        self.complete = QCheckBox("This frame is complete")
        self.complete.setToolTip("Everything unpainted on this frame is background")
        self.complete.clicked.connect(controller.mark_complete)
        self.take_mask = QPushButton("Take a mask as annotation...")
        self.take_mask.setToolTip("For this frame or all: from a Labels layer, or from a PNG, TIFF or .npy file")
        self.take_mask.clicked.connect(lambda: MaskDialog(controller, self).open())

        self.learn = TransferButton(controller)

        self.propagate = QPushButton()
        self.propagate.setToolTip("Segment the whole video, from this frame outward; pause; go on")
        self.propagate.clicked.connect(self._propagate_or_pause)
        self.progress = QProgressBar(textVisible=False)
        self.progress_text = QLabel(wordWrap=True)
        self.timeline = Timeline()
        self.timeline.chosen.connect(controller.go_to)
        self.suggest = QPushButton("Go to the least certain frame")
        self.suggest.setToolTip("A stroke there helps most")
        self.suggest.clicked.connect(controller.go_to_suggestion)

        self.sources = QListWidget()
        self.sources.itemChanged.connect(
            lambda item: controller.use_layer(
                item.data(Qt.ItemDataRole.UserRole), item.checkState() == Qt.CheckState.Checked
            )
        )
        self.sources.setSizeAdjustPolicy(QListWidget.SizeAdjustPolicy.AdjustToContents)
        source_box = QCollapsible("Annotation layers", expandedIcon="▼", collapsedIcon="▶")
        source_box.setToolTip("Which layers count as annotations; tick one of your own to use it, too")
        source_box.addWidget(self.sources)
        source_box.layout().setContentsMargins(0, 0, 0, 0)
        self.results = ResultsBox(self._viewer, controller)
        self.look_inside = LookInside(controller)
        self.settings = SettingsForm()
        self.settings.changed.connect(controller.configure)
        self.settings.network_chosen.connect(controller.choose_network)
        self.status = QLabel(wordWrap=True)
        self.restore, self.save = RestoreOffer(self.projects), SaveBar(controller, self.projects)

        self.work_area = QWidget()
        painting = self.objects, self.tools, self.complete, self.take_mask, self.learn
        propagating = self.propagate, self.progress, self.progress_text, self.timeline, self.suggest
        folds = self.results, self.look_inside, source_box, self.settings
        _stack(self.work_area, *painting, *propagating, *folds, self.save, self.status).setContentsMargins(0, 0, 0, 0)
        top = QHBoxLayout()
        top.addWidget(QLabel("Video"))
        top.addWidget(self.images, stretch=1)
        top.addWidget(self.help)
        content = QWidget()
        above = self.first_hint, self.channels, self.restore, self.hint, self.problem, self.try_again, self.first_steps
        layout = _stack(content, *above, self.work_area)
        layout.insertLayout(0, top)
        layout.addStretch()
        scroll = QScrollArea(widgetResizable=True, frameShape=QFrame.Shape.NoFrame)
        scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        scroll.setWidget(content)
        outer = QVBoxLayout(self)
        outer.setContentsMargins(0, 0, 0, 0)
        outer.addWidget(scroll)
        self.setMinimumWidth(280)

    def _list_images(self, event: object = None) -> None:
        """Offer every image layer, and choose a suitable one if none is chosen."""
        images = [layer for layer in self._viewer.layers if isinstance(layer, Image) and not shows_cells(layer)]
        chosen = self.images.currentData()
        if chosen not in images or why_unsuitable(chosen):
            videos = [image for image in images if not why_unsuitable(image)]
            chosen = next(iter(videos + images), None)
        with QSignalBlocker(self.images):
            self.images.clear()
            for image in images:
                self.images.addItem(image.name, image)
            self.images.setCurrentIndex(images.index(chosen) if images else -1)
        self.controller.choose_image(chosen)

    def _bind_keys(self) -> Callable[[], None]:
        keys = {
            "N": partial(self.objects.step, 1),
            "Shift-N": partial(self.objects.step, -1),
            "G": self.objects.background,
            "K": self.complete,
            "W": self.propagate,
            "U": self.suggest,
        }
        return bind_keys(self._viewer, keys)

    def _choose_channels(self) -> None:
        dialog = ChannelDialog(self.images.currentData(), self._viewer, self)
        dialog.accepted.connect(lambda: self.images.setCurrentIndex(self.images.findData(dialog.made)))
        dialog.open()

    def _draw_with(self, kind: Kind) -> None:
        self.controller.draw_with(kind)
        self.refresh()  # the button of the tool in use stays down when pressed again

    def refresh(self) -> None:
        """Show everything as it is now."""
        controller, document = self.controller, self.controller.document
        self.channels.setVisible(has_choice(self.images.currentData(), self._viewer))
        self.hint.setText(hint(controller))
        self.status.setText(status(controller))
        self.problem.setText(str(controller.jobs.problems))
        for shown in (self.problem, self.try_again):
            shown.setVisible(bool(self.problem.text()))
        self.first_steps.setVisible(self.images.count() == 0)
        self.work_area.setVisible(document is not None)
        self.objects.show_objects()
        self.learn.refresh()
        self.complete.setChecked(document is not None and controller.frame in document.complete)
        propagating, paused = controller.jobs.propagating, controller.jobs.paused
        self.propagate.setText("Pause" if propagating else "Resume" if paused else "Propagate")
        self.propagate.setEnabled(document is not None and document.is_drawn_on)
        self.suggest.setEnabled(document is not None and document.masks is not None and not propagating)
        for kind, button in self._tool_buttons.items():
            button.setChecked(kind == controller.tool)
        self.settings.show_config(controller.jobs.settings(document))
        if document is not None and document.session is not None:
            session = document.session
            self.settings.show_network(session.embedder.name, session.resolution, session.video.shape[1:])
        self.results.refresh()
        self.look_inside.refresh()
        self.projects.look()
        self.restore.refresh()
        self.save.refresh()
        self._show_progress()
        self._list_sources()

    def _propagate_or_pause(self) -> None:
        work = self.controller.jobs
        (work.pause if work.propagating else self.controller.propagate)()

    def _show_progress(self) -> None:
        work, document = self.controller.jobs, self.controller.document
        progress = work.learning or work.progress
        self.progress.setVisible(progress is not None)
        self.progress_text.setVisible(progress is not None)
        if progress is not None:
            self.progress.setMaximum(progress.total)
            self.progress.setValue(progress.done)
            at_work = work.propagating or work.learning is not None
            self.progress_text.setText(str(progress) if at_work else progress.counted + ", paused" * work.paused)
        self.activity.show(work.progress if work.propagating else None)
        session = document and document.session
        self.timeline.show_frames(Overview.of(session) if session else None, self.controller.frame if session else 0)

    def _list_sources(self) -> None:
        document, layers = self.controller.document, self.controller.candidates()
        sources = document.sources if document is not None else ()
        shown = [(layer, layer.name, layer in sources) for layer in layers]
        if shown == self._shown_sources:
            return
        self._shown_sources = shown
        with QSignalBlocker(self.sources):
            self.sources.clear()
            for layer, name, used in shown:
                item = QListWidgetItem(name, self.sources)
                item.setData(Qt.ItemDataRole.UserRole, layer)
                item.setCheckState(Qt.CheckState.Checked if used else Qt.CheckState.Unchecked)

    def changeEvent(self, event: QEvent) -> None:
        """When napari takes the panel out of the window, it is not wanted any more."""
        super().changeEvent(event)
        if event.type() == QEvent.Type.ParentChange and self.parent() is None:
            self.look_inside.shut()
            self._shut()


def _stack(parent: QWidget, *widgets: QWidget) -> QVBoxLayout:
    """Put widgets below each other into a parent."""
    layout = QVBoxLayout(parent)
    for widget in widgets:
        layout.addWidget(widget)
    return layout


def _call_all(functions: list[Callable[[], None]]) -> None:
    """Call functions in order, each once: a panel that was taken out of its window is destroyed later, too."""
    while functions:
        functions.pop(0)()
