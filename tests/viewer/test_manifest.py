"""What napari reads about the plugin, and what stands behind it."""

from collections.abc import Callable
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import numpy as np
import pytest
from napari.layers import Layer
from npe2 import PluginManifest
from PIL import Image

import napari_pml

MANIFEST = Path(napari_pml.__file__).parent / "napari.yaml"


@pytest.fixture(scope="module")
def manifest() -> PluginManifest:
    return PluginManifest.from_file(MANIFEST)


def function(manifest: PluginManifest, command_id: str) -> Callable[..., Any]:
    """Return what stands behind a command."""
    command = next(command for command in manifest.contributions.commands if command.id == command_id)
    return resolve_name(command.python_name)


def test_every_command_can_be_imported(manifest):
    manifest.validate_imports()


def test_the_manifest_also_lies_at_the_root_of_the_repository():
    root = Path(__file__).parents[2]
    assert (root / "napari.yaml").read_text() == MANIFEST.read_text()


def test_the_sample_is_a_video(manifest):
    (data,) = function(manifest, manifest.contributions.sample_data[0].command)()
    layer = Layer.create(*data)
    assert layer.ndim == 3
    assert layer.rgb


def test_a_video_file_becomes_a_lazy_layer(manifest, tmp_path):
    path = tmp_path / "cat.gif"
    frames = [Image.fromarray(np.full((32, 48, 3), 60 * t, np.uint8)) for t in range(4)]
    frames[0].save(path, save_all=True, append_images=frames[1:])
    reader = manifest.contributions.readers[0]
    assert "*.gif" in reader.filename_patterns
    (data,) = function(manifest, reader.command)(str(path))(str(path))
    assert not isinstance(data[0], np.ndarray)
    layer = Layer.create(*data)
    assert layer.name == "cat"
    assert layer.data.shape == (4, 32, 48, 3)
    assert len(layer.data) == 4
    whole = np.asarray(layer.data)
    np.testing.assert_array_equal(whole, np.stack([layer.data[t] for t in range(4)]))
    assert np.array(layer.data, dtype=np.float32, copy=True).dtype == np.float32
    with pytest.raises(ValueError, match="always a copy"):
        np.array(layer.data, copy=False)


def test_folders_and_stacks_are_left_to_other_readers(tmp_path):
    from napari_pml.viewer.contributions.readers import get_reader

    assert get_reader(str(tmp_path)) is None
    assert get_reader(["a.mp4", "b.mp4"]) is None
