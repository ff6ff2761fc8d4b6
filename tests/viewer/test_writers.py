"""File > Save, with layers as napari gives them to a writer."""

import json

import numpy as np
import pandas as pd
import pytest
import tifffile
from napari.components import ViewerModel
from napari.layers import Tracks
from PIL import Image

from napari_pml import open_video
from napari_pml.errors import ExportError
from napari_pml.io.label_images import read_labels
from napari_pml.io.overlay import export_overlay, overlay_frame, overlay_palette
from napari_pml.io.save import as_masks
from napari_pml.viewer.contributions.writers import write_folder, write_tracks

pytestmark = pytest.mark.usefixtures("installed_plugins")


@pytest.fixture
def viewer(drawn):
    frames, masks = drawn
    viewer = ViewerModel()
    viewer.add_image(open_video(frames).as_layer_data(), rgb=True, name="clip")
    viewer.add_labels(masks, name="masks", scale=(0.5, 2, 2), units=("second", "um", "um"))
    return viewer


def save(viewer, path, *names) -> list[str]:
    viewer.layers.selection = {viewer.layers[name] for name in names}
    return viewer.layers.save(str(path), selected=True, plugin="napari-pml")


def test_masks_as_pngs(viewer, drawn, tmp_path):
    assert save(viewer, tmp_path / "out.png", "masks") == [str(tmp_path / "out")]
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [f"{t:05d}.png" for t in range(8)]
    np.testing.assert_array_equal(read_labels(tmp_path / "out/00007.png"), drawn[1][7])


def test_a_name_without_suffix_means_pngs_too(viewer, tmp_path):
    save(viewer, tmp_path / "out", "masks")
    assert len(list((tmp_path / "out").iterdir())) == 8


def test_a_single_mask_is_one_png(viewer, drawn, tmp_path):
    viewer.add_labels(drawn[1][0], name="one")
    save(viewer, tmp_path / "one.png", "one")
    np.testing.assert_array_equal(read_labels(tmp_path / "one.png"), drawn[1][0])


def test_masks_as_zarr_and_coco(viewer, drawn, tmp_path):
    save(viewer, tmp_path / "masks.zarr", "masks")
    np.testing.assert_array_equal(open_video(tmp_path / "masks.zarr").read(3)[..., 0], drawn[1][3])
    save(viewer, tmp_path / "masks.json", "masks")
    assert len(json.loads((tmp_path / "masks.json").read_text())["images"]) == 8


def test_a_table_knows_scale_and_units(viewer, tmp_path):
    save(viewer, tmp_path / "masks.csv", "masks")
    table = pd.read_csv(tmp_path / "masks.csv")
    assert table["time_s"].tolist() == (table["frame"] * 0.5).tolist()
    assert table["area_micrometer2"].tolist() == (table["area_px"] * 4.0).tolist()


def test_masks_over_their_video(viewer, drawn, tmp_path):
    assert save(viewer, tmp_path / "overlay.mp4", "clip", "masks") == [str(tmp_path / "overlay.mp4")]
    assert open_video(tmp_path / "overlay.mp4").shape == (8, 96, 128)
    inside, shown = drawn[1][0] == 1, overlay_palette({1: (viewer.layers["masks"].get_color(1)[:3] * 255).tolist()})
    painted = overlay_frame(drawn[0][0] / np.float32(255), drawn[1][0], shown)
    found = open_video(tmp_path / "overlay.mp4").read(0)[inside].mean(axis=0)
    np.testing.assert_allclose(found, painted[inside].mean(axis=0), atol=10)
    viewer.add_labels(drawn[1][:, :50], name="smaller")
    with pytest.raises(ExportError, match="own video"):
        save(viewer, tmp_path / "wrong.mp4", "clip", "smaller")
    assert not (tmp_path / "wrong.mp4").exists()


def test_labels_with_four_axes_are_no_masks(viewer, tmp_path):
    viewer.add_labels(np.ones((2, 3, 4, 5), int), name="volumes")
    with pytest.raises(ExportError, match="three axes"):
        save(viewer, tmp_path / "volumes.json", "volumes")


@pytest.mark.parametrize("plugin", [None, "napari-pml"])
def test_layers_of_all_kinds_go_into_one_folder(viewer, drawn, tmp_path, plugin):
    viewer.add_image(np.random.default_rng(0).random((2, 3, 16, 16)).astype(np.float32), name="a/b")
    viewer.layers["masks"].name = "mouse.2 masks"
    viewer.add_points([[0, 3, 4]], name="clicks")
    viewer.add_shapes([[[0, 3, 4], [0, 5, 9]]], shape_type="line", name="lines")
    viewer.add_tracks([[1, 0, 3, 4], [1, 1, 3, 5]], features={"speed": [0.5, 1.5]}, name="ways")
    paths = viewer.layers.save(str(tmp_path / "all"), plugin=plugin)
    assert {p.name for p in (tmp_path / "all").iterdir()} == {
        "clip.tif", "mouse.2 masks", "a_b.tif", "clicks.csv", "lines.csv", "ways.csv",
    }  # fmt: skip
    assert len(paths) == 6
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "all/clip.tif"), drawn[0])
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "all/a_b.tif"), viewer.layers["a/b"].data)
    ways = pd.read_csv(tmp_path / "all/ways.csv")
    assert list(ways) == ["track_id", "t", "y", "x", "speed"]
    np.testing.assert_array_equal(Tracks(ways[["track_id", "t", "y", "x"]]).data, viewer.layers["ways"].data)
    assert ways["speed"].tolist() == [0.5, 1.5]


def test_layers_whose_names_become_the_same_get_a_number(viewer, drawn, tmp_path):
    viewer.layers.clear()
    for label, name in enumerate(["a/b", "a:b", "A?b", "a_b_2"], 1):
        viewer.add_labels(np.full((2, 4, 4), label), name=name)
    viewer.layers.save(str(tmp_path), plugin="napari-pml")
    found = {path.name: int(read_labels(path / "00000.png").max()) for path in tmp_path.iterdir()}
    assert found == {"a_b": 1, "a_b_2": 2, "A_b_3": 3, "a_b_2_2": 4}


def test_an_image_named_ome_may_have_any_type(tmp_path):
    data = np.arange(30, dtype=np.int64).reshape(2, 3, 5)
    (path,) = write_folder(str(tmp_path), [(data, {"name": "x.ome", "rgb": False}, "image")])
    np.testing.assert_array_equal(tifffile.imread(path), data)


def test_tracks_in_space_have_a_z(tmp_path):
    write_tracks(str(tmp_path / "ways.csv"), np.array([[1, 0, 7, 3, 4], [1, 1, 7, 3, 5]]), {"features": {}})
    assert list(pd.read_csv(tmp_path / "ways.csv")) == ["track_id", "t", "z", "y", "x"]


def test_a_label_image_is_edited_in_its_own_file(viewer, drawn, tmp_path, monkeypatch):
    path = tmp_path / "cells.png"
    Image.fromarray(drawn[1][0].astype(np.uint8)).save(path)
    (layer,) = viewer.open(str(path), plugin="napari", layer_type="labels")
    monkeypatch.setattr("napari_pml.viewer.contributions.writers.current_viewer", lambda: viewer)
    layer.data[:5, :5] = 3
    assert layer.save(str(path), plugin="napari-pml")
    np.testing.assert_array_equal(read_labels(path), layer.data)


def test_features_do_not_replace_the_places_of_tracks(tmp_path):
    features = {"t": [0.0, 0.5], "x": [60.0, 70.0], "area": [3, 4]}
    write_tracks(str(tmp_path / "ways.csv"), np.array([[1, 0, 3, 4], [1, 1, 3, 5]]), {"features": features})
    table = pd.read_csv(tmp_path / "ways.csv")
    assert list(table) == ["track_id", "t", "y", "x", "feature_t", "feature_x", "area"]
    assert table[["t", "x", "feature_x"]].to_numpy().tolist() == [[0, 4, 60], [1, 5, 70]]


def test_nothing_is_written_over_what_a_layer_is_read_from(viewer, drawn, tmp_path, monkeypatch):
    path = tmp_path / "clip.mp4"
    export_overlay(open_video(drawn[0]), as_masks(drawn[1]), path)
    before = path.read_bytes()
    viewer.add_image(open_video(path).as_layer_data(), rgb=True, name="file")
    viewer.layers.move(len(viewer.layers) - 1, 0)
    with pytest.raises(ExportError, match="would be overwritten"):
        save(viewer, path, "file", "masks")
    tifffile.imwrite(tmp_path / "clip.tif", drawn[0])
    viewer.open(str(tmp_path / "clip.tif"), plugin="napari", name="tiff")
    monkeypatch.setattr(
        "napari_pml.viewer.contributions.writers.current_viewer", lambda: viewer
    )  # as there is in a window
    with pytest.raises(ExportError, match="would be overwritten"):
        viewer.layers.save(str(tmp_path), plugin="napari-pml")
    assert path.read_bytes() == before
    assert {p.name for p in tmp_path.iterdir()} == {"clip.mp4", "clip.tif"}
