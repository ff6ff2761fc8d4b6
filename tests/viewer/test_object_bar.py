"""The list of objects in a real window: mouse, keys, hundreds of rows."""

import time

import numpy as np
import pytest
from qtpy.QtCore import Qt
from qtpy.QtGui import QColor
from qtpy.QtWidgets import QApplication, QColorDialog, QLineEdit, QMessageBox

from actions import stroke
from napari_pml.types import BACKGROUND
from napari_pml.viewer.control import objects

pytestmark = pytest.mark.usefixtures("fake_engine")


@pytest.fixture
def window(make_napari_viewer, movie):
    """A window with the panel, in which objects 1 to 3 are known."""
    viewer = make_napari_viewer(show=True)
    viewer.add_image(movie, name="clip")
    viewer.dims.set_point(0, 0)
    _, panel = viewer.window.add_plugin_dock_widget("napari-pml")
    for _ in range(2):
        panel.objects.add.click()
    QApplication.processEvents()
    yield viewer, panel
    panel.background.drain()


def rows(panel) -> list[str]:
    model = panel.objects._list.model()
    return [model.index(i, 0).data() for i in range(model.rowCount())]


def click(qtbot, panel, row: int, *, double: bool = False, modifier=Qt.KeyboardModifier.NoModifier) -> None:
    view = panel.objects._list
    place = view.visualRect(view.model().index(row, 0)).center()
    for mouse in (qtbot.mouseClick, *([qtbot.mouseDClick] if double else [])):
        mouse(view.viewport(), Qt.MouseButton.LeftButton, modifier, place)


def press(qtbot, viewer, key: Qt.Key, modifier=Qt.KeyboardModifier.NoModifier) -> None:
    qtbot.keyClick(viewer.window._qt_viewer.canvas.native, key, modifier)


def test_a_click_on_an_object_paints_it_and_the_list_follows_the_label(window, qtbot):
    viewer, panel = window
    strokes = viewer.layers["clip strokes"]
    strokes.mode = "pan_zoom"
    click(qtbot, panel, 1)
    assert (panel.controller.label, strokes.selected_label, strokes.mode) == (2, 2, "paint")
    strokes.mode = "pan_zoom"
    click(qtbot, panel, 1)  # once more: back to the brush
    assert strokes.mode == "paint"
    strokes.selected_label = 3
    assert panel.objects.selected == {3}
    panel.objects.background.click()
    assert panel.objects.selected == set()
    assert panel.objects.background.isChecked()
    assert panel.controller.label == BACKGROUND
    assert not panel.objects.buttons["Delete"].isEnabled()


@pytest.mark.parametrize("way", ["double click", "F2", "button"])
def test_an_object_is_renamed_in_the_list(window, qtbot, way):
    _, panel = window
    view = panel.objects._list
    click(qtbot, panel, 0, double=way == "double click")
    if way == "F2":
        qtbot.keyClick(view, Qt.Key.Key_F2)
    if way == "button":
        panel.objects.buttons["Rename"].click()
    editor = view.viewport().findChild(QLineEdit)
    qtbot.keyClicks(editor, "mother")
    qtbot.keyClick(editor, Qt.Key.Key_Return)
    qtbot.wait_until(lambda: rows(panel) == ["1  mother", "2", "3"])
    assert panel.controller.document.names == {1: "mother"}


def test_a_name_is_edited_within_its_row(window):
    _, panel = window
    view, model = panel.objects._list, panel.objects._filtered
    height = view.height()
    panel.objects.select(2)
    panel.objects.buttons["Rename"].click()
    panel.objects.show_objects()
    QApplication.processEvents()
    editor = view.viewport().findChild(QLineEdit)
    assert view.height() == height
    assert editor.geometry().bottom() <= view.visualRect(model.index(1, 0)).bottom()


def test_letters_and_digits_typed_in_the_list_stay_naparis_keys(window, qtbot):
    viewer, panel = window
    click(qtbot, panel, 1)
    qtbot.keyClick(panel.objects._list, Qt.Key.Key_3)
    assert viewer.layers["clip strokes"].mode == "polygon"
    assert panel.controller.label == 2


def test_only_what_was_asked_about_is_deleted(window, qtbot, monkeypatch):
    """A job that ends behind the question brings an object, and the list selects what is painted."""
    viewer, panel = window

    def answer(*args):
        panel.controller.document.note_label(9)
        panel.objects.show_objects()
        return QMessageBox.StandardButton.Yes

    monkeypatch.setattr(QMessageBox, "question", answer)
    for label, x in ((1, 6), (2, 25), (3, 35)):
        stroke(viewer, label, 0, 19, x)
        stroke(viewer, label, 3, 19, x)
    panel.objects.select(1)
    panel.objects.select(2, 3)
    panel.objects.buttons["Delete"].click()
    assert panel.controller.document.objects == {1, 9}
    assert set(np.unique(np.asarray(viewer.layers["clip strokes"].data))) == {0, 1}


def test_an_object_on_several_frames_is_deleted_after_a_question(window, qtbot, monkeypatch):
    viewer, panel = window
    asked = []
    answers = [QMessageBox.StandardButton.No, QMessageBox.StandardButton.Yes]
    monkeypatch.setattr(QMessageBox, "question", lambda *args: asked.append(args[2]) or answers.pop(0))
    stroke(viewer, 1, 0, 8, 6)
    stroke(viewer, 2, 0, 19, 25)
    stroke(viewer, 2, 3, 19, 25)
    click(qtbot, panel, 1)
    panel.objects.buttons["Delete"].click()
    assert asked == ["Delete object 2 and everything drawn for it, on 2 frames?"]
    assert rows(panel) == ["1", "2", "3"]
    panel.objects.buttons["Delete"].click()
    assert rows(panel) == ["1", "3"]
    assert not (np.asarray(viewer.layers["clip strokes"].data) == 2).any()
    assert panel.objects.selected == {1}
    panel.objects.buttons["Delete"].click()  # on one frame only: no question
    assert len(asked) == 2
    assert rows(panel) == ["3"]
    press(qtbot, viewer, Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    qtbot.wait_until(lambda: rows(panel) == ["1", "3"])


def test_selected_objects_are_merged(window, qtbot):
    viewer, panel = window
    stroke(viewer, 3, 0, 8, 6)
    click(qtbot, panel, 1)
    assert not panel.objects.buttons["Merge"].isEnabled()
    click(qtbot, panel, 2, modifier=Qt.KeyboardModifier.ControlModifier)
    panel.refresh()
    assert panel.objects.selected == {2, 3}
    assert panel.controller.label == 2
    panel.objects.buttons["Merge"].click()
    assert rows(panel) == ["1", "2"]
    assert (np.asarray(viewer.layers["clip strokes"].data[0]) == 2).any()


def test_colour_and_hide(window, monkeypatch):
    viewer, panel = window
    monkeypatch.setattr(QColorDialog, "getColor", lambda *_: QColor("#102030"))
    panel.objects.select(1, 2)
    panel.objects.buttons["Colour"].click()
    strokes = viewer.layers["clip strokes"]
    for label in (1, 2):
        np.testing.assert_allclose(strokes.get_color(label)[:3], np.array([16, 32, 48]) / 255, atol=1e-4)
    panel.objects.select(2)
    hide = panel.objects.buttons["Hide"]
    hide.click()
    assert (rows(panel)[1], hide.text(), strokes.get_color(2)[3]) == ("2 (hidden)", "Show", 0)
    hide.click()
    assert (rows(panel)[1], hide.text(), strokes.get_color(2)[3]) == ("2", "Hide", 1)


def test_three_hundred_objects_stay_fluent_and_can_be_found(window, qtbot):
    _, panel = window
    document, bar = panel.controller.document, panel.objects
    assert not bar._filter.isVisible()
    document.objects = set(range(1, 301))
    objects.rename(document, 222, "Dividing")
    panel.refresh()
    assert bar._filter.isVisible()
    assert bar.height() < 400
    took = []
    for label in (1, 300, 150, 7, 8):
        panel.controller.label = label
        start = time.perf_counter()
        bar.show_objects()
        took.append(time.perf_counter() - start)
    assert min(took) < 0.02
    qtbot.keyClicks(bar._filter, "divi")
    assert rows(panel) == ["222  Dividing"]
    assert panel.controller.label == 8  # looking for an object does not paint it
    click(qtbot, panel, 0)
    assert panel.controller.label == 222
    panel.objects.add.click()
    assert panel.controller.label == 301
    assert bar.selected == {301}
    assert len(rows(panel)) == 301


def test_keys(window, qtbot):
    viewer, panel = window
    controller = panel.controller
    panel.objects.select(2)
    labels = []
    for key in "N", "N", "N", "P":
        shift = Qt.KeyboardModifier.ShiftModifier if key == "P" else Qt.KeyboardModifier.NoModifier
        press(qtbot, viewer, Qt.Key.Key_N, shift)
        labels.append(controller.label)
    assert labels == [3, 1, 2, 1]
    press(qtbot, viewer, Qt.Key.Key_G)
    assert controller.label == BACKGROUND
    press(qtbot, viewer, Qt.Key.Key_N)
    assert controller.label == 1
    press(qtbot, viewer, Qt.Key.Key_K)
    assert controller.document.complete == {0}
    press(qtbot, viewer, Qt.Key.Key_K)
    assert controller.document.complete == set()
    stroke(viewer, 1, 0, 8, 6)
    stroke(viewer, BACKGROUND, 0, 14, 6)
    qtbot.wait_until(panel.propagate.isEnabled)
    press(qtbot, viewer, Qt.Key.Key_W)
    qtbot.wait_until(lambda: controller.document.frames_done == 6 and panel.suggest.isEnabled())
    press(qtbot, viewer, Qt.Key.Key_U)
    assert viewer.dims.current_step[0] == 5
    assert panel.propagate.toolTip().endswith("(W)")


def test_keys_are_given_back_when_the_panel_closes_and_those_of_others_are_left_alone(make_napari_viewer, movie):
    viewer = make_napari_viewer()
    viewer.add_image(movie, name="clip")
    pressed = []
    viewer.bind_key("G", pressed.append)
    mine = viewer.keymap["G" if "G" in viewer.keymap else next(iter(viewer.keymap))]
    before = dict(viewer.keymap)
    _, panel = viewer.window.add_plugin_dock_widget("napari-pml")
    assert len(viewer.keymap) > len(before)
    assert mine in viewer.keymap.values()
    assert not panel.objects.background.toolTip().endswith("(G)")
    viewer.window.remove_dock_widget(panel)
    assert viewer.keymap == before
