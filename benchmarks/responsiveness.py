"""How late the window is, and how soon a stroke becomes a mask, while a video is segmented in a real napari window.

    xvfb-run -a -s "-screen 0 1600x1000x24" python benchmarks/responsiveness.py

A timer that should tick every 10 ms notes how late each tick is, while somebody scrubs ten times a second and paints
every two seconds. Whatever keeps the timer waiting keeps a person waiting. The first line is what napari itself takes
for scrubbing, with the image alone: without a graphics card, drawing the window costs more than anything else.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from itertools import count

import napari
import numpy as np
from qtpy.QtCore import QEvent, QEventLoop, QPointF, Qt, QTimer
from qtpy.QtGui import QMouseEvent
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication

from napari_pml.demo import make_clip

HEIGHT, WIDTH = 480, 854
TICK_MS = 10


def wait_until(condition: Callable[[], bool], seconds: float = 600) -> None:
    """Let the window live until something is true; it is asked every 5 ms."""
    loop, end = QEventLoop(), time.monotonic() + seconds
    timer = QTimer(interval=5)
    timer.timeout.connect(lambda: loop.quit() if condition() or time.monotonic() > end else None)
    timer.start()
    loop.exec()
    timer.stop()
    if not condition():
        raise TimeoutError("the viewer did not get there")


class Mouse:
    """Draws on the canvas."""

    def __init__(self, viewer: napari.Viewer) -> None:
        self._canvas = viewer.window._qt_viewer.canvas

    def drag(self, *path: tuple[float, float]) -> None:
        """Press the left button at the first (row, column), move along the path, release at its end."""
        left, none, kinds = Qt.MouseButton.LeftButton, Qt.MouseButton.NoButton, QEvent.Type
        self._send(kinds.MouseMove, path[0], none, none)
        self._send(kinds.MouseButtonPress, path[0], left, left)
        for place in path[1:]:
            QTest.qWait(6)  # napari takes note of a movement every 5 ms
            self._send(kinds.MouseMove, place, none, left)
        self._send(kinds.MouseButtonRelease, path[-1], left, none)

    def _send(self, kind: QEvent.Type, place: tuple[float, float], button: object, buttons: object) -> None:
        to_canvas = self._canvas.view.transform * self._canvas.view.scene.transform
        point = QPointF(*map(float, to_canvas.map(place[::-1])[:2]))
        where = QPointF(self._canvas.native.mapToGlobal(point.toPoint()))
        event = QMouseEvent(kind, point, where, button, buttons, Qt.KeyboardModifier.NoModifier)
        QApplication.sendEvent(self._canvas.native, event)


class Lateness:
    """Milliseconds by which every tick of a timer came late."""

    def __init__(self) -> None:
        self.late: list[float] = []
        self._due = time.perf_counter() + TICK_MS / 1000
        self._timer = QTimer(interval=TICK_MS, timerType=Qt.TimerType.PreciseTimer)
        self._timer.timeout.connect(self._tick)
        self._timer.start()

    def _tick(self) -> None:
        now = time.perf_counter()
        self.late.append(max(0.0, 1000 * (now - self._due)))
        self._due = now + TICK_MS / 1000

    def stop(self) -> None:
        """Measure no more."""
        self._timer.stop()


def spread(values: list[float]) -> str:
    median, p95, p99 = np.percentile(values, (50, 95, 99))
    return f"median {median:6.1f}   95 % {p95:6.1f}   99 % {p99:6.1f}   max {max(values):6.1f} ms   ({len(values)})"


def measure_lateness(panel, viewer, mouse: Mouse, seconds: float, what: str) -> None:
    """Do some of "propagating", "scrubbing", "painting" for a while; print how late the window was."""
    controller = panel.controller
    if "propagating" in what:
        controller.propagate()
        wait_until(lambda: controller.jobs.propagating)
    masks = 0
    arrived = controller.jobs._arrived

    def counting(*args: object) -> None:
        nonlocal masks
        masks += 1
        arrived(*args)

    controller.jobs._arrived = counting
    n_frames, steps, strokes = viewer.dims.nsteps[0], count(), count()
    scrubbing, painting = QTimer(interval=100), QTimer(interval=2000)
    scrubbing.timeout.connect(lambda: viewer.dims.set_point(0, next(steps) * 7 % n_frames))

    def paint_something() -> None:
        y = 20 + 13 * next(strokes) % 60
        scrubbing.stop()  # on another frame a stroke would go on there, and be painted on all between
        mouse.drag(*((y, x) for x in range(100, 200, 10)))
        if "scrubbing" in what:
            scrubbing.start()

    painting.timeout.connect(paint_something)
    if "scrubbing" in what:
        scrubbing.start()
    if "painting" in what:
        painting.start()
    lateness, began = Lateness(), time.monotonic()
    wait_until(lambda: time.monotonic() - began > seconds)
    took = time.monotonic() - began
    for timer in (lateness, scrubbing, painting):
        timer.stop()
    controller.jobs._arrived = arrived
    pace = f"   {masks / took:.2f} masks per second" if "propagating" in what else ""
    print(f"{what:40} {spread(lateness.late)}{pace}", flush=True)


def measure_strokes(panel, viewer, mouse: Mouse, t: int, repeats: int) -> None:
    """Paint short strokes on frame t, one after the other; print how soon each one's mask was there."""
    document = panel.controller.document
    session = document.session
    viewer.dims.set_point(0, t)
    wait_until(lambda: idle(panel))
    in_layer, on_screen = [], []
    for i in range(repeats):
        before = session.annotations.revision
        y, x = 30 + 7 * (i % 10), 60 + 30 * (i // 10)
        mouse.drag((y, x), (y, x + 10), (y, x + 20))
        released = time.perf_counter()
        shown = []
        document.masks.events.set_data.connect(lambda _, shown=shown: shown.append(time.perf_counter()))
        wait_until(lambda b=before, s=shown: session.annotations.revision > b and bool(s))
        viewer.window._qt_viewer.canvas.native.repaint()
        in_layer.append(1000 * (shown[0] - released))
        on_screen.append(1000 * (time.perf_counter() - released))
        document.masks.events.set_data.disconnect()
        wait_until(lambda: idle(panel))
    print(f"{'stroke to mask in the layer':40} {spread(in_layer)}")
    print(f"{'stroke to mask on the screen':40} {spread(on_screen)}", flush=True)


def idle(panel) -> bool:
    background = panel.background
    return background._task is None and not background._timer.isActive()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=30, help="of each part")
    parser.add_argument("--frames", type=int, default=300)
    parser.add_argument("--strokes", type=int, default=30)
    arguments = parser.parse_args()
    clip, masks = make_clip(30, HEIGHT, WIDTH)
    there_and_back = 29 - np.abs(np.arange(arguments.frames) % 58 - 29)

    viewer = napari.Viewer(show=True)
    viewer.window._qt_window.resize(1500, 950)
    viewer.add_image(clip[there_and_back], name="clip", rgb=True)
    _, panel = viewer.window.add_plugin_dock_widget("napari-pml")
    measure_lateness(panel, viewer, Mouse(viewer), arguments.seconds, "scrubbing")  # what napari itself takes
    controller, mouse = panel.controller, Mouse(viewer)
    viewer.dims.set_point(0, 0)
    controller.choose_label(1)
    strokes = viewer.layers["clip strokes"]
    strokes.data[0] = masks[there_and_back[0]]
    strokes.refresh()
    controller.mark_complete(True)
    wait_until(lambda: "clip masks" in viewer.layers and idle(panel))
    import torch

    print(f"load {os.getloadavg()[0]:.2f}, {os.cpu_count()} cores, {torch.get_num_threads()} threads", flush=True)
    viewer.dims.set_point(0, 1)
    wait_until(lambda: idle(panel))
    measure_strokes(panel, viewer, mouse, 1, arguments.strokes)
    for what in ("propagating", "propagating, scrubbing", "propagating, scrubbing, painting"):
        measure_lateness(panel, viewer, mouse, arguments.seconds, what)
        controller.jobs.cancel()
        wait_until(lambda: idle(panel))
    print(f"load {os.getloadavg()[0]:.2f}", flush=True)
    viewer.close()


if __name__ == "__main__":
    main()
