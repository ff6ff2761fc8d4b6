"""A button with which what was annotated on one video counts for another."""

from __future__ import annotations

from pathlib import Path

from qtpy.QtWidgets import QFileDialog, QPushButton

from napari_pml.viewer.control.controller import Controller
from napari_pml.viewer.document import autosave


class TransferButton(QPushButton):
    """Asks for a project and takes its references over; pressed again, forgets them."""

    def __init__(self, controller: Controller) -> None:
        super().__init__()
        self._controller = controller
        self.clicked.connect(self._clicked)
        self.refresh()

    def refresh(self) -> None:
        """Show what a click does now."""
        document = self._controller.document
        self.setEnabled(document is not None)
        if self._has_transferred:
            self.setText("Forget transferred references")
            self.setToolTip("Segment from what is annotated on this video alone")
        else:
            self.setText("Transfer references...")
            self.setToolTip("Let what is annotated in a project (.pml.zarr) count for this video too")

    @property
    def _has_transferred(self) -> bool:
        document = self._controller.document
        session = document.session if document is not None else None
        return session is not None and session.transferred is not None

    def _clicked(self) -> None:
        if self._has_transferred:
            self._controller.transfer_from(None)
            return
        path = QFileDialog.getExistingDirectory(self, "Open the project of another video", str(autosave.folder()))
        if path:
            self._controller.transfer_from(Path(path))
