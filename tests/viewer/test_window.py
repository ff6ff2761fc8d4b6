"""A real window, a real mouse, and for the first journey the real network too."""

import re
import sys
import threading
from dataclasses import replace
from subprocess import run

import numpy as np
import pytest
import tifffile
import zarr
from qtpy.QtCore import QEvent, QPointF, Qt
from qtpy.QtGui import QMouseEvent
from qtpy.QtWidgets import QApplication

import napari_pml
from actions import begin, stroke
from napari_pml import METHODS
from napari_pml.demo import make_clip
from napari_pml.errors import VideoError
from napari_pml.types import BACKGROUND
from napari_pml.viewer.panel.widget import SegmentationWidget
from stand_ins import FakeSession, FakeVideo

PATIENCE_MS = 60_000


@pytest.fixture
def open_panel(make_napari_viewer, qtbot):
    """Open a window with a video and the panel beside it."""

    def open_it(video: np.ndarray, **options):
        viewer = make_napari_viewer(show=True)
        viewer.add_image(video, name="clip", **options)
        viewer.dims.set_point(0, 0)
        _, panel = viewer.window.add_plugin_dock_widget("napari-pml")
        qtbot.wait(200)  # the canvas gives the panel room; only then is it known where things are
        viewer.reset_view()
        return viewer, panel

    return open_it


def drag(viewer, *path: tuple[float, float]) -> None:
    """Press the left button at the first (row, column), move along the path, release at its end."""
    canvas = viewer.window._qt_viewer.canvas
    to_canvas = canvas.view.transform * canvas.view.scene.transform
    points = [QPointF(*map(float, to_canvas.map((x, y))[:2])) for y, x in path]
    left, none = Qt.MouseButton.LeftButton, Qt.MouseButton.NoButton
    kinds = QEvent.Type

    def send(kind, point, button, buttons):
        event = QMouseEvent(kind, point, QPointF(canvas.native.mapToGlobal(point.toPoint())), button, buttons,
                            Qt.KeyboardModifier.NoModifier)  # fmt: skip
        QApplication.sendEvent(canvas.native, event)
        QApplication.processEvents()  # or napari takes several moves for one

    send(kinds.MouseMove, points[0], none, none)
    send(kinds.MouseButtonPress, points[0], left, left)
    for point in points[1:]:
        send(kinds.MouseMove, point, none, left)
    send(kinds.MouseButtonRelease, points[-1], left, none)


def iou(viewer, t: int, truth: np.ndarray, label: int = 1) -> float:
    mask = np.asarray(viewer.layers["clip masks"].data[t]) == label
    return (mask & truth).sum() / (mask | truth).sum()


def idle(panel) -> bool:
    """Whether everything that was drawn has been worked through."""
    background = panel.background
    return background._task is None and not background._timer.isActive()


def test_the_journey_of_a_stroke(open_panel, qtbot):
    frames, masks = make_clip(n_frames=8)
    viewer, panel = open_panel(frames, rgb=True)
    controller = panel.controller

    panel.objects.select(1)
    assert "stroke" in panel.hint.text()
    drag(viewer, (160, 60), (200, 70), (205, 110))
    drag(viewer, (95, 82), (115, 90))
    panel.objects.background.click()
    drag(viewer, (60, 200), (150, 220), (215, 230))
    drag(viewer, (20, 20), (100, 20))
    qtbot.wait_until(lambda: idle(panel), timeout=PATIENCE_MS)
    assert iou(viewer, 0, masks[0] == 1) > 0.65
    assert "CPU" in panel.status.text() or "GPU" in panel.status.text()

    qtbot.mouseClick(panel.propagate, Qt.MouseButton.LeftButton)
    assert panel.propagate.text() == "Pause"
    qtbot.wait_until(lambda: not controller.jobs.propagating, timeout=PATIENCE_MS)
    assert panel.progress_text.text() == "8 of 8 frames"
    assert np.mean([iou(viewer, t, masks[t] == 1) for t in range(8)]) > 0.65

    strokes = viewer.layers["clip strokes"]
    revision = controller.document.session.annotations.revision
    for _ in range(2):
        qtbot.keyClick(viewer.window._qt_viewer.canvas.native, Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    assert not (np.asarray(strokes.data[0]) == BACKGROUND).any()
    qtbot.wait_until(lambda: idle(panel), timeout=PATIENCE_MS)
    assert controller.document.session.annotations.revision > revision
    assert not (controller.document.session.annotations.frames[0] == BACKGROUND).any()


def test_looking_through_the_video_after_a_stroke_leaves_finished_masks_to_be_saved(
    open_panel, qtbot, tmp_path, monkeypatch
):
    viewer, panel = open_panel(make_clip(5, 60, 80)[0], rgb=True)
    controller, said = panel.controller, []
    monkeypatch.setattr("napari_pml.viewer.panel.results_box.show_info", said.append)
    monkeypatch.setattr("napari_pml.viewer.panel.results_box.ask_where", lambda *_: tmp_path / "masks.tif")

    def paint(*strokes: tuple[int, int, int]) -> None:
        for label, y, x in strokes:
            stroke(viewer, label, 0, y, x)
        qtbot.wait_until(lambda: idle(panel), timeout=PATIENCE_MS)

    def save() -> str:
        panel.results.save.click()
        qtbot.wait_until(panel.results.save.isEnabled, timeout=PATIENCE_MS)
        return said.pop()

    controller.choose_label(1)
    paint((1, 30, 20), (BACKGROUND, 5, 5), (BACKGROUND, 55, 75))
    assert save().endswith("; 4 of 5 frames have no finished mask and are empty: propagate first")
    controller.propagate()
    qtbot.wait_until(lambda: not controller.jobs.propagating and idle(panel), timeout=PATIENCE_MS)
    masks = controller.document.session.masks
    finished = masks.labels[:]
    assert all(frame.any() for frame in finished)

    paint((2, 55, 40))
    for t in range(1, 5):
        viewer.dims.set_point(0, t)
        qtbot.wait_until(lambda t=t: t in masks.previewed and idle(panel), timeout=PATIENCE_MS)
        assert (np.asarray(viewer.layers["clip masks"].data[t]) == masks.latest(t).labels).all()
    assert masks.finished == [0, 1, 2, 3, 4]
    (tmp_path / "masks.tif").unlink()
    assert save() == f"Saved {tmp_path / 'masks.tif'}; 4 of 5 masks are from before the last change"
    assert (tifffile.imread(tmp_path / "masks.tif")[1:] == finished[1:]).all()

    viewer.layers.selection.active = shown = viewer.layers["clip masks"]  # as it is shown
    assert viewer.layers.save(str(tmp_path / "shown.zarr"), selected=True, plugin="napari-pml")
    assert (zarr.open(tmp_path / "shown.zarr")[:] == np.stack([shown.data[t] for t in range(5)])).all()


@pytest.fixture
def gate(fake_engine, monkeypatch):
    """While it is closed (`clear`), the engine waits in frame 3 and after."""
    gate, segment = threading.Event(), FakeSession.segment
    gate.set()

    def segment_behind_gate(self, t):
        if t >= 3:
            assert gate.wait(PATIENCE_MS / 1000)
        return segment(self, t)

    monkeypatch.setattr(FakeSession, "segment", segment_behind_gate)
    yield gate
    gate.set()


@pytest.fixture
def annotated(open_panel, gate, movie, qtbot):
    """A window in which object 1 and background have been painted on frame 0."""
    viewer, panel = open_panel(movie)
    panel.objects.select(1)
    viewer.layers["clip strokes"].brush_size = 2
    drag(viewer, (6, 4), (9, 9))
    panel.objects.background.click()
    drag(viewer, (14, 4), (14, 30))
    qtbot.wait_until(lambda: "clip masks" in viewer.layers, timeout=PATIENCE_MS)
    qtbot.wait_until(lambda: iou(viewer, 0, movie[0] == 200) == 1, timeout=PATIENCE_MS)
    return viewer, panel


@pytest.fixture
def halfway(annotated, gate, qtbot):
    """The window while it propagates, halted in frame 3 of 6."""
    viewer, panel = annotated
    gate.clear()
    panel.propagate.click()
    qtbot.wait_until(lambda: panel.progress.value() == 3, timeout=PATIENCE_MS)
    return viewer, panel


def test_pause_in_the_middle_keeps_what_is_finished(halfway, gate, movie, qtbot):
    viewer, panel = halfway
    session = panel.controller.document.session
    panel.propagate.click()
    gate.set()
    qtbot.wait_until(lambda: idle(panel), timeout=PATIENCE_MS)
    assert not panel.controller.jobs.propagating
    assert session.stale_frames() == [4, 5]  # frame 3 was under way
    assert iou(viewer, 1, movie[1] == 200) == 1
    assert panel.propagate.text() == "Resume"
    assert panel.progress_text.text() == "4 of 6 frames, paused"
    panel.propagate.click()
    qtbot.wait_until(lambda: panel.progress_text.text() == "6 of 6 frames", timeout=PATIENCE_MS)
    assert session.stale_frames() == []


def test_a_stroke_during_propagation_changes_the_whole_video(halfway, gate, movie, qtbot):
    viewer, panel = halfway
    panel.objects.add.click()
    drag(viewer, (19, 22), (19, 28))
    gate.set()
    qtbot.wait_until(lambda: not panel.controller.jobs.propagating, timeout=PATIENCE_MS)
    assert panel.controller.document.session.stale_frames() == []
    assert all(iou(viewer, t, movie[t] == 80, label=2) == 1 for t in range(6))


@pytest.mark.parametrize("removed", ["image", "masks", "strokes", "panel", "window"])
def test_taking_something_away_during_work(halfway, gate, qtbot, removed):
    viewer, panel = halfway
    background = panel.background
    threading.Timer(0.2, gate.set).start()  # closing the panel waits for the frame that is under way
    if removed == "window":
        viewer.close()
    elif removed == "panel":
        viewer.window.remove_dock_widget(panel)
        assert background._future.done()
    else:
        viewer.layers.remove("clip" if removed == "image" else f"clip {removed}")
    qtbot.wait_until(background._future.done, timeout=PATIENCE_MS)
    qtbot.wait(100)
    names = {"image": "clip", "masks": "clip masks", "strokes": "clip strokes"}
    if removed in names:
        assert {layer.name for layer in viewer.layers} == set(names.values()) - {names[removed]}
    if removed == "panel":
        _, again = viewer.window.add_plugin_dock_widget("napari-pml")
        assert again is not panel
        assert again.controller.document.session is panel.controller.document.session


@pytest.mark.parametrize("taken_out", [True, False])
def test_a_panel_lets_go_of_the_viewer_once_whether_it_is_taken_out_or_destroyed(
    make_napari_viewer, fake_engine, movie, taken_out
):
    viewer = make_napari_viewer()
    viewer.add_image(movie, name="clip")
    callbacks = list(viewer.mouse_drag_callbacks)
    panel = SegmentationWidget(viewer)
    viewer.window.add_dock_widget(panel) if taken_out else panel.show()
    begin(panel.controller)
    if taken_out:
        viewer.window.remove_dock_widget(panel)
    panel.deleteLater()
    QApplication.sendPostedEvents(panel, QEvent.Type.DeferredDelete)
    assert viewer.mouse_drag_callbacks == callbacks


def test_the_panel_says_what_to_do_first(make_napari_viewer, fake_engine, movie):
    viewer = make_napari_viewer()
    _, panel = viewer.window.add_plugin_dock_widget("napari-pml")
    assert "Open a video" in panel.hint.text()
    assert not panel.propagate.isEnabled()
    viewer.add_image(movie[0], name="photo")
    assert "time axis" in panel.hint.text()
    viewer.add_image(movie, name="clip")
    assert panel.images.currentText() == "clip"
    assert "paint a stroke" in panel.hint.text()
    viewer.layers["clip"].name = "movie"
    assert panel.images.currentText() == "movie"


def test_the_check_boxes_follow_the_layers(annotated):
    viewer, panel = annotated
    viewer.add_points([[0, 19, 25]], features={"label": [2]}, name="from elsewhere")
    item = panel.sources.item(1)
    assert (item.text(), item.checkState()) == ("from elsewhere", Qt.CheckState.Unchecked)
    item.setCheckState(Qt.CheckState.Checked)
    assert viewer.layers["from elsewhere"] in panel.controller.document.sources


def test_settings_reach_the_session(annotated, monkeypatch):
    _, panel = annotated
    configs = []
    monkeypatch.setattr(panel.controller.jobs, "segment", lambda *_: configs.append(panel.controller.jobs.config))
    panel.settings.expand(animate=False)
    panel.settings._method.value = "pml-paper"
    panel.settings._fields["k"].value = 7
    assert [config.k for config in configs] == [5, 7]
    assert panel.settings._method.value == "own"
    panel.settings._method.value = "pml"
    assert configs[-1] == type(configs[-1])()


@pytest.mark.parametrize(("k", "method"), [(5, "pml-paper"), (7, "own")])
def test_the_settings_begin_with_those_of_the_session(annotated, k, method):
    _, panel = annotated
    session = panel.controller.document.session
    session.config = replace(METHODS["pml-paper"], k=k)
    panel.refresh()
    panel.settings.expand(animate=False)
    assert panel.settings._method.value == method
    assert panel.settings.config == session.config
    session.config = METHODS["pml"]
    panel.refresh()
    assert panel.settings._method.value == "pml"


def test_another_network_can_be_chosen_and_its_time_is_shown(open_panel, qtbot):
    _, panel = open_panel(np.zeros((3, 32, 48), np.uint8))
    panel.objects.select(1)
    qtbot.wait_until(lambda: panel.controller.document.session is not None, timeout=PATIENCE_MS)
    session = panel.controller.document.session
    panel.settings.expand(animate=False)
    assert ("enlarged 2x: 96 x 64, 4 x time", "2x") in panel.settings._resolutions()
    panel.settings._resolution.value = "2x"
    qtbot.wait_until(lambda: session.resolution == "2x", timeout=PATIENCE_MS)
    qtbot.wait_until(lambda: "compact: " in panel.status.text(), timeout=PATIENCE_MS)
    assert re.search(r": looking at a frame takes [0-9.]+ s, [0-9]+ s for the 2 still to be", panel.status.text())
    assert list(session.prepare())
    panel.refresh()
    assert panel.status.text().endswith(", compact")  # nothing is left to be looked at


def test_unfolding_the_settings_changes_no_network_of_ones_own(annotated, monkeypatch):
    _, panel = annotated
    chosen = []
    monkeypatch.setattr(panel.controller.jobs, "use_network", lambda document, *names: chosen.append(names))
    panel.settings.expand(animate=False)
    assert panel.settings._network.value == "fake"
    panel.settings._resolution.value = "2x"
    assert chosen == [("fake", "2x")]


def test_a_network_that_is_not_there_is_explained_and_the_one_before_goes_on(open_panel, qtbot, monkeypatch, tmp_path):
    messages = []
    monkeypatch.setattr("napari_pml.viewer.jobs.background.show_error", messages.append)
    monkeypatch.setattr("napari_pml.embedding.catalogue.cache_folder", lambda: tmp_path)
    _, panel = open_panel(np.zeros((3, 32, 48), np.uint8))
    panel.objects.select(1)
    qtbot.wait_until(lambda: panel.controller.document.session is not None, timeout=PATIENCE_MS)
    panel.settings.expand(animate=False)
    panel.settings._network.value = "dinov2-small"
    qtbot.wait_until(lambda: bool(messages), timeout=PATIENCE_MS)
    assert "napari-pml download dinov2-small" in messages[0]
    qtbot.wait_until(lambda: panel.settings._network.value == "compact", timeout=PATIENCE_MS)


@pytest.fixture
def told(monkeypatch):
    """What the person is told of in notifications."""
    messages = []
    monkeypatch.setattr("napari_pml.viewer.jobs.background.show_error", messages.append)
    return messages


def test_what_is_in_the_way_is_told_once_stays_in_view_and_work_goes_on_when_it_is_over(
    open_panel, fake_engine, movie, qtbot, told, monkeypatch
):
    wrong = ["no video"]

    def unreadable(array, channel_axis):
        if wrong:
            raise VideoError(wrong[0])
        return FakeVideo(array)

    monkeypatch.setitem(vars(napari_pml), "open_video", unreadable)
    viewer, panel = open_panel(movie)
    assert not panel.try_again.isVisible()
    panel.objects.select(1)
    qtbot.wait_until(lambda: told == ["no video"], timeout=PATIENCE_MS)
    for column in (4, 6, 8):
        drag(viewer, (6, column), (9, column))
        qtbot.wait_until(lambda: idle(panel), timeout=PATIENCE_MS)
    assert told == ["no video"]
    assert panel.problem.text() == "no video"
    assert "your strokes stay" in panel.hint.text()
    assert panel.problem.isVisible()
    panel.try_again.click()
    qtbot.wait_until(lambda: told == ["no video"] * 2 and idle(panel), timeout=PATIENCE_MS)
    wrong[0] = "no disk"
    drag(viewer, (6, 14), (9, 14))
    qtbot.wait_until(lambda: told[2:] == ["no disk"] and idle(panel), timeout=PATIENCE_MS)
    assert panel.problem.text() == "no disk"
    wrong.clear()
    drag(viewer, (6, 20), (9, 20))
    qtbot.wait_until(lambda: "clip masks" in viewer.layers and idle(panel), timeout=PATIENCE_MS)
    assert panel.problem.text() == ""
    assert not panel.try_again.isVisible()
    assert (panel.controller.document.session.annotations.frames[0][6:9, 4:8] == 1).all()  # no stroke was lost
    assert len(told) == 3


def test_a_frame_that_cannot_be_read_is_told_once_whatever_wants_it(annotated, told, qtbot, monkeypatch):
    viewer, panel = annotated
    segment = FakeSession.segment

    def unreadable(session, t):
        if t == 3:
            raise VideoError("frame 3 is damaged")
        return segment(session, t)

    monkeypatch.setattr(FakeSession, "segment", unreadable)
    monkeypatch.setattr(FakeSession, "prepare", lambda session, start: (unreadable(session, 3) for _ in range(1)))
    panel.background._quiet.setInterval(1)
    for t in (3, 0, 3, 0):
        viewer.dims.set_point(0, t)
        drag(viewer, (19, 22), (19, 28))
        qtbot.wait(100)
        qtbot.wait_until(lambda: idle(panel), timeout=PATIENCE_MS)
        assert panel.problem.text() == "frame 3 is damaged"  # of the preparation, where frame 0 is in view
    assert told == ["frame 3 is damaged"]
    panel.propagate.click()
    qtbot.wait_until(lambda: idle(panel), timeout=PATIENCE_MS)
    assert told == ["frame 3 is damaged"] * 2
    viewer.add_image(np.zeros((2, 24, 40), np.uint8), name="other")
    panel.images.setCurrentIndex(1)
    assert panel.problem.text() == ""


def test_no_tool_is_shown_in_use_while_a_drag_moves_the_picture(annotated):
    viewer, panel = annotated
    strokes, brush = viewer.layers["clip strokes"], panel._tool_buttons["brush"]
    assert brush.isChecked()
    for mode, draws in (("pan_zoom", False), ("erase", True), ("transform", False)):
        strokes.mode = mode
        assert brush.isChecked() == draws
    brush.click()
    assert brush.isChecked()
    assert strokes.mode == "paint"
    viewer.add_points([[0, 19, 25]], features={"label": [2]}, name="mine")
    panel.controller.use_layer(viewer.layers["mine"], True)
    assert not any(button.isChecked() for button in panel._tool_buttons.values())


def test_a_shorter_video_is_shown_where_it_has_frames_as_long_as_something_may_be_drawn(
    open_panel, fake_engine, movie, qtbot
):
    viewer, panel = open_panel(movie)
    viewer.add_image(movie[:3], name="short")
    viewer.dims.set_point(0, 5)
    panel.images.setCurrentIndex(panel.images.findText("short"))
    assert viewer.dims.point[0] == panel.controller.frame == 2
    panel.objects.select(1)
    viewer.dims.set_point(0, 5)
    assert viewer.dims.point[0] == 2
    drag(viewer, (8, 10), (8, 12))
    qtbot.wait_until(lambda: "short masks" in viewer.layers and idle(panel), timeout=PATIENCE_MS)
    assert panel.controller.document.session.annotations.frames.keys() == {2}
    viewer.layers.selection.active = viewer.layers["clip"]
    viewer.dims.set_point(0, 5)
    assert viewer.dims.point[0] == 5


def test_an_unexpected_error_in_the_worker_is_shown_with_its_traceback(annotated, qtbot, monkeypatch):
    _, panel = annotated
    errors = []
    monkeypatch.setattr(
        "napari_pml.viewer.jobs.background.notification_manager.receive_error", lambda *error: errors.append(error)
    )

    def out_of_memory(self, t):
        raise RuntimeError("out of memory")

    monkeypatch.setattr(FakeSession, "segment", out_of_memory)
    panel.propagate.click()
    qtbot.wait_until(lambda: bool(errors), timeout=PATIENCE_MS)
    kind, error, traceback = errors[0]
    assert (kind, str(error)) == (RuntimeError, "out of memory")
    assert traceback is not None
    qtbot.wait_until(panel.propagate.isEnabled, timeout=PATIENCE_MS)


def test_opening_the_panel_does_not_import_torch():
    code = (
        "import sys, napari_pml.viewer.panel.widget\n"
        "from napari_pml.viewer.contributions import readers, sample_data\n"
        "sys.exit('torch' in sys.modules)"
    )
    assert run([sys.executable, "-c", code], check=False).returncode == 0
