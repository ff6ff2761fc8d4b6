"""Help: a button that opens the tutorial, and a hint for newcomers."""

from __future__ import annotations

from qtpy.QtCore import QUrl
from qtpy.QtGui import QDesktopServices
from qtpy.QtWidgets import QFrame, QHBoxLayout, QLabel, QPushButton, QToolButton, QVBoxLayout

from napari_pml.viewer.preferences import close_first_hint, wants_first_hint

TUTORIAL = "https://napari-pml.github.io/napari-pml/tutorial/"


def open_tutorial() -> None:
    """Show the tutorial in the browser."""
    QDesktopServices.openUrl(QUrl(TUTORIAL))


class HelpButton(QToolButton):
    """A question mark that opens the tutorial."""

    def __init__(self) -> None:
        super().__init__(text="?", toolTip=f"Open the tutorial in your browser\n{TUTORIAL}")
        self.clicked.connect(open_tutorial)


class FirstHint(QFrame):
    """Points a newcomer to the tutorial, until it is closed; closed once, it never comes again."""

    def __init__(self) -> None:
        super().__init__(frameShape=QFrame.Shape.StyledPanel)
        text = QLabel("New here? The tutorial takes five minutes.", wordWrap=True)
        self.read = QPushButton("Open the tutorial", toolTip=f"In your browser\n{TUTORIAL}")
        self.read.clicked.connect(open_tutorial)
        self.close_hint = QPushButton("Close", toolTip="Never show this again; '?' opens the tutorial, too")
        for button in (self.read, self.close_hint):
            button.clicked.connect(self._close)
        buttons = QHBoxLayout()
        buttons.addWidget(self.read)
        buttons.addWidget(self.close_hint)
        layout = QVBoxLayout(self)
        layout.addWidget(text)
        layout.addLayout(buttons)
        if not wants_first_hint():
            self.hide()

    def _close(self) -> None:
        self.hide()
        close_first_hint()
