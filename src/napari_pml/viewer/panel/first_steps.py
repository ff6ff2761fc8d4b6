"""First steps, shown while there is no video."""

from __future__ import annotations

from napari.components import ViewerModel
from qtpy.QtWidgets import QLabel, QPushButton, QVBoxLayout, QWidget

from napari_pml.viewer.preferences import PLUGIN

_STEPS = (
    "<ol style='margin-left: -22px'><li>Open a video.</li><li>Paint a stroke on an object: the frame's mask appears."
    "</li><li>Press <b>Propagate</b>: the rest of the video follows.</li></ol>"
)


class FirstSteps(QWidget):
    """The three steps from a video to its masks, and a clip to try them on."""

    def __init__(self, viewer: ViewerModel) -> None:
        """Offer to open the clip in `viewer`."""
        super().__init__()
        self._viewer = viewer
        self.demo = QPushButton("Open the demo clip")
        self.demo.setToolTip("A short video that is made on this computer; nothing is downloaded")
        self.demo.clicked.connect(self._open)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(QLabel(_STEPS, wordWrap=True))
        layout.addWidget(self.demo)

    def _open(self) -> None:
        self._viewer.open_sample(PLUGIN, "demo_clip")
        self._viewer.dims.set_point(0, 0)  # napari begins in the middle
