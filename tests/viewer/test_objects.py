"""What may be done with whole objects, without a window."""

import dask.array as da
import numpy as np
import pandas as pd
import pytest

from actions import begin, shown, stroke
from napari_pml.errors import AnnotationError
from napari_pml.types import BACKGROUND
from napari_pml.viewer.control import objects
from napari_pml.viewer.control.controller import Controller

pytestmark = pytest.mark.usefixtures("fake_engine")

ORANGE = (1.0, 0.5, 0.0, 1.0)


def annotated(controller) -> set[int]:
    return set(controller.document.session.annotations.object_ids)


@pytest.fixture
def drawn(controller, viewer):
    """Object 1 in strokes, object 2 in strokes on two frames and as a point and a shape."""
    begin(controller)
    stroke(viewer, 2, 0, 19, 25)
    stroke(viewer, 2, 3, 19, 25)
    controller.choose_label(2)
    controller.draw_with("points")
    viewer.layers["clip points"].add((4, 19, 25))
    controller.draw_with("shapes")
    viewer.layers["clip shapes"].add_rectangles(np.array([[5, 17, 22], [5, 17, 27], [5, 20, 27], [5, 20, 22]]))
    return controller


def test_the_frames_of_an_object_are_those_with_anything_drawn_for_it(drawn):
    assert objects.frames_with(drawn.document, {2}) == {0, 3, 4, 5}
    assert objects.frames_with(drawn.document, {1}) == {0}
    assert objects.frames_with(drawn.document, {7}) == set()


def test_delete_takes_an_object_out_of_every_layer_and_undo_brings_its_strokes_back(drawn, viewer, movie):
    objects.delete(drawn.document, {2})
    assert annotated(drawn) == {1}
    assert drawn.document.objects == {1}
    assert len(viewer.layers["clip points"].data) == len(viewer.layers["clip shapes"].data) == 0
    np.testing.assert_array_equal(shown(viewer, 0) == 1, movie[0] == 200)
    viewer.layers["clip strokes"].undo()  # both frames in one step
    assert annotated(drawn) == drawn.document.objects == {1, 2}
    assert set(drawn.document.session.annotations.frames) == {0, 3}


def test_delete_finds_strokes_that_lie_under_something_else(drawn, viewer):
    strokes, points = viewer.layers["clip strokes"], viewer.layers["clip points"]
    drawn.choose_label(1)
    drawn.draw_with("points")
    points.current_size = 9
    points.add((3, 19, 25))
    assert not (drawn.document.session.annotations.frames[3] == 2).any()
    objects.delete(drawn.document, {2})
    assert not (np.asarray(strokes.data[3]) == 2).any()


def test_merged_objects_have_the_lowest_number(drawn, viewer):
    viewer.layers["clip points"].add((4, 8, 15))
    assert objects.merge(drawn.document, {1, 2}) == 1
    assert annotated(drawn) == drawn.document.objects == {1}
    assert set(drawn.document.session.annotations.frames) == {0, 3, 4, 5}
    assert viewer.layers["clip points"].features["label"].tolist() == [1, 1]
    np.testing.assert_allclose(
        viewer.layers["clip points"].face_color[0], viewer.layers["clip strokes"].get_color(1), atol=1e-6
    )
    viewer.layers["clip strokes"].undo()
    assert annotated(drawn) == {1, 2}


@pytest.mark.parametrize("labels", [["1", "2", "ring"], pd.Categorical(["1", "2", "ring"])])
def test_marks_from_a_table_of_words_are_merged_too(controller, viewer, labels):
    layer = viewer.add_points([[0, 8, 6], [0, 19, 25], [0, 2, 2]], features={"label": labels}, name="clicks")
    controller.use_layer(layer, True)
    assert objects.merge(controller.document, {1, 2}) == 1
    assert annotated(controller) == {1}
    assert layer.features["label"].tolist() == ["1", 1, "ring"]


def test_a_layer_that_cannot_be_written_is_named_and_nothing_else_is_changed(drawn, viewer):
    viewer.add_labels(da.full((6, 24, 40), 2, dtype=np.uint16, chunks=(1, 24, 40)), name="lazy")
    drawn.use_layer(viewer.layers["lazy"], True)
    drawn.use_layer(viewer.layers["clip strokes"], False)
    with pytest.raises(AnnotationError, match=r"'lazy'.*duplicate it"):
        objects.delete(drawn.document, {2})
    assert 2 in drawn.document.objects
    assert len(viewer.layers["clip points"].data) == 1


def test_an_own_colour_reaches_every_layer_also_those_made_later(controller, viewer):
    controller.choose_label(1)
    objects.recolour(controller.document, {1}, ORANGE)
    begin(controller)
    controller.choose_label(1)
    controller.draw_with("points")
    viewer.layers["clip points"].add((0, 8, 6))
    for name in ("clip strokes", "clip masks"):
        np.testing.assert_allclose(viewer.layers[name].get_color(1), ORANGE)
    np.testing.assert_allclose(viewer.layers["clip points"].face_color, [ORANGE])
    objects.recolour(controller.document, {1}, (0.0, 0.0, 1.0, 1.0))
    np.testing.assert_allclose(viewer.layers["clip points"].face_color, [(0, 0, 1, 1)])


def test_a_hidden_object_is_transparent_everywhere_and_stays_annotated(drawn, viewer):
    layers = [viewer.layers[name] for name in ("clip strokes", "clip masks")]
    objects.set_hidden(drawn.document, {2}, True)
    assert [layer.get_color(2)[3] for layer in layers] == [0, 0]
    assert viewer.layers["clip points"].face_color[0, 3] == viewer.layers["clip shapes"].edge_color[0, 3] == 0
    assert [layer.get_color(1)[3] for layer in layers] == [1, 1]
    assert annotated(drawn) == {1, 2}
    objects.set_hidden(drawn.document, {2}, False)
    assert [layer.get_color(2)[3] for layer in layers] == [1, 1]
    assert viewer.layers["clip points"].face_color[0, 3] == 1


def test_points_whose_label_is_no_object_keep_their_colour(controller, viewer):
    layer = viewer.add_points([[0, 8, 6], [0, 9, 6]], features={"label": [np.nan, 2]}, face_color="red", name="clicks")
    controller.use_layer(layer, True)
    np.testing.assert_allclose(layer.face_color[0], (1, 0, 0, 1))
    np.testing.assert_allclose(layer.face_color[1], controller.document.appearance.colour(2), atol=1e-6)


def test_names_and_colours_are_found_again_when_the_panel_was_closed(drawn, viewer, runner):
    objects.rename(drawn.document, 2, " left cell ")
    objects.recolour(drawn.document, {2}, ORANGE)
    drawn.close()
    again = Controller(viewer, runner)
    again.choose_image(viewer.layers["clip"])
    assert again.document.names == {2: "left cell"}
    np.testing.assert_allclose(viewer.layers["clip strokes"].get_color(2), ORANGE)
    objects.rename(again.document, 2, "  ")
    assert again.document.names == {}


def test_a_new_object_has_the_next_number_and_no_past(drawn):
    objects.rename(drawn.document, 2, "gone")
    objects.set_hidden(drawn.document, {2}, True)
    objects.delete(drawn.document, {2})
    assert objects.begin(drawn.document) == 2
    assert drawn.document.names == {}
    assert drawn.document.appearance.hidden == set()


def test_numbers_are_not_beyond_what_a_label_can_be(controller):
    controller.document.objects = {1, 2, BACKGROUND - 1}
    assert objects.begin(controller.document) == 3
    controller.document.objects = set(range(1, BACKGROUND))
    with pytest.raises(AnnotationError, match="65534 objects"):
        objects.begin(controller.document)
