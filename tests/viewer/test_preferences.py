"""What is chosen under Preferences reaches the session."""

import sys

import pytest
from napari.layers import Image

from napari_pml.embedding.cache import DEFAULT_LIMIT_GB
from napari_pml.embedding.video_embeddings import MEMORY_BYTES
from napari_pml.viewer.document.document import VideoDocument
from napari_pml.viewer.preferences import Preferences, preferences


@pytest.fixture
def computing(plugin_pages):
    return plugin_pages.computing


def test_the_defaults(computing):
    assert preferences() == Preferences(device=None, embedding_bytes=MEMORY_BYTES, embedding_disk_gb=DEFAULT_LIMIT_GB)


def test_what_is_chosen_reaches_the_session(computing, fake_engine, movie, monkeypatch):
    monkeypatch.setattr("napari_pml.viewer.document.document.preferences", preferences)
    computing.device = "cpu"
    computing.embedding_memory = 0.25
    computing.embedding_disk = 3
    monkeypatch.delenv("NAPARI_PML_CACHE_GB")
    session = VideoDocument(Image(movie)).open_session()
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
