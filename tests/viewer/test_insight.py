"""What is shown of the inside of a segmentation, without a window."""

from functools import partial

import numpy as np
import pytest
from napari.components import ViewerModel

import napari_pml
from drawn_video import ColourEmbedder
from napari_pml.grid import pixel_counts
from napari_pml.types import BACKGROUND, FrameMask
from napari_pml.viewer.control.controller import Controller
from napari_pml.viewer.control.insight import Insight
from napari_pml.viewer.control.marker import Marker
from stand_ins import Runner

STRIDE = 8
EMPTY = np.zeros((96, 128), int)


@pytest.fixture
def embedder(monkeypatch) -> ColourEmbedder:
    embedder = ColourEmbedder()
    monkeypatch.setattr(napari_pml, "Session", partial(napari_pml.Session, embedder=embedder))
    return embedder


class Bench:
    """A viewer with a video, and everything that works behind the panel; `hold` the runners to stop in between."""

    def __init__(self, video: np.ndarray, **options) -> None:
        self.viewer = ViewerModel()
        self.image = self.viewer.add_image(video, name="clip", **options)
        self.work, self.colours, self.maps = Runner(), Runner(), Runner()
        self.controller = Controller(self.viewer, self.work)
        self.insight = Insight(self.controller, self.colours, self.maps)
        self.controller.changed.connect(self.insight.refresh)
        self.go_to(0)
        self.controller.choose_image(self.image)

    def begin(self) -> None:
        """Strokes on the red disc, the blue square and the ground of frame 0."""
        self.controller.choose_label(1)
        for label, y, x in ((1, 60, 30), (2, 22, 100), (BACKGROUND, 90, 60)):
            self.paint(label, 0, y, x)

    def paint(self, label: int, t: int, y: int, x: int) -> None:
        strokes = self.viewer.layers["clip strokes"]
        strokes.brush_size = 8
        with strokes.block_history():
            strokes.paint((t, y, x), label)

    def go_to(self, t: int) -> None:
        self.viewer.dims.set_point(0, self.image.data_to_world((t, 0, 0))[0])

    def shown(self, look: str, t: int) -> np.ndarray:
        return np.asarray(self.viewer.layers[f"clip {look}"].data[t, :, :])

    @property
    def names(self) -> list[str]:
        return [layer.name for layer in self.viewer.layers]


@pytest.fixture
def bench(drawn, embedder) -> Bench:
    bench = Bench(drawn[0], rgb=True)
    bench.begin()
    return bench


def disc_in_a_corner() -> tuple[np.ndarray, np.ndarray]:
    """Three frames (3, 84, 117), no multiples of the stride, and where their bright disc is."""
    y, x = np.mgrid[:84, :117]
    disc = np.hypot(y - 68, x - 100) < 12
    return np.stack([np.where(disc, 200, 20).astype(np.uint8)] * 3), disc


@pytest.mark.parametrize("kind", ["grey", "rgb", "multiscale"])
@pytest.mark.parametrize(
    "placing",
    [{}, {"scale": (2, 0.5, 0.25), "translate": (1, 7, -9)}, {"scale": (1, 3, 3), "rotate": (0, 0, 30)}],
    ids=["plain", "scaled", "rotated"],
)
def test_cells_lie_over_their_pixels(embedder, kind, placing):
    frames, disc = disc_in_a_corner()
    shown = {"grey": frames, "rgb": np.repeat(frames[..., None], 3, -1), "multiscale": [frames, frames[:, ::2, ::2]]}
    bench = Bench(shown[kind], rgb=kind == "rgb", **placing)
    bench.controller.choose_label(1)
    session = bench.controller.document.session
    share = pixel_counts(disc.astype(np.uint16), (1,), STRIDE).numpy().reshape(session.masks.grid) / STRIDE**2
    session.masks.put(FrameMask(0, disc.astype(np.uint16), 1 - share, 1))
    for look in ("confidence", "embedding"):
        bench.insight.show(look, True)
    brightness = np.abs(bench.shown("embedding", 0)[..., 0] - float(bench.shown("embedding", 0)[0, 0, 0]))
    truth = np.array(bench.image.data_to_world((0, *np.argwhere(disc).mean(0))))
    half_a_cell = STRIDE / 2 * bench.image.scale[1:].min()
    for look, weight in (("confidence", 1 - bench.shown("confidence", 0)), ("embedding", brightness)):
        cell = np.average(np.indices(weight.shape).reshape(2, -1), axis=1, weights=weight.ravel())
        found = np.array(bench.viewer.layers[f"clip {look}"].data_to_world((0, *cell)))
        assert np.abs(found - truth).max() < half_a_cell, look


def test_confidence_follows_the_masks(bench):
    bench.insight.show("confidence", True)
    session = bench.controller.document.session
    np.testing.assert_array_equal(bench.shown("confidence", 0), session.masks.confidence(0))
    assert np.isnan(bench.shown("confidence", 5)).all()
    drawn = []
    bench.viewer.layers["clip confidence"].events.set_data.connect(lambda event: drawn.append(bench.controller.frame))
    bench.controller.propagate()
    assert drawn
    assert np.asarray(bench.viewer.layers["clip confidence"].data).shape == (8, 12, 16)
    np.testing.assert_array_equal(bench.shown("confidence", 5), session.masks.confidence(5))
    for _ in range(3):
        bench.viewer.layers["clip strokes"].undo()
    assert np.isnan(bench.viewer.layers["clip confidence"].data[:]).all()


def test_there_is_nothing_to_show_before_there_is_a_network_or_a_mask(drawn, embedder):
    bench = Bench(drawn[0], rgb=True)
    assert not bench.insight.can_show("embedding")
    bench.insight.show("embedding", True)
    bench.controller.choose_label(1)
    assert bench.insight.can_show("embedding")
    assert not bench.insight.can_show("confidence")
    bench.insight.show("confidence", True)
    assert bench.names == ["clip", "clip strokes"]


def test_embeddings_are_made_in_the_background_for_the_frame_in_view_alone(bench, embedder):
    bench.colours.hold = bench.work.hold = True
    calls = embedder.calls
    bench.insight.show("embedding", True)
    bench.go_to(5)
    assert embedder.calls == calls
    assert not bench.shown("embedding", 5).any()
    while bench.colours.busy:
        bench.colours.step()
    made = {t for t in range(8) if bench.shown("embedding", t)[..., 3].all()}
    assert made == {5}
    bench.go_to(5)
    assert not bench.colours.busy


def test_a_frame_keeps_its_colours_whatever_else_is_embedded(bench):
    bench.insight.show("embedding", True)
    bench.go_to(6)
    before = bench.shown("embedding", 6)
    assert np.ptp(before[..., :3], axis=(0, 1)).min() > 100
    bench.controller.propagate()
    bench.insight.show("embedding", False)
    bench.insight.show("embedding", True)
    np.testing.assert_array_equal(bench.shown("embedding", 6), before)


def test_layers_lie_between_video_masks_and_strokes_and_the_strokes_stay_active(bench):
    bench.insight.show("confidence", True)
    bench.insight.show("embedding", True)
    assert bench.names == ["clip", "clip embedding", "clip masks", "clip confidence", "clip strokes"]
    assert bench.viewer.layers.selection.active.name == "clip strokes"
    bench.insight.show("embedding", False)
    bench.viewer.layers.remove("clip confidence")
    bench.go_to(2)
    assert not bench.insight.shows("confidence")
    assert not bench.insight.shows("embedding")
    bench.insight.show("confidence", True)
    assert bench.insight.shows("confidence")


def test_a_layer_whose_data_the_person_replaced_is_left_alone(bench):
    bench.insight.show("confidence", True)
    layer = bench.viewer.layers["clip confidence"]
    layer.data = np.asarray(layer.data).mean(0, keepdims=True)
    bench.go_to(2)
    assert not bench.insight.shows("confidence")
    assert layer in bench.viewer.layers


def test_a_view_from_the_side(bench):
    bench.insight.show("confidence", True)
    bench.insight.show("embedding", True)
    bench.controller.propagate()
    bench.viewer.dims.order = (1, 0, 2)
    layer = bench.viewer.layers["clip confidence"]
    np.testing.assert_array_equal(layer.data[:, 4, :], [bench.shown("confidence", t)[4] for t in range(8)])
    np.testing.assert_array_equal(layer.data[2:4, 4, 1], [bench.shown("confidence", t)[4, 1] for t in (2, 3)])


def test_another_video_and_back(bench, drawn):
    bench.insight.show("embedding", True)
    bench.insight.watch_references(True)
    points = bench.insight.map
    other = bench.viewer.add_image(drawn[0][::-1], name="other", rgb=True)
    bench.controller.choose_image(other)
    assert not bench.insight.shows("embedding")
    assert bench.insight.map is None
    bench.go_to(4)
    bench.controller.choose_image(bench.image)
    assert bench.insight.shows("embedding")
    assert bench.shown("embedding", 4).any()
    np.testing.assert_array_equal(bench.insight.map.positions, points.positions)


def test_other_data_in_the_image_layer_take_the_layers_away(bench, drawn):
    bench.insight.show("confidence", True)
    bench.insight.show("embedding", True)
    bench.image.data = drawn[0][:, :48].copy()
    assert bench.names == ["clip", "clip strokes"]


@pytest.mark.parametrize("closed", ["clip", "clip masks", "clip strokes"])
def test_closing_a_layer_during_work(bench, closed):
    bench.insight.show("confidence", True)
    bench.insight.show("embedding", True)
    bench.insight.watch_references(True)
    bench.colours.hold = bench.maps.hold = bench.work.hold = True
    bench.paint(1, 0, 60, 40)
    bench.go_to(3)
    bench.viewer.layers.remove(closed)
    for runner in (bench.work, bench.colours, bench.maps):
        while runner.busy:
            runner.step()
    bench.go_to(5)
    assert {"clip confidence", "clip embedding"} < set(bench.names)
    assert (bench.insight.map is None) == (closed != "clip masks")


def test_the_map_follows_strokes_and_undo_while_somebody_looks(bench):
    assert bench.insight.map is None
    bench.insight.watch_references(True)
    before = bench.insight.map
    assert set(before.labels[before.painted].tolist()) == {1, 2, BACKGROUND}
    bench.paint(3, 0, 30, 30)
    assert 3 in bench.insight.map.labels
    bench.viewer.layers["clip strokes"].undo()
    np.testing.assert_array_equal(bench.insight.map.positions, before.positions)
    for _ in range(3):
        bench.viewer.layers["clip strokes"].undo()
    assert bench.insight.map is None
    bench.insight.watch_references(False)
    bench.viewer.layers["clip strokes"].redo()
    assert bench.insight.map is None


def test_a_map_that_comes_late_is_not_shown(bench):
    bench.maps.hold = True
    bench.insight.watch_references(True)
    receive = bench.maps._task[1]
    made = next(bench.maps._task[0])
    for _ in range(3):
        bench.viewer.layers["clip strokes"].undo()
    receive(made)
    assert bench.insight.map is None


def test_the_marker_goes_to_its_frame_and_is_no_annotation(drawn, embedder):
    bench = Bench(drawn[0], rgb=True, scale=(2, 0.5, 0.5), translate=(1, 10, 20))
    bench.begin()
    marker = Marker(bench.viewer)
    marker.show(bench.image, 3, 19.5, 99.5)
    layer = bench.viewer.layers["clip marker"]
    assert bench.controller.frame == 3
    assert bench.viewer.layers.selection.active.name == "clip strokes"
    centre = layer.data_to_world(layer.data[:, 0].mean(0))
    np.testing.assert_allclose(centre, bench.image.data_to_world((3, 19.5, 99.5)), atol=1e-4)
    assert layer not in bench.controller.candidates()
    marker.show(bench.image, 5, 3.5, 3.5)
    assert bench.names.count("clip marker") == 1
    bench.viewer.layers.remove("clip marker")
    marker.remove()
    assert bench.names == ["clip", "clip masks", "clip strokes"]


def test_the_camera_moves_only_to_pixels_out_of_view(bench):
    bench.image.corner_pixels = np.array([[0, 0, 0], [0, 50, 60]])
    camera = getattr(bench.viewer, "scene", bench.viewer).camera  # napari before 0.9 has no scene
    before = camera.center
    marker = Marker(bench.viewer)
    marker.show(bench.image, 2, 19.5, 35.5)
    assert camera.center == before
    marker.show(bench.image, 2, 19.5, 99.5)
    assert camera.center[1:] == (19.5, 99.5)
