"""What is made of finished masks: tables, tracks, files."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile
import zarr
from napari.components import ViewerModel
from napari.layers import Image, Labels
from PIL import Image as PilImage
from qtpy.QtWidgets import QFileDialog, QMessageBox

from actions import begin
from drawn_video import ColourEmbedder
from napari_pml import Session, open_video
from napari_pml.errors import ExportError
from napari_pml.io.calibration import Calibration
from napari_pml.io.save import as_masks
from napari_pml.viewer.colours import colour_of
from napari_pml.viewer.contributions.writers import write_tracks
from napari_pml.viewer.control import objects
from napari_pml.viewer.control.controller import Controller
from napari_pml.viewer.document.channels import combined, layer_of, planes_of
from napari_pml.viewer.document.inputs import inputs_of, read_from
from napari_pml.viewer.document.results import (
    calibration_of,
    image_below,
    measured,
    names_of,
    new_tracks,
    show_summary,
    tracked,
)
from napari_pml.viewer.panel import results_box
from napari_pml.viewer.panel.mask_dialog import MaskDialog
from napari_pml.viewer.panel.results_box import ResultsBox
from napari_pml.viewer.panel.save_dialog import SUFFIXES, ask_where, folder_of

PATIENCE_MS = 20_000


@pytest.fixture
def labels(drawn) -> Labels:
    return Labels(drawn[1], name="masks")


@pytest.fixture
def table(labels) -> pd.DataFrame:
    return measured(as_masks(labels.data), Calibration())


@pytest.mark.parametrize(
    ("scale", "units", "expected"),
    [
        ((1, 1, 1), ("pixel", "pixel", "pixel"), Calibration()),
        ((1, 0.5, 2), ("pixel", "pixel", "pixel"), Calibration(None, (0.5, 2.0))),
        ((2, 0.5, 0.5), ("min", "um", "um"), Calibration(120.0, (0.5, 0.5), "micrometer")),
        ((1, -0.5, 0.5), ("s", "um", "um"), Calibration(1.0, (0.5, 0.5), "micrometer")),
        ((1, 1, 1), ("pixel", "mm", "um"), Calibration(None, (1000.0, 1.0), "micrometer")),
    ],
)
def test_scale_and_units_of_a_layer_are_understood(scale, units, expected):
    layer = Image(np.zeros((2, 3, 4)), scale=scale, units=units)
    assert calibration_of(layer.scale, layer.units, layer.data) == expected


def test_a_video_file_knows_when_each_frame_is_shown(data_folder):
    data = open_video(data_folder / "clips/flies-sleap.mp4").as_layer_data()
    assert calibration_of((1, 1, 1), Image(data).units, data) == Calibration(times=data.video.times)
    assert data.video.times[:3] == pytest.approx([0, 1 / 15, 2 / 15])
    in_minutes = Image(np.zeros((2, 3, 4)), units=("min", "pixel", "pixel")).units
    assert calibration_of((1, 1, 1), in_minutes, data) == Calibration(60.0)


def test_tracks_lie_over_the_video_in_the_colours_of_the_objects(table, labels):
    image = Image(labels.data, scale=(2, 0.5, 0.5), translate=(0, 3, 4), units=("second", "um", "um"), name="clip")
    tracks = new_tracks(table, image)
    assert tracks.name == "clip tracks"
    assert tracks.scale.tolist() == [2, 0.5, 0.5]
    assert tracks.translate.tolist() == [0, 3, 4]
    assert tracks.units == image.units
    assert set(tracks.data[:, 0]) == {1, 2}
    first = tracks.data[tracks.data[:, 0] == 1]
    np.testing.assert_allclose(first[:, 1], np.arange(8))
    np.testing.assert_allclose(first[:, 3], 30 + 3 * np.arange(8), atol=0.1)
    np.testing.assert_allclose(tracks.track_colors[[0, -1]], [colour_of(1), colour_of(2)])
    assert tracks.features["area_px"].tolist() == table.sort_values(["object", "frame"])["area_px"].tolist()


def test_an_object_that_is_seen_once_has_a_track_too():
    masks = np.zeros((2, 8, 8), int)
    masks[1, 2, 3] = 5
    tracks = new_tracks(measured(as_masks(masks), Calibration()), Labels(masks))
    assert tracks.data.tolist() == [[5, 1, 2, 3]]


def test_daughters_are_joined_to_their_parent():
    masks = np.zeros((2, 16, 16), np.uint16)
    masks[0, 4:8, 4:8], masks[1, 2:5, 4:8], masks[1, 7:10, 4:8] = 1, 2, 3
    tracks = new_tracks(measured(as_masks(masks), Calibration()), Labels(masks))
    assert {child: list(parents) for child, parents in tracks.graph.items()} == {2: [1], 3: [1]}


def test_without_objects_there_are_no_tracks():
    with pytest.raises(ExportError, match="No mask shows an object"):
        tracked(as_masks(np.zeros((2, 8, 8), int)), Calibration())


def test_the_pointer_shows_the_numbers_of_the_object_under_it(table, labels):
    show_summary(table, labels)
    assert "frames: 8" in labels.get_status((0, 60, 30), world=True)["coordinates"]
    assert "nan" not in labels.get_status((0, 0, 0), world=True)["coordinates"]


def test_row_n_of_the_table_is_object_n(labels):
    """What napari's table takes for granted, when it shows which label is chosen, and chooses that of a row."""
    masks = np.where(labels.data == 2, 4, labels.data)
    show_summary(measured(as_masks(masks), Calibration(), {4: "cup"}), labels)
    assert labels.features["index"].tolist() == [0, 1, 2, 3, 4]
    assert labels.features["frames"].tolist() == [0, 8, 0, 0, 8]
    assert labels.features["name"].tolist() == ["", "", "", "", "cup"]
    show_summary(measured(as_masks(masks * 0), Calibration()), labels)
    assert labels.features["index"].tolist() == [0]


def test_the_video_of_masks_is_the_uppermost_image_of_their_size(labels):
    below, above = Image(np.zeros((8, 96, 128, 3)), rgb=True), Image(np.zeros((8, 96, 128)))
    assert image_below(labels, [below, above, labels, Image(np.zeros((8, 96, 127)))]) is above
    assert image_below(labels, [labels]) is None


@pytest.mark.parametrize(
    ("typed", "kind", "path"),
    [
        ("/a/masks", "TIFF stack (*.tif)", "/a/masks.tif"),
        ("/a/masks", "Folder of PNG masks (*)", "/a/masks"),
        ("/a/masks.csv", "TIFF stack (*.tif)", "/a/masks.csv"),
        ("/a/masks.TIFF", "TIFF stack (*.tif)", "/a/masks.TIFF"),
        ("/a/mouse.2", "Folder of PNG masks (*)", "/a/mouse.2"),
        ("/a/mouse.2", "Zarr array (*.zarr)", "/a/mouse.2.zarr"),
        ("", "", "None"),
    ],
)
def test_the_kind_of_file_is_what_was_typed_or_else_what_was_chosen(typed, kind, path, monkeypatch):
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: (typed, kind))
    assert str(ask_where(None, Path(), "masks")) == path
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *asked: (asked[2], "Folder of PNG masks (*)"))
    assert str(ask_where(None, Path("a"), "mouse.2 masks")) == str(Path("a/mouse_2 masks"))
    assert set(SUFFIXES.values()) == {"", ".tif", ".zarr", ".mp4", ".csv", ".json"}


@pytest.mark.parametrize("answer", [QMessageBox.StandardButton.Yes, QMessageBox.StandardButton.No])
def test_a_file_whose_suffix_was_not_typed_is_replaced_only_if_the_person_says_so(answer, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: (str(tmp_path / "a"), "TIFF stack (*.tif)"))
    monkeypatch.setattr(QMessageBox, "question", lambda *words: asked.append(words[2]) or answer)
    assert ask_where(None, tmp_path, "masks") == tmp_path / "a.tif"
    assert asked == []
    (tmp_path / "a.tif").touch()
    replaced = tmp_path / "a.tif" if answer == QMessageBox.StandardButton.Yes else None
    assert ask_where(None, tmp_path, "masks") == replaced
    assert asked == ["a.tif exists already. Do you want to replace it?"]


def test_a_folder_can_be_saved_again_and_again_under_the_name_that_is_proposed(tmp_path, monkeypatch):
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *asked: (asked[2], "Folder of PNG masks (*)"))
    for name in ("clip masks", "clip masks 2", "clip masks 3"):
        place = ask_where(None, tmp_path, "clip masks")
        assert place == tmp_path / name
        place.mkdir()


@pytest.mark.usefixtures("installed_plugins")
def test_masks_are_proposed_to_be_saved_beside_the_video(tmp_path, movie):
    np.save(tmp_path / "clip.npy", movie)
    (layer,) = ViewerModel().open(str(tmp_path / "clip.npy"), plugin="napari")
    assert folder_of(layer) == tmp_path
    assert folder_of(Image(movie)) == Path.home()


@pytest.fixture
def box(viewer, runner, fake_engine, qtbot) -> ResultsBox:
    """The buttons for a clip of which one frame is segmented."""
    controller = Controller(viewer, runner)
    box = ResultsBox(viewer, controller)
    qtbot.addWidget(box)
    box.refresh()
    assert not box.save.isEnabled()
    controller.choose_image(viewer.layers["clip"])
    begin(controller)
    box.refresh()
    return box


def test_the_tracks_button_adds_one_layer_however_often_it_is_pressed(box, viewer, qtbot):
    for _ in range(2):
        box.tracks.click()
        assert not box.tracks.isEnabled()  # one task at a time
        qtbot.wait_until(box.tracks.isEnabled, timeout=PATIENCE_MS)
    tracks = [layer for layer in viewer.layers if layer.name.startswith("clip tracks")]
    assert len(tracks) == 1
    assert tracks[0].data[0].tolist() == [1, 0, 7.5, 6.5]


def test_tracks_follow_the_colours_of_objects(box, viewer, qtbot):
    box.tracks.click()
    qtbot.wait_until(box.tracks.isEnabled, timeout=PATIENCE_MS)
    green = (0.0, 1.0, 0.0, 1.0)
    objects.recolour(box._controller.document, [1], green)
    assert viewer.layers["clip tracks"].track_colors.tolist() == [list(green)]
    objects.set_hidden(box._controller.document, [1], True)
    assert viewer.layers["clip tracks"].track_colors.tolist() == [[0, 1, 0, 0]]


def test_names_are_in_every_result(box, viewer, qtbot, tmp_path, monkeypatch):
    objects.rename(box._controller.document, 1, "mother")
    for name in ("masks.csv", "masks.json"):
        monkeypatch.setattr(results_box, "ask_where", lambda *_, name=name: tmp_path / name)
        box.save.click()
        qtbot.wait_until(box.save.isEnabled, timeout=PATIENCE_MS)
    assert pd.read_csv(tmp_path / "masks.csv")["name"].tolist() == ["mother"]
    assert '"name": "mother"' in (tmp_path / "masks.json").read_text()
    assert names_of(viewer.layers["clip masks"].data, viewer.layers) == {1: "mother"}
    assert names_of(viewer.layers["clip strokes"].data, viewer.layers) == {}
    box.tracks.click()
    qtbot.wait_until(box.tracks.isEnabled, timeout=PATIENCE_MS)
    tracks = viewer.layers["clip tracks"]
    for feature in tracks.properties_to_color_by:
        tracks.color_by = feature
    write_tracks(str(tmp_path / "tracks.csv"), tracks.data, tracks.as_layer_data_tuple()[1])
    assert pd.read_csv(tmp_path / "tracks.csv")["name"].tolist() == ["mother"]


def test_an_overlay_has_the_colours_of_the_window(box, viewer, qtbot, tmp_path, monkeypatch):
    monkeypatch.setattr(results_box, "ask_where", lambda *_: tmp_path / "overlay.mp4")
    document = box._controller.document
    document.session.video = open_video(document.data)
    objects.recolour(document, [1], (0.0, 1.0, 0.0, 1.0))
    box.save.click()
    qtbot.wait_until(box.save.isEnabled, timeout=PATIENCE_MS)
    inside = np.asarray(viewer.layers["clip masks"].data[0]) == 1
    red, green, blue = open_video(tmp_path / "overlay.mp4").read(0)[inside].mean(axis=0)
    assert green > 20 + max(red, blue)


def test_the_save_button_writes_and_says_so(box, qtbot, tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr(results_box, "show_info", said.append)
    monkeypatch.setattr(results_box, "ask_where", lambda *_: tmp_path / "masks.csv")
    box.save.click()
    qtbot.wait_until(box.save.isEnabled, timeout=PATIENCE_MS)
    assert said == [
        f"Saved {tmp_path / 'masks.csv'}; 5 of 6 frames have no finished mask and are empty: propagate first"
    ]
    assert pd.read_csv(tmp_path / "masks.csv")["area_px"].tolist() == [80]
    monkeypatch.setattr(results_box, "ask_where", lambda *_: None)
    box.save.click()
    assert box.save.isEnabled()


def test_results_say_how_many_masks_are_from_before_the_last_change(box, viewer, qtbot, tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr(results_box, "show_info", said.append)
    monkeypatch.setattr(results_box, "ask_where", lambda *_: tmp_path / "masks.csv")
    session = box._controller.document.session
    session.annotations = session.annotations.renewed()
    for button in (box.save, box.tracks):
        button.click()
        qtbot.wait_until(button.isEnabled, timeout=PATIENCE_MS)
        assert said.pop().endswith("; 1 of 1 masks are from before the last change")
    assert pd.read_csv(tmp_path / "masks.csv")["area_px"].tolist() == [80]


def test_a_place_that_cannot_be_written_is_reported_and_nothing_is_lost(box, qtbot, tmp_path, monkeypatch):
    errors = []
    monkeypatch.setattr("napari_pml.viewer.jobs.background.show_error", errors.append)
    monkeypatch.setattr(results_box, "ask_where", lambda *_: tmp_path / "masks.zarr")
    for _ in range(2):
        box.save.click()
        qtbot.wait_until(box.save.isEnabled, timeout=PATIENCE_MS)
    assert len(errors) == 1
    assert "exists already" in errors[0]


def test_without_masks_there_is_nothing_to_measure(labels):
    from napari_pml.store.masks import MaskStore

    with pytest.raises(ExportError, match="no masks"):
        measured(MaskStore((1, 2, 2), (1, 1)), Calibration())


@pytest.mark.parametrize("name", ["clip.mp4", "frames", "frames/7.tif", "first.npy", "masks.tif"])
def test_nothing_is_saved_over_what_an_open_layer_is_read_from(
    name, box, viewer, data_folder, qtbot, tmp_path, monkeypatch
):
    shutil.copy(data_folder / "clips/flies-sleap.mp4", tmp_path / "clip.mp4")
    write_frames(tmp_path / "frames")
    for file in ("clip.mp4", "frames"):
        viewer.add_image(open_video(tmp_path / file).as_layer_data())
    tifffile.imwrite(tmp_path / "masks.tif", np.ones((2, 8, 8), np.uint8))
    viewer.add_labels(tifffile.memmap(tmp_path / "masks.tif"))
    np.save(tmp_path / "first.npy", np.ones((24, 40), np.uint8))
    dialog = MaskDialog(box._controller, box)
    with qtbot.wait_signal(dialog.accepted, timeout=PATIENCE_MS):
        dialog.take_file(tmp_path / "first.npy")
    before = contents(tmp_path)
    errors = []
    monkeypatch.setattr("napari_pml.viewer.jobs.background.show_error", errors.append)
    monkeypatch.setattr(results_box, "ask_where", lambda *_: tmp_path / name)
    box.save.click()
    qtbot.wait_until(box.save.isEnabled, timeout=PATIENCE_MS)
    (error,) = errors
    assert "would be overwritten: choose another place" in error
    assert contents(tmp_path) == before


def test_nothing_is_saved_into_a_project_that_is_open(viewer, runner, qtbot, tmp_path, data_home, monkeypatch):
    monkeypatch.setattr(
        "napari_pml.Session", lambda video, **options: Session(video, embedder=ColourEmbedder(), **options)
    )
    controller = Controller(viewer, runner)
    controller.choose_image(viewer.layers["clip"])
    begin(controller)
    (project,) = data_home.iterdir()
    assert project in inputs_of(viewer.layers)
    errors = []
    monkeypatch.setattr("napari_pml.viewer.jobs.background.show_error", errors.append)
    monkeypatch.setattr(results_box, "ask_where", lambda *_: project / "masks")
    box = ResultsBox(viewer, controller)
    qtbot.addWidget(box)
    box.refresh()
    box.save.click()
    qtbot.wait_until(box.save.isEnabled, timeout=PATIENCE_MS)
    assert "would be overwritten" in errors[0]


def test_channels_chosen_from_a_file_are_still_read_from_it(tmp_path):
    path = tmp_path / "stack.zarr"
    zarr.create_array(path, data=np.zeros((2, 3, 8, 8), np.uint8))
    planes = planes_of(Image(zarr.open_array(path)), time=0, across=1)
    assert read_from(layer_of(combined(planes), planes)) == [path]


def write_frames(folder) -> None:
    folder.mkdir()
    for t in range(2):
        PilImage.new("L", (8, 8)).save(folder / f"{t}.tif")


def contents(folder) -> dict:
    files = (path for path in folder.rglob("*") if path.is_file() and "data" not in path.parts)
    return {path: path.read_bytes() for path in files}
