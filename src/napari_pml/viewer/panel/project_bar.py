"""What the panel shows of projects: an offer to restore earlier work, and where the present work is saved."""

from __future__ import annotations

from pathlib import Path

from qtpy.QtWidgets import QFileDialog, QLabel, QPushButton, QVBoxLayout, QWidget

from napari_pml.store.project_record import SUFFIX
from napari_pml.viewer.control.controller import Controller
from napari_pml.viewer.control.projects import Projects
from napari_pml.viewer.document import autosave
from napari_pml.viewer.panel.save_dialog import folder_of


class RestoreOffer(QPushButton):
    """A button that is there as long as there is earlier work on the chosen video."""

    def __init__(self, projects: Projects) -> None:
        super().__init__()
        self._projects = projects
        self.clicked.connect(projects.restore)
        self.refresh()

    def refresh(self) -> None:
        """Show the offer as it is now."""
        offer = self._projects.offer
        self.setVisible(offer is not None)
        if offer is not None:
            self.setText(f"Restore the work of {offer.date.day} {offer.date:%b, %H:%M}")
            self.setToolTip(
                f"Until {offer.date:%Y-%m-%d %H:%M} you annotated {len(offer.record.frames)} frames of this video. "
                f"Strokes and masks come back as layers, and saving goes on there.\n{offer.path}"
            )


class SaveBar(QWidget):
    """Where the work is saved, and a button to save it elsewhere."""

    def __init__(self, controller: Controller, projects: Projects) -> None:
        super().__init__()
        self._controller, self._projects = controller, projects
        self.place = QLabel(wordWrap=True)
        self.save = QPushButton("Save project as...")
        self.save.setToolTip("Save strokes, masks and settings in a folder of your choice, and go on saving there")
        self.save.clicked.connect(self._choose_place)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.save)
        layout.addWidget(self.place)
        self.refresh()

    def refresh(self) -> None:
        """Show everything as it is now."""
        document, saving = self._controller.document, self._projects.saving
        session = document.session if document is not None else None
        self.save.setEnabled(session is not None and not saving)
        project = session.project if session is not None else None
        self.place.setVisible(session is not None)
        self.place.setToolTip(str(project.path) if project is not None else "")
        if saving:
            self.place.setText("Saving the project...")
        elif project is None:
            self.place.setText("Your work is not saved. Save the project to a place of your choice.")
        elif project.path.parent == autosave.folder():
            self.place.setText("Your work is saved automatically.")
        else:
            self.place.setText(f"Your work is saved in {project.path.name}.")

    def _choose_place(self) -> None:
        image = self._controller.chosen.image
        suggestion = str(folder_of(image) / f"{image.name}{SUFFIX}")
        chosen, _ = QFileDialog.getSaveFileName(self, "Save project as", suggestion, f"Project (*{SUFFIX})")
        if chosen:
            name = chosen if chosen.endswith(SUFFIX) else chosen + SUFFIX
            self._projects.save_as(Path(name))
