"""What is chosen under Preferences reaches the session."""

import sys
from pathlib import Path

import pytest
from napari.layers import Image
from npe2 import PluginManifest

import napari_pml
from napari_pml.embedding.cache import DEFAULT_LIMIT_GB
from napari_pml.embedding.video_embeddings import MEMORY_BYTES
from napari_pml.viewer.preferences import Preferences, preferences
from napari_pml.viewer.track import Track

settings = pytest.importorskip("napari.settings")


HAS_PAGES = hasattr(settings, "get_plugin_settings")


@pytest.fixture
def own_folder(request):
    """Where pages of plugins are kept, so that a developer's own stay as they are; napari 0.8 has none."""
    if HAS_PAGES:
        request.getfixturevalue("plugin_settings")


@pytest.fixture
def computing(own_folder, npe2pm):
    """The page of the plugin, in a folder of its own."""
    if not HAS_PAGES:
        pytest.skip("napari 0.8 has no such page")
    npe2pm.register(PluginManifest.from_file(Path(napari_pml.__file__).parent / "napari.yaml"))
    return settings.get_plugin_settings("napari-pml").computing


def test_the_defaults(computing):
    assert preferences() == Preferences(device=None, embedding_bytes=MEMORY_BYTES, embedding_disk_gb=DEFAULT_LIMIT_GB)


def test_what_is_chosen_reaches_the_session(computing, fake_engine, movie, monkeypatch):
    monkeypatch.setattr("napari_pml.viewer.track.preferences", preferences)
    computing.device = "cpu"
    computing.embedding_memory = 0.25
    computing.embedding_disk = 3
    monkeypatch.delenv("NAPARI_PML_CACHE_GB")
    session = next(Track(Image(movie)).open_session(0))
    assert session.options["device"] == "cpu"
    assert session.options["embedding_bytes"] == 256 * 1024**2
    assert session.options["embedding_cache"].max_bytes == 3e9


@pytest.mark.parametrize(("name", "value"), [("device", "abacus"), ("embedding_memory", 0), ("embedding_disk", -1)])
def test_nonsense_cannot_be_chosen(computing, name, value):
    with pytest.raises(ValueError, match=name):
        setattr(computing, name, value)


def test_without_such_a_page_the_defaults_hold(monkeypatch, npe2pm, own_folder):
    assert preferences() == Preferences()  # the plugin is not installed
    monkeypatch.delattr(sys.modules["napari.settings"], "get_plugin_settings", raising=False)
    assert preferences() == Preferences()  # napari 0.8
