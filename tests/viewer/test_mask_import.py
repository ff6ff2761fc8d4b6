"""Masks made elsewhere become annotations."""

import json

import numpy as np
import pytest
from PIL import Image as PilImage
from qtpy.QtWidgets import QFileDialog, QWidget

from actions import begin, shown, stroke
from napari_pml.errors import AnnotationError
from napari_pml.types import BACKGROUND
from napari_pml.viewer.control.controller import Controller
from napari_pml.viewer.control.mask_import import can_take_all, mask_in_view, take_mask, usable_layers
from napari_pml.viewer.jobs.background import Background
from napari_pml.viewer.panel.mask_dialog import MaskDialog

pytestmark = pytest.mark.usefixtures("fake_engine")


@pytest.fixture
def cells(movie) -> np.ndarray:
    """An instance mask of frame 0, as (Y, X): object 3 on the bright square, 300 on the grey one."""
    return np.where(movie[0] == 200, 3, np.where(movie[0] == 80, 300, 0))


def test_a_mask_becomes_a_complete_frame_and_undo_takes_it_back(controller, viewer, cells, movie):
    begin(controller)
    assert take_mask(controller, cells, complete=True) == 2
    annotations = controller.document.session.annotations
    np.testing.assert_array_equal(annotations.frames[0], cells)  # also where something else was painted
    assert annotations.complete == {0}
    assert controller.document.objects == {1, 3, 300}
    assert controller.label == 3
    controller.propagate()
    np.testing.assert_array_equal(shown(viewer, 4) == 300, movie[4] == 80)
    viewer.layers["clip strokes"].undo()
    assert controller.document.session.annotations.object_ids == (1,)


def test_without_the_check_mark_the_rest_stays_open(controller, cells):
    take_mask(controller, cells, complete=False)
    assert controller.document.session.annotations.complete == frozenset()


def test_a_mask_is_drawn_where_its_numbers_fit(controller, viewer, cells):
    small = viewer.add_labels(np.zeros((6, 24, 40), np.uint8), name="small")
    controller.use_layer(small, True)
    take_mask(controller, cells, complete=True)
    assert not small.data.any()
    assert viewer.layers.selection.active.name == "clip strokes"


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda mask: mask[:20], r"20 x 40 pixels, but frames of 'clip' are 24 x 40"),
        (lambda mask: mask * 0, "no object on frame 0"),
        (lambda mask: mask * 1000, "from 3000 to 300000"),
        (lambda mask: -mask, "from -300 to -3"),
    ],
    ids=["size", "empty", "too large", "negative"],
)
def test_what_is_no_mask_of_this_video_is_refused_and_changes_nothing(controller, cells, change, complaint):
    begin(controller)
    before = controller.document.session.annotations
    with pytest.raises(AnnotationError, match=complaint):
        take_mask(controller, change(cells), complete=True)
    assert controller.document.session.annotations is before


def test_the_result_can_be_accepted_as_annotation(controller, viewer, movie):
    begin(controller)
    viewer.dims.set_point(0, 3)
    masks = viewer.layers["clip masks"]
    assert masks in usable_layers(controller)
    assert not can_take_all(controller, masks)
    take_mask(controller, mask_in_view(controller, masks), complete=True)
    np.testing.assert_array_equal(controller.document.session.annotations.frames[3] == 1, movie[3] == 200)
    assert controller.document.session.annotations.complete == {3}


def test_layers_that_fit_are_offered(controller, viewer, cells):
    begin(controller)
    for name, data in (("flat", cells), ("whole", np.zeros((6, 24, 40), int)), ("other size", cells[:9])):
        viewer.add_labels(data, name=name)
    assert {layer.name for layer in usable_layers(controller)} == {"clip masks", "flat", "whole"}


@pytest.fixture
def dialog(qapp, viewer, cells, movie):
    """The dialog over a viewer with a 2D mask and a 3D one, which holds something on frames 2 and 5."""
    background = Background()
    controller = Controller(viewer, background)
    controller.choose_image(viewer.layers["clip"])
    viewer.add_labels(cells, name="flat")
    whole = np.where(movie == 200, 7, 0)
    whole[[0, 1, 3, 4]] = 0
    viewer.add_labels(whole, name="whole")
    window = QWidget()
    yield MaskDialog(controller, window), controller
    background.drain()
    window.deleteLater()


def test_all_frames_of_a_layer_at_once(dialog, qtbot):
    dialog, controller = dialog
    dialog.masks.setCurrentText("flat")
    assert dialog.frames.count() == 1
    dialog.masks.setCurrentText("whole")
    assert "Ctrl+Z" in dialog.note.text()
    dialog.frames.setCurrentIndex(1)
    assert "annotation layer" in dialog.note.text()
    dialog.accept()
    qtbot.wait_until(lambda: controller.document.is_annotated)
    assert controller.document.session.annotations.complete == {2, 5}
    assert controller.document.session.annotations.object_ids == (7,)


def test_the_frame_in_view_of_a_layer_with_all(dialog, qtbot, viewer):
    dialog, controller = dialog
    viewer.dims.set_point(0, 5)
    dialog.masks.setCurrentText("whole")
    dialog.complete.setChecked(False)
    dialog.accept()
    qtbot.wait_until(lambda: controller.document.is_annotated)
    assert set(controller.document.session.annotations.frames) == {5}
    assert controller.document.session.annotations.complete == frozenset()


@pytest.mark.parametrize("suffix", [".png", ".npy"])
def test_a_mask_from_a_file(dialog, qtbot, cells, tmp_path, monkeypatch, suffix):
    dialog, controller = dialog
    path = tmp_path / f"mask{suffix}"
    np.save(path, cells) if suffix == ".npy" else PilImage.fromarray(cells.astype(np.uint16)).save(path)
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *_, **__: (str(path), ""))
    dialog.masks.setCurrentIndex(dialog.masks.count() - 1)
    dialog.accept()
    qtbot.wait_until(lambda: controller.document.is_annotated)
    np.testing.assert_array_equal(controller.document.session.annotations.frames[0], cells)


def test_outlines_of_labelme_come_with_their_names(dialog, qtbot, cells, tmp_path):
    dialog, controller = dialog
    shapes = [
        {"label": name, "shape_type": "rectangle", "points": [[columns[0], rows[0]], [columns[-1], rows[-1]]]}
        for name, (rows, columns) in (("bright", np.nonzero(cells == 3)), ("grey", np.nonzero(cells == 300)))
    ]
    content = {"shapes": shapes, "imageWidth": 40, "imageHeight": 24}
    (tmp_path / "clip.json").write_text(json.dumps(content, default=int))
    dialog.take_file(tmp_path / "clip.json")
    qtbot.wait_until(lambda: controller.document.is_annotated)
    labels = controller.document.session.annotations.frames[0]
    np.testing.assert_array_equal(labels, np.select([cells == 3, cells == 300], [1, 2]))
    assert controller.document.names == {1: "bright", 2: "grey"}


def test_a_file_that_is_no_mask_is_reported_and_another_may_be_chosen(dialog, qtbot, tmp_path, monkeypatch):
    dialog, controller = dialog
    messages = []
    monkeypatch.setattr("napari_pml.viewer.jobs.background.show_error", messages.append)
    (tmp_path / "broken.png").write_bytes(b"no image")
    dialog.open()
    dialog.take_file(tmp_path / "broken.png")
    assert not dialog.isEnabled()
    qtbot.wait_until(dialog.isEnabled)
    assert "broken.png cannot be read" in messages[0]
    assert dialog.isVisible()
    assert not controller.document.is_drawn_on


def test_the_button_opens_the_dialog(make_napari_viewer, movie, cells):
    viewer = make_napari_viewer()
    viewer.add_image(movie, name="clip")
    viewer.add_labels(cells, name="flat")
    _, panel = viewer.window.add_plugin_dock_widget("napari-pml")
    panel.take_mask.click()
    dialog = panel.findChild(MaskDialog)
    assert dialog.masks.itemText(0) == "flat"
    dialog.accept()
    assert panel.controller.document.objects >= {3, 300}
    assert panel.complete.isChecked()
    panel.background.drain()


def test_sixty_six_cells(viewer, runner, data_folder, monkeypatch):
    folder = data_folder / "cells" / "t98g"
    mask = np.array(PilImage.open(folder / "Annotations_manual" / "480p" / "T98G" / "00000.png"))
    frame = np.array(PilImage.open(folder / "JPEGImages" / "480p" / "T98G" / "00000.jpg").convert("L"))
    image = viewer.add_image(np.stack([frame, frame]), name="cells")
    controller = Controller(viewer, runner)
    controller.choose_image(image)
    monkeypatch.setattr(controller.jobs, "segment", lambda *_: None)  # the stand-in is slow on real frames
    assert take_mask(controller, mask, complete=True) == 66
    np.testing.assert_array_equal(controller.document.session.annotations.frames[0], mask)
    assert len(controller.document.objects - {BACKGROUND}) == 66
    stroke(viewer, 67, 0, 5, 5, "cells strokes")
    assert 67 in controller.document.objects
