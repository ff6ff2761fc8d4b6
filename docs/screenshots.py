"""Follows docs/tutorial.md in a real napari window, word for word, and takes its pictures.

    PYTHONPATH=benchmarks xvfb-run -a -s "-screen 0 1600x1000x24" python docs/screenshots.py

Menus and buttons are found by the words that a person reads, and strokes are painted with the mouse. So this stops
where the tutorial is wrong. It writes docs/images/.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import napari
import numpy as np
from napari.settings import get_plugin_settings, get_settings
from npe2 import PluginManager
from PIL import Image
from qtpy.QtCore import QPoint, Qt, QTimer
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QAbstractButton, QApplication, QFileDialog, QLineEdit, QListView, QMenu, QScrollArea, QWidget
from superqt import QCollapsible

from napari_pml.demo import make_clip
from responsiveness import Mouse, idle, wait_until

IMAGES = Path(__file__).resolve().parent / "images"
SIZE = 1240, 860  # of the window, in pixels
COLOURS = 256  # of a picture

ASTRONAUT = ((145, 100), (195, 100), (235, 95), (290, 80), (330, 130), (335, 190))
CUP = ((185, 375), (205, 400), (240, 390), (230, 440))
CAT = ((20, 350), (50, 385), (85, 415))
"""One stroke on each object, as (row, column) in the first frame."""
HELMET = ((308, 302), (304, 330), (318, 358))
"""And one in a later one, on what is missing there."""


class Tutorial:
    """A window, what a person does in it, and pictures of it."""

    def __init__(self) -> None:
        self.viewer = napari.Viewer(show=True)
        self.window = self.viewer.window._qt_window
        self.window.resize(*SIZE)
        self.mouse = Mouse(self.viewer)

    def choose(self, *words: str) -> None:
        """Choose from the menu bar: a menu, its submenus, an entry."""
        menu: QWidget = self.window.menuBar()
        for word in words:
            if isinstance(menu, QMenu):
                menu.aboutToShow.emit()
            action = next(a for a in menu.actions() if a.text().replace("&", "").split(" (")[0] == word)
            menu = action.menu()
        action.trigger()
        QApplication.processEvents()

    def open_panel(self) -> None:
        """Plugins > Segment video."""
        self.choose("Plugins", "Segment video")
        dock = next(d for name, d in self.viewer.window.dock_widgets.items() if name.startswith("Segment video"))
        self.panel = dock
        self.settle()
        self.viewer.reset_view()

    def press(self, word: str) -> None:
        """Press the button of the panel on which a word stands."""
        (button,) = (b for b in self.panel.findChildren(QAbstractButton) if b.text() == word and b.isVisible())
        assert button.isEnabled(), word
        QTest.mouseClick(button, Qt.MouseButton.LeftButton, pos=QPoint(8, button.height() // 2))
        QApplication.processEvents()

    def unfold(self, word: str) -> None:
        """Show a folded part of the panel."""
        (part,) = (c for c in self.panel.findChildren(QCollapsible) if c.text() == word)
        part.expand(animate=False)
        QApplication.processEvents()
        self.panel.findChild(QScrollArea).ensureWidgetVisible(part)

    def paint(self, stroke: tuple[tuple[float, float], ...]) -> None:
        """Paint with the mouse, and wait for the mask."""
        self.mouse.drag(*_dense(stroke))
        self.settle()

    def select(self, label: int) -> None:
        """Click an object in the list."""
        objects = self.panel.objects.findChild(QListView)
        QTest.mouseClick(
            objects.viewport(),
            Qt.MouseButton.LeftButton,
            pos=objects.visualRect(objects.model().index(label - 1, 0)).center(),
        )

    def settle(self) -> None:
        """Wait until nothing is being computed, and everything is drawn."""
        QTest.qWait(150)
        wait_until(lambda: idle(self.panel) and not self.panel.controller.jobs.propagating, 120)
        QTest.qWait(150)

    def go_to(self, t: int) -> None:
        """Show a frame."""
        self.viewer.dims.set_point(0, t)
        self.settle()

    def picture(self, name: str) -> None:
        """Take a picture of the whole window."""
        self.settle()
        self.window.grab().save(str(IMAGES / f"{name}.png"))
        with Image.open(IMAGES / f"{name}.png", formats=["PNG"]) as whole:
            few = whole.convert("RGB").quantize(COLOURS, kmeans=1, dither=Image.Dither.NONE)
        few.save(IMAGES / f"{name}.png", optimize=True)
        print(name, (IMAGES / f"{name}.png").stat().st_size // 1000, "kB", flush=True)

    def save_as(self, path: Path) -> None:
        """Press Save masks..., type a place into the dialog, and wait until it is written."""

        def answer() -> None:
            (dialog,) = (w for w in QApplication.topLevelWidgets() if isinstance(w, QFileDialog) and w.isVisible())
            line = dialog.findChild(QLineEdit)
            line.setText(str(path.absolute()))
            QTest.keyClick(line, Qt.Key.Key_Return)

        QTimer.singleShot(1000, answer)
        self.press("Save masks...")
        wait_until(path.exists, 60)

    def iou(self, label: int) -> float:
        """Return the mean intersection over union of an object over all frames."""
        masks = np.asarray(self.viewer.layers["demo clip masks"].data) == label
        truth = make_clip(*masks.shape, n_objects=3)[1] == label
        return float(((masks & truth).sum((1, 2)) / (masks | truth).sum((1, 2))).mean())


def _dense(stroke: tuple[tuple[float, float], ...]) -> list[tuple[float, float]]:
    """Return the points between corners too, as a hand makes them."""
    steps = np.linspace(0, len(stroke) - 1, 8 * len(stroke))
    rows, columns = np.transpose(stroke)
    return [(np.interp(s, range(len(rows)), rows), np.interp(s, range(len(rows)), columns)) for s in steps]


def follow(tutorial: Tutorial) -> None:
    """Do what docs/tutorial.md says."""
    viewer = tutorial.viewer
    tutorial.choose("File", "Open Sample", "Segment video with strokes", "Demo clip")
    tutorial.open_panel()
    tutorial.go_to(0)
    tutorial.picture("1-open")
    tutorial.press("Close")  # the hint at the tutorial
    tutorial.press("Brush")
    tutorial.paint(ASTRONAUT)
    tutorial.picture("2-stroke")
    tutorial.press("+ object")
    tutorial.paint(CUP)
    tutorial.press("+ object")
    tutorial.paint(CAT)
    tutorial.picture("3-objects")
    tutorial.press("Propagate")
    tutorial.settle()
    tutorial.picture("4-propagate")
    print("IoU", [round(tutorial.iou(label), 3) for label in (1, 2, 3)], flush=True)
    tutorial.press("Go to the least certain frame")
    tutorial.settle()
    print("least certain frame", tutorial.panel.controller.frame, flush=True)
    tutorial.select(1)
    tutorial.paint(HELMET)
    tutorial.picture("5-correct")
    tutorial.press("Propagate")
    tutorial.settle()
    print("IoU", [round(tutorial.iou(label), 3) for label in (1, 2, 3)], flush=True)
    tutorial.unfold("Results")
    tutorial.press("Table")
    wait_until(lambda: any(name.startswith("Features table") for name in viewer.window.dock_widgets), 60)
    tutorial.picture("6-results")
    tutorial.save_as(Path("masks.tif"))


def main() -> None:
    """Write all pictures, in a napari as it is on the first day."""
    IMAGES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as home:
        os.environ["XDG_DATA_HOME"] = home
        os.chdir(home)
        get_settings(path=None)
        PluginManager.instance().discover()
        get_plugin_settings(path_dir=home)
        tutorial = Tutorial()
        follow(tutorial)
        tutorial.viewer.close()


if __name__ == "__main__":
    main()
