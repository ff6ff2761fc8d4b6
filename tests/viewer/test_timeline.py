"""The strip of all frames, the button that pauses and the activity dock, in a real window."""

import threading

import numpy as np
import pytest
from napari.utils import progress
from qtpy.QtCore import QEvent, QPoint, QPointF, Qt
from qtpy.QtGui import QColor, QHelpEvent, QMouseEvent
from qtpy.QtWidgets import QApplication, QToolTip

from napari_pml.types import BACKGROUND
from napari_pml.viewer.document.overview import Overview, State
from napari_pml.viewer.jobs.background import Background
from napari_pml.viewer.panel.timeline import Timeline
from stand_ins import FakeSession

PATIENCE_MS = 60_000
WIDTH = 240


@pytest.fixture
def overview() -> Overview:
    """Six frames: two done, one of them complete, one from earlier strokes, a guess, and two without a mask."""
    states = np.array([State.DONE, State.DONE, State.OUTDATED, State.PREVIEW, State.NONE, State.NONE], np.uint8)
    certainties = np.array([1, 0.5, 1, 1, np.nan, np.nan], np.float32)
    annotated = np.array([True, False, True, False, False, False])
    return Overview(states, certainties, annotated, annotated & (states == State.DONE), np.zeros(6, bool))


@pytest.fixture
def strip(qtbot, overview) -> Timeline:
    strip = Timeline()
    qtbot.addWidget(strip)
    strip.show_frames(overview, view=5)
    strip.setFixedSize(WIDTH, strip.sizeHint().height())  # the display may not give a window the size that it asks for
    with qtbot.waitExposed(strip):
        strip.show()
    qtbot.waitUntil(lambda: strip.width() == WIDTH)
    return strip


def middle(t: int, y: int = 20) -> QPoint:
    return QPoint(round((t + 0.5) * WIDTH / 6), y)


def colour(strip: Timeline, t: int, y: int, aside: int = 8) -> str:
    return strip.grab().toImage().pixelColor(middle(t, y) + QPoint(aside, 0)).name()


def test_bars_have_the_colour_of_their_state_and_the_height_of_their_certainty(strip):
    bottom, below_the_top = strip.height() - 2, strip.height() // 2
    colours = [colour(strip, t, bottom) for t in range(5)]
    done, again, outdated, guess, none = colours
    assert done == again
    assert len({done, outdated, guess, none}) == 4
    assert colour(strip, 0, below_the_top) == done
    assert colour(strip, 1, below_the_top) == none  # the least certain


def test_annotated_frames_have_a_tick_which_is_long_where_complete(strip):
    ink = strip.palette().windowText().color().name()
    ticks = [colour(strip, t, 2, aside=0) == ink for t in range(5)]
    assert ticks == [True, False, True, False, False]
    assert [colour(strip, t, 20, aside=0) == ink for t in (0, 2)] == [True, False]


def test_clicking_and_dragging_lead_to_frames(strip, qtbot):
    chosen = []
    strip.chosen.connect(chosen.append)
    qtbot.mousePress(strip, Qt.MouseButton.LeftButton, pos=middle(1))
    for place in (middle(3), middle(3) + QPoint(2, 0), QPoint(-50, 5), QPoint(10_000, 5)):
        QApplication.sendEvent(strip, dragged_to(place))
    qtbot.mouseRelease(strip, Qt.MouseButton.LeftButton, pos=middle(5))
    qtbot.mouseClick(strip, Qt.MouseButton.RightButton, pos=middle(2))
    assert chosen == [1, 3, 0, 5]


def dragged_to(place: QPoint) -> QMouseEvent:
    none, left = Qt.MouseButton.NoButton, Qt.MouseButton.LeftButton
    where = QPointF(place)
    return QMouseEvent(QEvent.Type.MouseMove, where, where, none, left, Qt.KeyboardModifier.NoModifier)


def test_the_tooltip_tells_about_the_frame_and_what_the_colours_mean(strip):
    assert strip.describe(0) == "Frame 0: done, certainty 100 %, complete"
    assert strip.describe(2) == "Frame 2: from earlier strokes, certainty 100 %, annotated"
    assert strip.describe(4) == "Frame 4: no mask yet"
    QApplication.sendEvent(strip, QHelpEvent(QEvent.Type.ToolTip, middle(3), strip.mapToGlobal(middle(3))))
    assert "Frame 3: a preview" in QToolTip.text()
    assert QToolTip.text().count("&#9632;") == 3


def test_damaged_frames_are_marked(strip, overview):
    before = colour(strip, 1, strip.height() - 2)
    overview.damaged[1] = True
    strip.show_frames(overview, view=5)
    assert strip.describe(1) == "Frame 1: done, certainty 50 %, damaged: a repeat of its neighbour"
    assert colour(strip, 1, strip.height() - 2) != before == colour(strip, 0, strip.height() - 2)


@pytest.mark.parametrize("n_frames", [1, 2, WIDTH + 1, 10_000])
def test_any_number_of_frames(strip, n_frames):
    done, certain = np.full(n_frames, State.DONE, np.uint8), np.ones(n_frames, np.float32)
    everywhere = np.ones(n_frames, bool)
    strip.show_frames(Overview(done, certain, everywhere, ~everywhere, ~everywhere), view=0)
    image = strip.grab().toImage()
    bottom = image.height() - 2
    assert image.pixelColor(WIDTH - 12, bottom) == QColor("#56b4e9")
    strip.show_frames(None, 0)
    assert not strip.isVisible()


@pytest.fixture
def open_panel(make_napari_viewer, fake_engine, movie, qtbot):
    """A window with six annotated frames of which the first is segmented."""
    viewer = make_napari_viewer(show=True)
    viewer.add_image(movie, name="clip")
    viewer.dims.set_point(0, 0)
    _, panel = viewer.window.add_plugin_dock_widget("napari-pml")
    assert not panel.timeline.isVisible()
    panel.controller.choose_label(1)
    strokes = viewer.layers["clip strokes"]
    strokes.brush_size = 2
    with strokes.block_history():
        strokes.paint((0, 8, 6), 1)
        strokes.paint((0, 14, 6), BACKGROUND)
    qtbot.wait_until(lambda: "clip masks" in viewer.layers, timeout=PATIENCE_MS)
    return viewer, panel


def test_the_timeline_follows_the_work_and_leads_through_the_video(open_panel, qtbot):
    viewer, panel = open_panel
    strip = panel.timeline
    assert strip.isVisible()
    panel.propagate.click()
    qtbot.wait_until(lambda: (strip._overview.states == State.DONE).all(), timeout=PATIENCE_MS)
    assert strip._overview.annotated.tolist() == [True] + 5 * [False]
    x = round(4.5 * strip.width() / 6)
    qtbot.mouseClick(strip, Qt.MouseButton.LeftButton, pos=QPoint(x, 20))
    assert viewer.dims.current_step[0] == 4
    viewer.dims.set_point(0, 2)
    assert strip._view == 2


@pytest.mark.parametrize("end", ["done", "pause", "panel", "window"])
def test_the_activity_dock_shows_a_propagation_as_long_as_it_runs(open_panel, qtbot, monkeypatch, end):
    viewer, panel = open_panel
    gate, segment = threading.Event(), FakeSession.segment

    def segment_behind_gate(self, t):
        if t >= 3:
            assert gate.wait(PATIENCE_MS / 1000)
        return segment(self, t)

    monkeypatch.setattr(FakeSession, "segment", segment_behind_gate)
    panel.propagate.click()
    qtbot.wait_until(lambda: [bar.n for bar in progress._all_instances] == [3], timeout=PATIENCE_MS)
    assert [(bar.total, bar.desc) for bar in progress._all_instances] == [(6, "Propagating")]
    threading.Timer(0.1, gate.set).start()
    if end == "pause":
        panel.propagate.click()
    elif end == "panel":
        viewer.window.remove_dock_widget(panel)
    elif end == "window":
        viewer.close()
    qtbot.wait_until(lambda: not progress._all_instances, timeout=PATIENCE_MS)


def test_quiet_is_when_no_job_runs_and_nothing_was_asked_for_a_while(qtbot):
    background, events, gate = Background(), [], threading.Event()
    background._quiet.setInterval(10)

    def job():
        assert gate.wait(PATIENCE_MS / 1000)
        yield "job"

    def ended() -> None:
        events.append("ended")
        background.when_quiet(lambda: events.append("quiet"))

    background.start(job, events.append, ended)
    background.when_quiet(lambda: events.append("too early"))
    qtbot.wait_until(lambda: not background._quiet.isActive(), timeout=PATIENCE_MS)
    gate.set()
    qtbot.wait_until(lambda: "quiet" in events, timeout=PATIENCE_MS)
    assert events == ["job", "ended", "quiet"]
    background.drain()
