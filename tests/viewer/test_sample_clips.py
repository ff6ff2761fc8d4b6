"""Clips that are downloaded when somebody asks for them; where they come from is tested without them."""

import re
from pathlib import Path

import numpy as np
import pytest
from napari.components import ViewerModel
from npe2 import PluginManifest
from PIL import Image

import napari_pml
from napari_pml.download import DownloadError
from napari_pml.viewer.contributions import sample_clips

pytestmark = pytest.mark.usefixtures("installed_plugins")

MANIFEST = PluginManifest.from_file(Path(napari_pml.__file__).parent / "napari.yaml")
CLIPS = {"dog": sample_clips.DOG, "juggler": sample_clips.JUGGLER}


def test_each_clip_names_its_licence_before_it_is_downloaded():
    names = {sample.key: sample.display_name for sample in MANIFEST.contributions.sample_data}
    assert names.keys() == {"demo_clip", *CLIPS}
    for key, clip in CLIPS.items():
        assert re.fullmatch("[0-9a-f]{64}", clip.sha256)
        licence = sample_clips.ORIGIN.rsplit(", ", 1)[-1]
        assert licence in names[key]
        assert "download" in names[key]


@pytest.mark.parametrize("key", CLIPS)
def test_a_clip_becomes_a_lazy_layer(key, tmp_path, monkeypatch):
    frames = [Image.fromarray(np.full((32, 48, 3), 60 * t, np.uint8)) for t in range(4)]
    frames[0].save(tmp_path / "clip.gif", save_all=True, append_images=frames[1:])
    monkeypatch.setattr(sample_clips, "fetch", {CLIPS[key]: tmp_path / "clip.gif"}.__getitem__)
    (layer,) = ViewerModel().open_sample("napari-pml", key)
    assert layer.data.shape == (4, 32, 48, 3)
    assert not isinstance(layer.data, np.ndarray)


def test_without_a_connection_no_layer_is_added_and_the_error_says_what_to_do(monkeypatch):
    def fail(file):
        raise DownloadError("Connect to the internet")

    monkeypatch.setattr(sample_clips, "fetch", fail)
    viewer = ViewerModel()
    with pytest.raises(DownloadError, match="Connect"):
        viewer.open_sample("napari-pml", "dog")
    assert len(viewer.layers) == 0
