"""Images with channels or slices, and several images of one size, become one video."""

import dask.array as da
import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Image
from qtpy.QtWidgets import QWidget

from napari_pml import open_video
from napari_pml.viewer.document.channels import combined, drop_single_axes, layer_of, layers_like, planes_of
from napari_pml.viewer.panel.channel_dialog import ChannelDialog, has_choice


@pytest.fixture
def recording() -> np.ndarray:
    """(T, C, Y, X) = (5, 2, 16, 20) uint16; a plane holds 1000 * channel + 10 * frame, and 500 more in one corner."""
    data = np.zeros((5, 2, 16, 20), np.uint16)
    data += np.arange(5, dtype=np.uint16)[:, None, None, None] * 10
    data += np.arange(2, dtype=np.uint16)[None, :, None, None] * 1000
    data[:, :, :8, :8] += 500
    return data


def combine(planes) -> Image:
    return layer_of(combined(planes), planes)


@pytest.fixture
def viewer() -> ViewerModel:
    return ViewerModel()


def test_one_channel_is_a_grey_video_as_it_is_stored(viewer, recording):
    image = viewer.add_image(recording, name="rec", scale=(2, 1, 0.5, 0.25), translate=(1, 0, 3, 4),
                             units=("s", "pixel", "um", "um"), axis_labels=("t", "c", "y", "x"))  # fmt: skip
    layer = combine([planes_of(image, 0, 1)[1], None, None])
    assert (layer.ndim, layer.rgb, layer.data.shape, layer.data.dtype) == (3, False, (5, 16, 20), np.uint16)
    np.testing.assert_array_equal(np.asarray(layer.data), recording[:, 1])
    np.testing.assert_allclose(layer.scale, (2, 0.5, 0.25))
    np.testing.assert_allclose(layer.translate, (1, 3, 4))
    assert [str(unit) for unit in layer.units] == ["second", "micrometer", "micrometer"]
    assert layer.axis_labels == ("t", "y", "x")
    np.testing.assert_allclose(layer.data_to_world((2, 3, 4)), np.array(image.data_to_world((2, 0, 3, 4)))[[0, 2, 3]])


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (1, 0, 2, 3), (0, 2, 3, 1)], ids=["TCYX", "CTYX", "TYXC"])
def test_channels_on_any_axis_become_colours(viewer, recording, order):
    image = viewer.add_image(recording.transpose(order), name="rec")
    red, blue = planes_of(image, order.index(0), order.index(1))
    layer = combine([red, None, blue])
    assert (layer.rgb, layer.data.shape, layer.data.dtype) == (True, (5, 16, 20, 3), np.uint8)
    frame = np.asarray(layer.data[2])
    # each in its own range, which is 540 over all frames
    assert [frame[0, 0].tolist(), frame[15, 19].tolist()] == [[245, 0, 245], [9, 0, 9]]


def test_a_black_frame_does_not_say_what_is_white(viewer, recording):
    recording[0] = 0
    layer = combine([*planes_of(viewer.add_image(recording), 0, 1), None])
    assert np.asarray(layer.data[0]).max() == 0
    assert len(np.unique(np.asarray(layer.data[4])[..., 0])) > 1
    assert np.asarray(layer.data[4])[..., 0].min() < 20


def test_the_network_sees_what_is_shown(viewer, recording):
    layer = combine([*planes_of(viewer.add_image(recording), 0, 1), None])
    rgb = open_video(layer.data, channel_axis=3).rgb(0)
    np.testing.assert_allclose(rgb, np.asarray(layer.data[0]) / np.float32(255), atol=1e-6)


def test_only_the_frames_that_are_looked_at_are_read(viewer, recording):
    read = []

    def block(data, block_info):
        read.append(block_info[0]["chunk-location"][:2])
        return data

    lazy = da.from_array(recording, chunks=(1, 1, 16, 20)).map_blocks(block, dtype=np.uint16, meta=np.empty(0))
    image = viewer.add_image(lazy, contrast_limits=(0, 2000))
    read.clear()
    layer = combine([planes_of(image, 0, 1)[1], None, None])
    np.asarray(layer.data[3])
    assert {channel for _, channel in read} == {1}
    assert {t for t, _ in read} <= {0, 2, 3}  # the first, the one that napari shows, and the one asked for


def test_images_of_one_size_become_colours_as_their_contrast_is_set(viewer, recording):
    dapi = viewer.add_image(recording[:, 0], name="dapi", contrast_limits=(0, 1000), scale=(1, 3, 3))
    gfp = viewer.add_image(recording[:, 1], name="gfp", contrast_limits=(1000, 1250), scale=(1, 3, 3))
    viewer.add_image(recording[:3, 0], name="shorter")
    planes = layers_like(dapi, list(viewer.layers))
    assert [plane.name for plane in planes] == ["dapi", "gfp"]
    layer = combine([planes[1], planes[0], None])
    frame = np.asarray(layer.data[0])
    assert frame[0, 0].tolist() == [255, 127, 0]
    assert layer.name == "gfp+dapi"
    np.testing.assert_allclose(layer.extent.world, gfp.extent.world)


def test_nan_is_black(viewer):
    data = np.linspace(0, 1, 3 * 2 * 8 * 8, dtype=np.float32).reshape(3, 2, 8, 8)
    data[:, :, 0, 0] = np.nan
    layer = combine([*planes_of(viewer.add_image(data), 0, 1), None])
    assert np.asarray(layer.data[1])[0, 0].tolist() == [0, 0, 0]


def test_a_choice_is_offered_where_there_is_one(viewer, recording):
    assert not has_choice(None, viewer)
    first = viewer.add_image(recording[:, 0], name="first")
    assert not has_choice(first, viewer)
    viewer.add_image(recording[:, 1], name="second")
    assert has_choice(first, viewer)
    assert has_choice(viewer.add_image(recording), viewer)
    assert not has_choice(viewer.add_image(recording[..., None].repeat(3, -1)[:, 0], rgb=True), viewer)


def test_of_many_slices_one_is_proposed(qtbot, viewer):
    image = viewer.add_image(np.zeros((3, 9, 16, 20)), axis_labels=("t", "z", "y", "x"))
    window = QWidget()
    dialog = ChannelDialog(image, viewer, window)
    assert (dialog.time.currentIndex(), dialog.across.currentIndex()) == (0, 1)
    assert [box.currentText() for box in dialog.colours] == ["number 4", "-", "-"]
    assert dialog.remove.isChecked()
    dialog.time.setCurrentIndex(1)  # the same axis twice is no choice
    assert not dialog.buttons.button(dialog.buttons.StandardButton.Ok).isEnabled()
    dialog.across.setCurrentIndex(0)
    assert not dialog.remove.isChecked()
    dialog.accept()
    qtbot.wait_until(lambda: dialog.made is not None)
    assert dialog.made.rgb
    assert dialog.made.data.shape == (9, 16, 20, 3)


@pytest.mark.usefixtures("fake_engine")
def test_from_a_refused_image_to_a_video_that_can_be_painted(make_napari_viewer, qtbot, recording):
    viewer = make_napari_viewer()
    viewer.add_image(recording, name="rec")
    _, panel = viewer.window.add_plugin_dock_widget("napari-pml")
    assert "'Choose channels...'" in panel.hint.text()
    assert not panel.channels.isHidden()
    panel.channels.click()
    panel.findChild(ChannelDialog).accept()
    qtbot.wait_until(lambda: panel.images.currentText() == "rec 0+1")
    assert [layer.name for layer in viewer.layers] == ["rec 0+1"]
    assert "paint a stroke" in panel.hint.text()
    assert panel.channels.isHidden()
    panel.objects.select(1)
    assert viewer.layers["rec 0+1 strokes"].data.shape == (5, 16, 20)
    panel.background.drain()


def test_split_channels_are_combined_and_chosen(make_napari_viewer, qtbot, recording):
    viewer = make_napari_viewer()
    viewer.add_image(recording, channel_axis=1, name=["dapi", "gfp"])
    _, panel = viewer.window.add_plugin_dock_widget("napari-pml")
    panel.channels.click()
    panel.findChild(ChannelDialog).accept()
    qtbot.wait_until(lambda: panel.images.currentText() == "dapi+gfp")
    assert panel.controller.document.image is viewer.layers["dapi+gfp"]
    panel.background.drain()


@pytest.mark.parametrize(
    "place",
    [
        {"scale": (2, 1, 0.5, 0.25), "translate": (1, 2, 3, 4)},
        {"shear": np.array([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0.7], [0, 0, 0, 1.0]]), "scale": (1, 1, 2, 3)},
        {"rotate": 20, "translate": (0, 0, 5, 6)},
        {"affine": np.eye(5) + 0.2 * np.eye(5, k=1) * np.array([0, 0, 1, 0, 0])[:, None]},
    ],
    ids=["scaled", "sheared", "rotated", "affine"],
)
def test_a_channel_lies_where_its_layer_does(viewer, recording, place):
    image = viewer.add_image(recording, name="rec", **place)
    layer = combine([planes_of(image, 0, 1)[1], None, None])
    for point in ((0, 0, 0), (2, 3, 4), (4, 15, 19)):
        expected = np.array(image.data_to_world((point[0], 1, *point[1:])))[[0, 2, 3]]
        np.testing.assert_allclose(layer.data_to_world(point), expected, atol=1e-9)


def test_axes_along_which_there_is_one_thing_are_dropped(viewer, recording):
    film = recording[:, :1, None]
    image = viewer.add_image(film, scale=(2, 1, 1, 0.5, 0.25), translate=(1, 0, 0, 3, 4))
    drop_single_axes(image)
    assert (image.ndim, viewer.dims.ndim, image.data.shape) == (3, 3, (5, 16, 20))
    np.testing.assert_allclose(image.data_to_world((2, 3, 4)), (5, 4.5, 5))
    np.testing.assert_array_equal(np.asarray(image.data), film[:, 0, 0])


def test_a_place_is_chosen_on_every_further_axis(viewer, recording, qtbot):
    parent = QWidget()
    qtbot.addWidget(parent)
    image = viewer.add_image(np.stack([recording, recording + 1, recording + 2], axis=2), axis_labels=tuple("tczyx"))
    dialog = ChannelDialog(image, viewer, parent)
    place = dialog.places[2]
    assert [box.isEnabled() for box in dialog.places.values()] == [False, False, True]
    assert (place.maximum(), place.value(), dialog.across.currentIndex()) == (2, 1, 1)
    place.setValue(2)
    for box in dialog.colours[1:]:
        box.setCurrentIndex(0)
    with qtbot.waitSignal(dialog.accepted, timeout=60_000):
        dialog.accept()
    np.testing.assert_array_equal(np.asarray(dialog.made.data), recording[:, 0] + 2)
