"""What stands in napari's own menus and what the buttons under Results do, in a real window."""

import sys
from subprocess import run

import numpy as np
import pandas as pd
import pytest
from napari._app_model import get_app_model

from actions import begin
from napari_pml.viewer.contributions import commands

PATIENCE_MS = 20_000


@pytest.fixture
def viewer(make_napari_viewer, movie, drawn):
    viewer = make_napari_viewer()
    viewer.add_image(movie, name="first")
    viewer.add_image(drawn[0], rgb=True, name="second")
    return viewer


def choose(name: str) -> None:
    """Click on an entry of a menu."""
    get_app_model().commands.execute_command(f"napari-pml.{name}").result()


def titles(menu: str) -> set[str]:
    return {item.command.title for item in get_app_model().menus.get_menu(menu) if hasattr(item, "command")}


def test_the_entries_are_where_people_look(viewer):
    assert any(title.startswith("Paint strokes on this video") for title in titles("napari/layers/segment"))
    assert any(title.startswith("Tracks from masks") for title in titles("napari/layers/track"))
    assert any(title.startswith("Save masks of a video") for title in titles("napari/file/io_utilities"))


def test_the_selected_video_is_chosen_in_the_panel(viewer, fake_engine):
    for name in ("second", "first"):
        viewer.layers.selection.active = viewer.layers[name]
        choose("segment_selected")
        _, panel = viewer.window.add_plugin_dock_widget("napari-pml", "Segment video")
        assert panel.images.currentText() == name
        assert panel.controller.document.image is viewer.layers[name]


def test_tracks_from_any_labels(viewer, drawn, qtbot):
    viewer.add_labels(drawn[1], name="cells")
    choose("track_selected")
    qtbot.wait_until(lambda: "cells tracks" in viewer.layers, timeout=PATIENCE_MS)
    assert len(viewer.layers["cells tracks"].data) == 16


@pytest.mark.parametrize("suffix", [".csv", ".mp4"])
def test_save_any_labels(viewer, drawn, qtbot, tmp_path, monkeypatch, suffix):
    said = []
    monkeypatch.setattr(commands, "show_info", said.append)
    monkeypatch.setattr(commands, "ask_where", lambda *_: tmp_path / f"cells{suffix}")
    viewer.add_labels(drawn[1], name="cells")
    choose("save_selected")
    qtbot.wait_until(lambda: bool(said), timeout=PATIENCE_MS)
    assert (tmp_path / f"cells{suffix}").stat().st_size > 0
    if suffix == ".csv":
        assert len(pd.read_csv(tmp_path / "cells.csv")) == 16


@pytest.mark.parametrize("command", ["track_selected", "save_selected"])
def test_another_layer_than_masks_is_refused_in_plain_words(viewer, monkeypatch, command):
    errors = []
    monkeypatch.setattr(commands, "show_error", errors.append)
    choose(command)
    viewer.add_labels(np.ones((4, 4), int))
    choose(command)
    assert len(errors) == 2
    assert "time, rows, columns" in errors[0]


def test_the_table_button_opens_napari_s_table(viewer, fake_engine, qtbot):
    viewer.layers["first"].name = "clip"
    viewer.layers.selection.active = viewer.layers["clip"]
    choose("segment_selected")
    _, panel = viewer.window.add_plugin_dock_widget("napari-pml", "Segment video")
    begin(panel.controller)
    qtbot.wait_until(panel.results.table.isEnabled, timeout=PATIENCE_MS)
    panel.results.table.click()
    qtbot.wait_until(panel.results.table.isEnabled, timeout=PATIENCE_MS)
    masks = viewer.layers["clip masks"]
    assert masks.features.set_index("index")["mean_area_px"][1] == 80
    assert viewer.layers.selection.active is masks
    assert any("Features table" in name for name in viewer.window.dock_widgets)
    viewer.layers.remove(masks)
    assert not panel.results.table.isEnabled()
    assert panel.results.save.isEnabled()


def test_nothing_of_this_imports_torch_before_it_is_used():
    places = "contributions.commands", "contributions.folders", "contributions.writers", "contributions.sample_clips"
    names = *places, "preferences", "panel.results_box"
    imports = "; ".join(f"import napari_pml.viewer.{name}" for name in names)
    code = f"import sys; {imports}; sys.exit('torch' in sys.modules)"
    assert run([sys.executable, "-c", code], check=False).returncode == 0
