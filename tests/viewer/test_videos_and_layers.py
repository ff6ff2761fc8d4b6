"""Several videos, every kind of image, layers that come and go; without a window."""

import dask.array as da
import numpy as np
import pytest
import zarr
from napari.components import ViewerModel
from napari.layers import Labels, Layer, Points

from actions import begin, shown, stroke
from napari_pml.types import BACKGROUND
from napari_pml.viewer.control.controller import Controller
from stand_ins import FakeSession, FakeVideo

pytestmark = pytest.mark.usefixtures("fake_engine")


def test_another_video_and_back(controller, viewer, movie):
    begin(controller)
    session = controller.document.session
    viewer.add_image(movie[::-1], name="other")
    controller.choose_image(viewer.layers["other"])
    assert controller.document.session is None
    controller.choose_label(1)
    stroke(viewer, 1, 0, 8, 20, "other strokes")
    assert controller.document.session.annotations.object_ids == (1,)
    assert set(session.annotations.frames) == {0}
    controller.choose_image(viewer.layers["clip"])
    assert controller.document.session is session
    stroke(viewer, 2, 0, 19, 25)
    assert session.annotations.object_ids == (1, 2)


def visible(viewer) -> list[str]:
    return [layer.name for layer in viewer.layers if layer.visible]


def test_what_is_chosen_is_what_is_seen_and_nothing_of_that_is_an_edit(controller, viewer, movie, monkeypatch):
    begin(controller)
    session, revision = controller.document.session, controller.document.session.annotations.revision
    read = []
    monkeypatch.setattr("napari_pml.viewer.document.annotation_layers.annotation", lambda t, *_: read.append(t))
    viewer.add_image(movie[::-1], name="other")
    mine = viewer.add_image(movie, name="map", opacity=0.4)
    controller.choose_image(viewer.layers["other"])
    assert visible(viewer) == ["other", "map"]
    assert viewer.layers.selection.active is mine
    viewer.layers.selection.active = viewer.layers["other"]
    controller.choose_image(viewer.layers["clip"])
    assert visible(viewer) == ["clip", "clip masks", "clip strokes", "map"]
    assert viewer.layers.selection.active is viewer.layers["clip"]
    viewer.layers["clip masks"].visible = False
    controller.choose_image(viewer.layers["other"])
    controller.choose_image(viewer.layers["clip"])
    assert visible(viewer) == ["clip", "clip strokes", "map"]  # what a person hides stays hidden
    assert session.annotations.revision == revision
    assert read == []


def test_a_video_that_is_dropped_over_the_chosen_one_is_hidden_when_something_may_be_drawn(controller, viewer, movie):
    begin(controller)
    viewer.add_image(movie[::-1], name="other")
    viewer.add_image(movie, name="beside", translate=(0, 0, 40))
    viewer.add_image(movie, name="channel", blending="additive")
    assert "other" in visible(viewer)
    controller.draw_with("brush")
    assert visible(viewer) == ["clip", "clip masks", "clip strokes", "beside", "channel"]
    viewer.layers["clip strokes"].undo()
    assert controller.document.session.annotations.object_ids == (1,)
    annotated = controller.document.session.annotations.frames
    assert not any((labels == BACKGROUND).any() for labels in annotated.values())


def test_closing_the_panel_and_opening_it_again_finds_everything(controller, viewer, runner):
    begin(controller)
    controller.propagate()
    controller.mark_complete(True)
    controller.close()
    strokes = viewer.layers["clip strokes"]
    strokes.data[1, :3, :3] = 2  # while nobody listens
    again = Controller(viewer, runner)
    again.choose_image(viewer.layers["clip"])
    assert [layer.name for layer in viewer.layers] == ["clip", "clip masks", "clip strokes"]
    assert again.document.session is controller.document.session
    assert again.document.session.annotations.object_ids == (1, 2)
    assert again.document.complete == {0}
    assert shown(viewer, 5).any()


def test_after_closing_nothing_happens_any_more(controller, viewer):
    begin(controller)
    before = controller.document.session.annotations
    controller.close()
    stroke(viewer, 2, 0, 19, 25)
    viewer.add_points(ndim=3)
    viewer.dims.set_point(0, 3)
    assert controller.document.session.annotations is before


def test_a_renamed_video_finds_everything_when_the_panel_is_opened_again(controller, viewer, runner):
    begin(controller)
    controller.propagate()
    controller.close()
    viewer.layers["clip"].name = "movie"
    again = Controller(viewer, runner)
    again.choose_image(viewer.layers["movie"])
    assert [layer.name for layer in viewer.layers] == ["movie", "clip masks", "clip strokes"]
    assert list(again.document.sources) == [viewer.layers["clip strokes"]]
    assert again.document.masks is viewer.layers["clip masks"]
    assert set(again.document.session.annotations.frames) == {0}


def test_a_copy_of_the_video_begins_without_annotations(controller, viewer):
    begin(controller)
    copy = Layer.create(*viewer.layers["clip"].as_layer_data_tuple())
    viewer.add_layer(copy)
    controller.choose_image(copy)
    assert list(controller.document.sources) == []


def test_strokes_for_a_video_that_is_not_chosen_count_when_it_is(controller, viewer, movie):
    begin(controller)
    viewer.add_image(movie[::-1], name="other")
    controller.choose_image(viewer.layers["other"])
    viewer.dims.set_point(0, 3)
    stroke(viewer, 2, 3, 19, 25)
    stroke(viewer, 3, 3, 19, 28)
    viewer.layers["clip strokes"].undo()
    assert controller.document.session is None
    viewer.dims.set_point(0, 1)
    controller.choose_image(viewer.layers["clip"])
    assert set(controller.document.session.annotations.frames) == {0, 3}
    assert controller.document.session.annotations.object_ids == (1, 2)


def test_a_source_of_two_videos_that_one_gives_up_still_counts_for_the_other(controller, viewer, movie):
    points = viewer.add_points(ndim=3, name="shared")
    viewer.add_image(movie[::-1], name="other")
    controller.choose_image(viewer.layers["other"])
    controller.use_layer(points, True)
    controller.use_layer(points, False)
    controller.choose_image(viewer.layers["clip"])
    points.add((0, 8, 6))
    assert set(controller.document.session.annotations.frames) == {0}


@pytest.mark.parametrize("name", ["clip", "clip masks", "clip strokes"])
def test_removing_a_layer_during_work(controller, viewer, runner, name):
    begin(controller)
    runner.hold = True
    controller.propagate()
    runner.step()
    viewer.layers.remove(name)
    runner.hold = False
    assert not controller.jobs.propagating
    assert [layer.name for layer in viewer.layers] == [
        other for other in ("clip", "clip masks", "clip strokes") if other != name
    ]
    viewer.dims.set_point(0, 2)
    if name == "clip":
        assert controller.document is None
    if name == "clip strokes":
        assert not controller.document.session.annotations.frames
    if name == "clip masks":
        stroke(viewer, 2, 2, 19, 25)
        assert set(np.unique(shown(viewer, 2))) == {0, 1, 2}


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (lambda a: np.repeat(a[..., None], 3, -1), {"rgb": True}),
        (lambda a: da.from_array(a, chunks=(1, 24, 40)), {}),
        (lambda a: zarr.array(a, chunks=(1, 24, 40)), {}),
        (lambda a: [a, a[:, ::2, ::2]], {"multiscale": True}),
    ],
    ids=["rgb", "dask", "zarr", "multiscale"],
)
def test_every_kind_of_image(viewer, runner, movie, kind, options, monkeypatch):
    opened = []
    monkeypatch.setattr("napari_pml.open_video", lambda *data, channel_axis: opened.append((*data, channel_axis)))
    monkeypatch.setattr("napari_pml.Session", lambda video, **_: FakeSession(FakeVideo(movie)))
    image = viewer.add_image(kind(movie), name="kind", **options)
    controller = Controller(viewer, runner)
    controller.choose_image(image)
    controller.choose_label(1)
    assert viewer.layers["kind strokes"].data.shape == movie.shape
    assert opened[0][0].shape[:3] == movie.shape
    assert opened[0][1] == (3 if options.get("rgb") else None)


@pytest.mark.parametrize(
    ("shape", "explanation"),
    [
        ((24, 40), "single image of shape .* time axis"),
        ((2, 6, 24, 40), "4 axes .* 'Choose channels"),
        ((2, 2, 6, 24, 40), "5 axes .* 'Choose channels"),
    ],
)
def test_an_image_that_is_no_video_is_explained(controller, viewer, shape, explanation):
    image = viewer.add_image(np.zeros(shape), name="wrong")
    controller.choose_image(image)
    assert controller.document is None
    with pytest.raises(AssertionError, match=explanation):
        raise AssertionError(controller.problem)
    controller.choose_label(1)
    controller.draw_with("points")
    controller.propagate()
    assert len(viewer.layers) == 2


def test_new_layers_lie_exactly_over_a_scaled_image(runner, movie):
    viewer = ViewerModel()
    image = viewer.add_image(movie, name="clip", scale=(2, 0.5, 0.5), translate=(0, 7, 9))
    controller = Controller(viewer, runner)
    controller.choose_image(image)
    begin_at = image.data_to_world((1, 8, 9))
    viewer.dims.set_point(0, begin_at[0])
    assert controller.frame == 1
    controller.draw_with("points")
    points = viewer.layers["clip points"]
    points.add(points.world_to_data(begin_at))
    masks = viewer.layers["clip masks"]
    np.testing.assert_allclose(masks.extent.world, image.extent.world)
    assert controller.document.session.annotations.frames[1][8, 9] == 1


def test_a_label_beyond_the_range_is_reported_and_the_rest_goes_on(controller, viewer, monkeypatch):
    messages = []
    monkeypatch.setattr("napari_pml.viewer.control.controller.show_error", messages.append)
    begin(controller)
    wrong = np.zeros((6, 24, 40), np.int32)
    wrong[0, 0, 0] = 70000
    layer = viewer.add_labels(wrong, name="wrong")
    controller.use_layer(layer, True)
    assert "'wrong'" in messages[0]
    controller.use_layer(layer, False)
    stroke(viewer, 2, 0, 19, 25)
    assert controller.document.session.annotations.object_ids == (1, 2)


def test_painting_over_several_frames_at_once(controller, viewer):
    controller.choose_label(1)
    viewer.layers["clip strokes"].n_edit_dimensions = 3
    viewer.dims.set_point(0, 2)
    stroke(viewer, 1, 2, 8, 12)
    assert set(controller.document.session.annotations.frames) == {1, 2, 3}


def test_painting_across_time(controller, viewer):
    begin(controller)
    viewer.dims.order = (1, 0, 2)
    viewer.dims.set_point(1, 8)
    stroke(viewer, 2, 3, 8, 20)
    painted = {t for t in range(6) if (np.asarray(viewer.layers["clip strokes"].data[t]) == 2).any()}
    assert painted == {2, 3, 4}
    assert set(controller.document.session.annotations.frames) == {0} | painted
    viewer.layers["clip strokes"].undo()
    assert set(controller.document.session.annotations.frames) == {0}


def test_strokes_that_are_set_from_the_console(controller, viewer, monkeypatch):
    messages = []
    monkeypatch.setattr("napari_pml.viewer.control.controller.show_error", messages.append)
    begin(controller)
    drawn = np.zeros((6, 24, 40), np.uint16)
    drawn[4, 4:8, 14:18] = 3
    viewer.layers["clip strokes"].data = drawn
    assert set(controller.document.session.annotations.frames) == {4}
    assert controller.document.session.annotations.object_ids == (3,)
    viewer.layers["clip strokes"].data = drawn[:2]
    assert "'clip strokes'" in messages[0]
    assert list(controller.document.sources) == []


def test_8_bit_labels_cannot_hold_background_which_is_drawn_in_a_layer_of_its_own(controller, viewer):
    mine = viewer.add_labels(np.zeros((6, 24, 40), np.uint8), name="mine")
    controller.use_layer(mine, True)
    controller.choose_label(2)
    assert viewer.layers.selection.active is mine
    stroke(viewer, 2, 0, 8, 6, "mine")
    controller.choose_label(BACKGROUND)
    assert mine.selected_label == 2
    assert viewer.layers.selection.active.name == "clip strokes"
    assert viewer.layers.selection.active.selected_label == BACKGROUND


def test_playing_through_the_video_does_not_reread_every_stroke(controller, viewer, monkeypatch):
    begin(controller)
    controller.propagate()
    read = []
    monkeypatch.setattr("napari_pml.viewer.document.annotation_layers.annotation", lambda t, *_: read.append(t))
    for t in (1, 2, 3):
        viewer.dims.set_point(0, t)
    assert read == []


def test_each_tool_has_one_layer(controller, viewer):
    controller.draw_with("brush")
    controller.draw_with("points")
    assert [type(layer) for layer in viewer.layers] == [type(viewer.layers[0]), Labels, Points]
    controller.draw_with("brush")
    assert viewer.layers.selection.active.name == "clip strokes"
    assert len(viewer.layers) == 3


def test_undo_in_a_layer_from_elsewhere_that_was_just_ticked(controller, viewer):
    layer = viewer.add_labels(np.zeros((6, 24, 40), np.uint8), name="mine")
    stroke(viewer, 1, 0, 8, 6, "mine")
    controller.use_layer(layer, True)
    assert controller.document.session.annotations.object_ids == (1,)
    layer.undo()
    assert controller.document.session.annotations.object_ids == ()
