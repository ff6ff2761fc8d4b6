"""A project that version 0.1 made, dropped into the present window; see `tests/store/test_version_0_1.py`."""

import zipfile
from pathlib import Path

import numpy as np
from napari.components import ViewerModel

import napari_pml
from drawn_video import ColourEmbedder
from napari_pml import Session
from napari_pml.viewer.contributions.project_reader import read_project
from napari_pml.viewer.control.controller import Controller
from stand_ins import Runner


def test_its_layers_come_back(tmp_path, monkeypatch):
    with zipfile.ZipFile(Path(__file__).parents[1] / "store" / "version_0_1.zip") as archive:
        archive.extractall(tmp_path)
    monkeypatch.setitem(
        vars(napari_pml), "Session", lambda video, **options: Session(video, embedder=ColourEmbedder(), **options)
    )
    viewer = ViewerModel()
    for data in read_project(tmp_path / "shapes.pml.zarr"):
        viewer._add_layer_from_data(*data)
    assert [layer.name for layer in viewer.layers] == [
        "shapes", "shapes masks", "shapes strokes", "shapes shapes", "shapes points"
    ]  # fmt: skip
    with np.load(tmp_path / "expected.npz") as expected:
        np.testing.assert_array_equal(np.asarray(viewer.layers["shapes masks"].data[:]), expected["masks"])
    controller = Controller(viewer, Runner())
    controller.choose_image(viewer.layers["shapes"])
    controller.propagate()
    assert controller.document.objects == {1, 2, 3}
    assert controller.document.names == {1: "disc"}
    assert controller.document.appearance.colour(1) == (1.0, 128 / 255, 0.0, 1.0)
    assert controller.document.frames_done == len(viewer.layers["shapes masks"].data)
    controller.leave()
