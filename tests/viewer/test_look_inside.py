"""The check boxes and the plot, in a real window with a real mouse."""

from functools import partial

import numpy as np
import pytest
from qtpy.QtCore import QEvent, QPoint, QPointF, Qt
from qtpy.QtGui import QMouseEvent
from qtpy.QtWidgets import QApplication, QToolTip

import napari_pml
from drawn_video import ColourEmbedder
from napari_pml.types import BACKGROUND

PATIENCE_MS = 60_000


@pytest.fixture
def window(make_napari_viewer, qtbot, drawn, monkeypatch):
    """A window in which objects and background have been painted on frame 0, with the panel beside it."""
    monkeypatch.setattr(napari_pml, "Session", partial(napari_pml.Session, embedder=ColourEmbedder()))
    viewer = make_napari_viewer(show=True)
    viewer.add_image(drawn[0], name="clip", rgb=True)
    viewer.dims.set_point(0, 0)
    _, panel = viewer.window.add_plugin_dock_widget("napari-pml")
    panel.controller.choose_label(1)
    strokes = viewer.layers["clip strokes"]
    strokes.brush_size = 8
    for label, y, x in ((1, 60, 30), (2, 22, 100), (BACKGROUND, 90, 60)):
        with strokes.block_history():
            strokes.paint((0, y, x), label)
    qtbot.wait_until(lambda: "clip masks" in viewer.layers, timeout=PATIENCE_MS)
    panel.look_inside.expand(animate=False)
    qtbot.wait_until(lambda: panel.look_inside.plot._map is not None, timeout=PATIENCE_MS)
    return viewer, panel


def place_of(plot, label: int) -> QPoint:
    """Return where the first painted point of an object is in the plot."""
    number = np.flatnonzero((plot._map.labels == label) & plot._map.painted)[0]
    return QPoint(*plot.places()[number].round().astype(int).tolist())


def hover(plot, place: QPoint) -> None:
    """Move the mouse there, as the cursor of a virtual display does not."""
    none = Qt.MouseButton.NoButton
    where = QPointF(place), QPointF(plot.mapToGlobal(place))
    event = QMouseEvent(QEvent.Type.MouseMove, *where, none, none, Qt.KeyboardModifier.NoModifier)
    QApplication.sendEvent(plot, event)


def test_a_click_on_a_point_shows_its_pixel(window, qtbot):
    viewer, panel = window
    plot = panel.look_inside.plot
    viewer.dims.set_point(0, 5)
    qtbot.mouseClick(plot, Qt.MouseButton.LeftButton, pos=place_of(plot, 2))
    assert viewer.dims.point[0] == 0
    marker = viewer.layers["clip marker"]
    y, x = marker.data[:, 0, 1:].mean(0)
    assert np.hypot(y - 22, x - 100) < 8
    assert viewer.layers.selection.active.name == "clip strokes"
    assert list(panel.controller.document.sources) == [viewer.layers["clip strokes"]]
    panel.look_inside._unmark.setInterval(1)
    qtbot.wait_until(lambda: "clip marker" not in viewer.layers, timeout=PATIENCE_MS)


def test_a_click_on_a_point_of_another_video_does_nothing(window, qtbot, drawn):
    viewer, panel = window
    look, before = panel.look_inside, panel.look_inside.plot._map
    other = napari_pml.Session(napari_pml.open_video(drawn[0]))
    other.annotate(7, np.where(drawn[1][7] == 2, 3, 0), complete=True)
    session = panel.controller.document.session
    session.transfer_from(other)
    session.segment(0)
    look.refresh()
    qtbot.wait_until(lambda: look.plot._map is not before, timeout=PATIENCE_MS)
    viewer.dims.set_point(0, 5)
    transferred = int(np.flatnonzero(look.plot._map.labels == 3)[0])
    assert look.plot.describe(transferred) == "Another video, object 3, not painted"
    look.plot.chosen.emit(transferred)
    assert viewer.dims.point[0] == 5
    assert "clip marker" not in viewer.layers


def test_a_click_beside_the_points_does_nothing(window, qtbot):
    viewer, panel = window
    viewer.dims.set_point(0, 5)
    qtbot.mouseClick(panel.look_inside.plot, Qt.MouseButton.LeftButton, pos=QPoint(1, 1))
    assert viewer.dims.point[0] == 5
    assert "clip marker" not in viewer.layers


def test_hovering_over_a_point_says_what_it_is(window, qtbot):
    _, panel = window
    plot = panel.look_inside.plot
    hover(plot, place_of(plot, 1))
    assert QToolTip.text() == "Frame 0, object 1, painted"
    hover(plot, QPoint(1, 1))
    qtbot.wait_until(lambda: QToolTip.text() == "", timeout=PATIENCE_MS)


def test_the_boxes_follow_the_layers(window, qtbot):
    viewer, panel = window
    boxes = panel.look_inside.boxes
    for look, box in boxes.items():
        box.click()
        assert box.isChecked()
        assert f"clip {look}" in viewer.layers
    assert panel.images.count() == 1
    viewer.layers.remove("clip confidence")
    assert [box.isChecked() for box in boxes.values()] == [False, True]
    boxes["embedding"].click()
    assert "clip embedding" not in viewer.layers


def test_certain_and_missing_cells_are_clear_and_embeddings_cover_the_video(window, qtbot):
    viewer, panel = window
    for name in ("clip masks", "clip strokes"):
        viewer.layers[name].visible = False
    panel.controller.flush_soon = lambda: None  # so that frame 7 has no mask

    def pictures() -> list[np.ndarray]:
        return [_picture(viewer, t) for t in (0, 7)]

    plain = pictures()
    panel.look_inside.boxes["confidence"].click()
    with_confidence = pictures()
    assert 7 not in panel.controller.document.session.masks
    np.testing.assert_array_equal(with_confidence[1], plain[1])
    changed = (with_confidence[0] != plain[0]).any(-1)
    assert 0 < changed.mean() < 0.5
    panel.look_inside.boxes["embedding"].click()
    frames = viewer.layers["clip embedding"].data
    qtbot.wait_until(lambda: 7 in frames, timeout=PATIENCE_MS)
    qtbot.wait_until(lambda: (_picture(viewer, 7) != plain[1]).any(-1).mean() > 0.1, timeout=PATIENCE_MS)


def _picture(viewer, t: int) -> np.ndarray:
    viewer.dims.set_point(0, t)
    return viewer.screenshot(canvas_only=True, flash=False)[..., :3]


def test_closing_the_panel_stops_everything_and_the_next_one_goes_on(window, qtbot):
    viewer, panel = window
    panel.look_inside.boxes["embedding"].click()
    qtbot.mouseClick(panel.look_inside.plot, Qt.MouseButton.LeftButton, pos=place_of(panel.look_inside.plot, 1))
    viewer.window.remove_dock_widget(panel)
    assert "clip marker" not in viewer.layers
    _, again = viewer.window.add_plugin_dock_widget("napari-pml")
    assert again.look_inside.boxes["embedding"].isChecked()
    viewer.dims.set_point(0, 6)
    qtbot.wait_until(lambda: 6 in viewer.layers["clip embedding"].data, timeout=PATIENCE_MS)


def test_before_a_stroke_the_plot_says_what_to_do(make_napari_viewer, fake_engine, movie):
    viewer = make_napari_viewer(show=True)
    viewer.add_image(movie, name="clip")
    _, panel = viewer.window.add_plugin_dock_widget("napari-pml")
    panel.look_inside.expand(animate=False)
    plot = panel.look_inside.plot
    assert not any(box.isEnabled() for box in panel.look_inside.boxes.values())
    assert plot.point_at(plot.width() / 2, plot.height() / 2) is None
    picture = plot.grab().toImage()
    middle = range(picture.height() // 2 - 8, picture.height() // 2 + 8)
    assert len({picture.pixel(x, y) for x in range(picture.width()) for y in middle}) > 3  # a text
