"""An image layer that shows other data than before."""

import numpy as np
import pytest

from actions import begin, shown, stroke
from napari_pml.viewer.control.controller import Controller

pytestmark = pytest.mark.usefixtures("fake_engine")


def test_other_data_of_the_same_shape_are_segmented_anew_with_the_same_strokes(controller, viewer, movie):
    begin(controller)
    controller.mark_complete(True)
    controller.propagate()
    mine = viewer.add_points([[1, 19, 25]], features={"label": [2]}, name="mine")
    controller.use_layer(mine, True)
    image, before = viewer.layers["clip"], controller.document.session
    image.data = image.data
    assert controller.document.session is before
    flipped = movie[:, :, ::-1].copy()
    flipped[0] = movie[0]
    image.data = flipped
    assert controller.document.session is not before
    assert list(controller.document.sources) == [viewer.layers["clip strokes"], mine]
    assert controller.document.session.annotations.complete == {0}
    controller.mark_complete(False)
    controller.propagate()
    np.testing.assert_array_equal(shown(viewer, 3) == 1, flipped[3] == 200)


def test_data_of_another_shape_let_go_of_the_strokes_and_say_so(controller, viewer, movie, monkeypatch):
    messages = []
    monkeypatch.setattr("napari_pml.viewer.control.controller.show_error", messages.append)
    begin(controller)
    controller.propagate()
    viewer.layers["clip"].data = np.concatenate([movie, movie])[:, :20]
    assert "'clip strokes'" in messages[0]
    assert list(controller.document.sources) == []
    assert [layer.name for layer in viewer.layers] == ["clip", "clip strokes"]
    controller.choose_label(1)
    viewer.dims.set_point(0, 9)
    stroke(viewer, 1, 9, 8, 15, viewer.layers.selection.active.name)
    assert set(controller.document.session.annotations.frames) == {9}
    viewer.layers["clip"].data = movie[0]
    assert controller.document is None
    assert "single image" in controller.problem


def test_data_that_were_replaced_while_the_panel_was_closed(controller, viewer, runner, movie):
    begin(controller)
    before = controller.document.session
    controller.close()
    viewer.layers["clip"].data = movie.copy()
    again = Controller(viewer, runner)
    again.choose_image(viewer.layers["clip"])
    assert again.document.session is not before
    assert viewer.layers["clip masks"].data.session is again.document.session
