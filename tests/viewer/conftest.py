"""Fixtures of the viewer's tests."""

from pathlib import Path

import napari.settings
import numpy as np
import pytest
from napari.components import ViewerModel
from napari.settings import get_settings
from npe2 import PluginManager, PluginManifest

import napari_pml
from napari_pml.viewer.control.controller import Controller
from napari_pml.viewer.preferences import Preferences
from stand_ins import FakeSession, FakeVideo, Runner

get_settings(path=None)  # a developer's own napari settings must not change the results, nor be changed


@pytest.fixture(autouse=True)
def default_preferences(monkeypatch):
    """Neither must a developer's own preferences for the plugin."""
    monkeypatch.setattr("napari_pml.viewer.document.document.preferences", Preferences)


@pytest.fixture
def installed_plugins() -> None:
    """What napari does when it starts: readers and writers are found by their manifests."""
    PluginManager.instance().discover()


@pytest.fixture(autouse=True)
def data_home(monkeypatch, tmp_path) -> Path:
    """Projects are saved in a folder that goes away, not in the developer's own."""
    home = tmp_path / "data"
    monkeypatch.setattr("napari_pml.viewer.document.autosave.folder", lambda: home)
    return home


@pytest.fixture
def own_folder(request) -> None:
    """Where pages of plugins are kept, so that a developer's own stay as they are; napari 0.8 has none."""
    if hasattr(napari.settings, "get_plugin_settings"):
        request.getfixturevalue("plugin_settings")


@pytest.fixture
def plugin_pages(own_folder, npe2pm):
    """The pages of this plugin among napari's preferences; to be asked for before a viewer, where there may be none."""
    if not hasattr(napari.settings, "get_plugin_settings"):
        pytest.skip("napari 0.8 has no such pages")
    npe2pm.register(PluginManifest.from_file(Path(napari_pml.__file__).parent / "napari.yaml"))
    return napari.settings.get_plugin_settings("napari-pml")


@pytest.fixture
def runner() -> Runner:
    return Runner()


@pytest.fixture
def fake_engine(monkeypatch):
    monkeypatch.setitem(vars(napari_pml), "Session", FakeSession)
    monkeypatch.setattr("napari_pml.viewer.document.document.project_for", lambda image, video: None)
    monkeypatch.setitem(vars(napari_pml), "open_video", lambda array, channel_axis: FakeVideo(array))


@pytest.fixture
def movie() -> np.ndarray:
    """Six frames of a bright square (200) that moves right over a dark ground (20), and a grey one (80)."""
    frames = np.full((6, 24, 40), 20, np.uint8)
    for t, frame in enumerate(frames):
        frame[4:12, 2 + 3 * t : 12 + 3 * t] = 200
        frame[16:22, 20:30] = 80
    return frames


@pytest.fixture
def viewer(movie) -> ViewerModel:
    viewer = ViewerModel()
    viewer.add_image(movie, name="clip")
    viewer.dims.set_point(0, 0)
    return viewer


@pytest.fixture
def controller(viewer, runner) -> Controller:
    controller = Controller(viewer, runner)
    controller.choose_image(viewer.layers["clip"])
    return controller
