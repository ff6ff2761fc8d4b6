"""What a person draws and presses, without a window: layers in, layers out."""

import numpy as np
import pytest
from napari.layers._layer_actions import _duplicate_layer

from actions import begin, finished, shown, stroke
from napari_pml import open_video
from napari_pml.types import BACKGROUND
from napari_pml.viewer.document.metadata import PROJECT
from stand_ins import FakeConfig

pytestmark = pytest.mark.usefixtures("fake_engine")


def test_choosing_an_object_makes_a_stroke_layer_ready_to_paint(controller, viewer):
    controller.choose_label(2)
    strokes = viewer.layers["clip strokes"]
    assert viewer.layers.selection.active is strokes
    assert (strokes.mode, strokes.selected_label, strokes.dtype) == ("paint", 2, np.uint16)
    assert strokes.data.shape == (6, 24, 40)
    controller.choose_label(BACKGROUND)
    assert strokes.selected_label == BACKGROUND
    assert len(viewer.layers) == 2


def test_strokes_and_masks_have_the_same_colours_and_background_is_grey(controller, viewer):
    begin(controller)
    strokes, masks = viewer.layers["clip strokes"], viewer.layers["clip masks"]
    for label in (1, 2, 77):
        np.testing.assert_allclose(strokes.get_color(label), masks.get_color(label))
    red, green, blue, _ = strokes.get_color(BACKGROUND)
    assert red == green == blue
    assert strokes.colormap is not masks.colormap


def test_a_stroke_segments_the_frame_in_view_and_only_that(controller, viewer, movie):
    begin(controller)
    np.testing.assert_array_equal(shown(viewer, 0) == 1, movie[0] == 200)
    assert finished(controller) == {0}
    assert [layer.name for layer in viewer.layers] == ["clip", "clip masks", "clip strokes"]
    assert viewer.layers.selection.active.name == "clip strokes"


def test_looking_at_another_frame_segments_it(controller, viewer, movie):
    begin(controller)
    viewer.dims.set_point(0, 3)
    np.testing.assert_array_equal(shown(viewer, 3) == 1, movie[3] == 200)
    assert finished(controller) == {0, 3}


def test_propagate_segments_every_frame(controller, viewer, movie):
    begin(controller)
    controller.propagate()
    assert not controller.jobs.propagating
    assert str(controller.jobs.progress) == "6 of 6 frames"
    for t in range(6):
        np.testing.assert_array_equal(shown(viewer, t) == 1, movie[t] == 200)


def test_a_stroke_just_before_the_end_of_a_propagation_still_changes_the_whole_video(
    controller, viewer, runner, movie, monkeypatch
):
    begin(controller)
    runner.hold = True
    controller.propagate()
    for _ in range(5):
        runner.step()
    with monkeypatch.context() as quiet:
        quiet.setattr(controller, "flush_soon", lambda: None)
        quiet.setattr(controller, "_sync", lambda: False)
        stroke(viewer, 2, 0, 19, 25)
    runner.hold = False
    runner.step()
    assert finished(controller) == set(range(6))
    assert not controller.jobs.propagating
    for t in range(6):
        np.testing.assert_array_equal(shown(viewer, t) == 2, movie[t] == 80)


def test_undo_takes_a_stroke_back_and_redo_brings_it_again(controller, viewer, movie):
    begin(controller)
    stroke(viewer, 2, 0, 19, 25)
    assert set(np.unique(shown(viewer, 0))) == {0, 1, 2}
    viewer.layers["clip strokes"].undo()
    assert set(np.unique(shown(viewer, 0))) == {0, 1}
    assert controller.document.session.annotations.object_ids == (1,)
    viewer.layers["clip strokes"].redo()
    assert set(np.unique(shown(viewer, 0))) == {0, 1, 2}


def test_undo_of_a_stroke_on_a_frame_that_is_not_in_view(controller, viewer):
    begin(controller)
    stroke(viewer, 2, 0, 19, 25)
    viewer.dims.set_point(0, 4)
    viewer.layers["clip strokes"].undo()
    assert controller.document.session.annotations.object_ids == (1,)
    assert set(np.unique(shown(viewer, 4))) == {0, 1}
    viewer.layers["clip strokes"].redo()
    assert controller.document.session.annotations.object_ids == (1, 2)


def test_undo_of_everything_takes_the_result_away(controller, viewer):
    begin(controller)
    controller.propagate()
    strokes = viewer.layers["clip strokes"]
    strokes.undo()
    strokes.undo()
    assert not controller.document.session.annotations.frames
    assert not any(shown(viewer, t).any() for t in range(6))


def test_a_stroke_during_propagation_is_shown_first_and_propagation_goes_on(controller, viewer, runner):
    begin(controller)
    runner.hold = True
    controller.propagate()
    runner.step()
    viewer.dims.set_point(0, 4)
    stroke(viewer, 2, 4, 19, 25)
    assert controller.jobs.propagating
    runner.step()
    assert set(np.unique(shown(viewer, 4))) == {0, 1, 2}
    assert finished(controller) == {4}
    while runner.busy:
        runner.step()
    assert finished(controller) == set(range(6))
    assert not controller.jobs.propagating


def test_cancel_keeps_finished_frames(controller, viewer, runner):
    begin(controller)
    runner.hold = True
    controller.propagate()
    runner.step()
    runner.step()
    controller.jobs.cancel()
    assert not controller.jobs.propagating
    assert finished(controller) == {0, 1, 2}
    runner.hold = False
    controller.propagate()
    assert finished(controller) == set(range(6))


def test_propagate_without_annotations_does_nothing(controller):
    controller.propagate()
    assert not controller.jobs.propagating
    assert not finished(controller)


def test_points_and_shapes_annotate_with_the_object_that_was_chosen(controller, viewer, movie):
    controller.choose_label(1)
    controller.draw_with("points")
    points = viewer.layers["clip points"]
    points.add((0, 8, 6))
    controller.choose_label(BACKGROUND)
    assert viewer.layers.selection.active is points
    points.add((0, 14, 6))
    np.testing.assert_array_equal(shown(viewer, 0) == 1, movie[0] == 200)
    controller.choose_label(2)
    controller.draw_with("shapes")
    shapes = viewer.layers["clip shapes"]
    shapes.add_rectangles(np.array([[0, 17, 22], [0, 17, 27], [0, 20, 27], [0, 20, 22]]))
    np.testing.assert_array_equal(shown(viewer, 0) == 2, movie[0] == 80)
    assert points.features["label"].tolist() == [1, BACKGROUND]
    assert shapes.features["label"].tolist() == [2]
    points.selected_data = {0, 1}
    points.remove_selected()
    shapes.selected_data = {0}
    shapes.remove_selected()
    assert not controller.document.session.annotations.frames


def test_moving_a_point_to_another_frame_is_noticed(controller, viewer):
    begin(controller)
    controller.draw_with("points")
    points = viewer.layers["clip points"]
    points.add((2, 8, 12))
    assert set(controller.document.session.annotations.frames) == {0, 2}
    points.data = [[3, 8, 15]]
    assert set(controller.document.session.annotations.frames) == {0, 3}


def test_an_empty_layer_that_is_added_counts_but_a_full_one_only_when_ticked(controller, viewer):
    begin(controller)
    mine = viewer.add_points(ndim=3, name="mine")
    assert mine in controller.document.sources
    other = viewer.add_points([[0, 19, 25]], features={"label": [2]}, name="results of another plugin")
    assert other not in controller.document.sources
    assert other in controller.candidates()
    controller.use_layer(other, True)
    assert controller.document.session.annotations.object_ids == (1, 2)
    controller.use_layer(other, False)
    assert controller.document.session.annotations.object_ids == (1,)


def test_a_labels_layer_from_elsewhere_can_be_the_annotation(controller, viewer, movie):
    viewer.add_labels(np.where(movie == 200, 3, 0) * (np.arange(6) == 2)[:, None, None], name="first mask")
    controller.use_layer(viewer.layers["first mask"], True)
    viewer.dims.set_point(0, 2)
    controller.mark_complete(True)
    np.testing.assert_array_equal(shown(viewer, 2) == 3, movie[2] == 200)
    assert controller.document.session.annotations.complete == {2}
    assert controller.document.objects >= {3}
    np.testing.assert_allclose(viewer.layers["first mask"].get_color(3), viewer.layers["clip masks"].get_color(3))


def test_a_duplicate_of_the_masks_belongs_to_the_person(controller, viewer):
    begin(controller)
    masks = viewer.layers["clip masks"]
    viewer.layers.selection = {masks}
    _duplicate_layer(viewer.layers)
    copy = viewer.layers["clip masks copy"]
    copy.data[0, :3, :3] = 7
    stroke(viewer, 1, 1, 8, 6)
    assert controller.document.masks is masks
    assert (copy.data[0, :3, :3] == 7).all()
    viewer.layers.remove(copy)
    stroke(viewer, 1, 2, 8, 6)
    assert [layer.name for layer in viewer.layers] == ["clip", "clip masks", "clip strokes"]


def test_a_duplicate_of_a_video_has_work_of_its_own(controller, viewer, movie):
    image = viewer.add_image(open_video(movie).as_layer_data(), name="file", metadata={PROJECT: "file.pml.zarr"})
    viewer.layers.selection = {image}
    _duplicate_layer(viewer.layers)
    copy = viewer.layers["file copy"]
    assert copy.data is image.data
    assert (PROJECT in image.metadata, PROJECT in copy.metadata) == (True, False)


def test_a_complete_frame_without_its_layer_is_not_all_background(controller, viewer, movie):
    begin(controller)
    mask = viewer.add_labels(np.where(movie == 200, 3, 0) * (np.arange(6) == 2)[:, None, None], name="first mask")
    controller.use_layer(mask, True, complete=True)
    viewer.dims.set_point(0, 4)
    controller.mark_complete(True)  # no object is there
    assert controller.document.session.annotations.complete == {2, 4}
    controller.use_layer(mask, False)
    assert controller.document.session.annotations.complete == {4}
    assert 2 not in controller.document.session.annotations.frames
    controller.use_layer(mask, True)
    assert controller.document.session.annotations.complete == {2, 4}
    viewer.layers.remove(mask)
    assert controller.document.session.annotations.complete == {4}


def test_points_without_labels_become_object_1_when_ticked(controller, viewer):
    layer = viewer.add_points([[0, 8, 6]], name="clicks")
    controller.use_layer(layer, True)
    assert controller.document.session.annotations.object_ids == (1,)


def test_results_and_unfitting_layers_are_no_candidates(controller, viewer):
    begin(controller)
    viewer.add_labels(np.zeros((3, 5), np.uint8), name="small")
    viewer.add_points(ndim=2, name="flat")
    assert [layer.name for layer in controller.candidates()] == ["clip strokes"]


def test_a_complete_frame(controller, viewer):
    begin(controller)
    controller.mark_complete(True)
    assert controller.document.session.annotations.complete == {0}
    controller.mark_complete(False)
    assert controller.document.session.annotations.complete == frozenset()


def test_the_label_chosen_in_naparis_own_controls_counts(controller, viewer):
    controller.choose_label(1)
    strokes = viewer.layers["clip strokes"]
    strokes.selected_label = 5
    assert controller.label == 5
    strokes.selected_label = 0  # erasing is not an object
    assert controller.label == 5


def test_new_settings_segment_the_frame_anew(controller, viewer, movie):
    begin(controller)
    controller.configure(FakeConfig(invert=True))
    np.testing.assert_array_equal(shown(viewer, 0) == 1, movie[0] != 200)


def test_going_to_the_least_certain_frame(controller, viewer):
    controller.go_to_suggestion()
    begin(controller)
    controller.propagate()
    controller.go_to_suggestion()
    assert viewer.dims.current_step[0] == 5
