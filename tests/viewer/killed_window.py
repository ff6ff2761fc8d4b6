"""Draws in a real window, propagates, and is killed in the middle: `python killed_window.py MOVIE.npy`."""

import os
import signal
import sys
import time
from collections.abc import Callable

import napari
import numpy as np
from napari.settings import get_settings
from qtpy.QtWidgets import QApplication

from actions import stroke
from napari_pml.types import BACKGROUND

PATIENCE_S = 60


def wait_until(happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not happened():
        assert time.monotonic() < deadline
        QApplication.processEvents()


def main() -> None:
    get_settings(path=None)
    viewer = napari.Viewer()
    viewer.add_image(np.load(sys.argv[1]), name="clip")
    viewer.dims.set_point(0, 0)
    _, panel = viewer.window.add_plugin_dock_widget("napari-pml")
    controller = panel.controller
    controller.choose_label(1)
    stroke(viewer, 1, 0, 8, 6)
    stroke(viewer, BACKGROUND, 0, 14, 6)
    controller.choose_label(2)
    controller.draw_with("points")
    viewer.layers["clip points"].add([[0, 19, 25]])
    controller.draw_with("shapes")
    viewer.layers["clip shapes"].add([[3, 17, 22], [3, 17, 28], [3, 21, 28], [3, 21, 22]], shape_type="rectangle")
    wait_until(lambda: controller.document.session is not None and not controller.document.is_dirty)
    viewer.dims.set_point(0, 5)
    controller.choose_label(1)
    controller.draw_with("brush")
    strokes = viewer.layers["clip strokes"]
    strokes.data_setitem((np.full(80, 5), *(a.ravel() for a in np.mgrid[4:12, 17:27])), 1)
    controller.mark_complete(True)
    panel.propagate.click()
    wait_until(lambda: controller.document.frames_done == 6 and not controller.jobs.propagating)
    stroke(viewer, 1, 2, 7, 12)
    wait_until(lambda: 2 in controller.document.session.project.record.frames)
    panel.propagate.click()
    wait_until(lambda: 2 <= controller.document.frames_done < 6)
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    main()
