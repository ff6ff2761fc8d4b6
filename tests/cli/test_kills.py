"""Commands killed at any moment: what lies there is whole, and called again they end as if nothing had happened.

Thirty kills; of twenty more, test_project.py tests that saved work survives them.
"""

import os
import random
import shutil
import sys

import numpy as np
import pytest
import tifffile
import torch
import zarr
from PIL import Image

import killed_commands
from drawn_video import draw_video
from napari_pml import open_video
from napari_pml.embedding.weights import load_weights
from napari_pml.errors import ProjectError
from napari_pml.io.label_images import read_labels, write_mask_png
from napari_pml.store.project import Project

pytestmark = pytest.mark.slow

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs processes that begin as copies")

FRAMES, MASKS = draw_video(n_frames=6, height=48, width=64)
KILLS = 3
"""Before a command is left alone."""


@pytest.fixture(scope="module")
def commands():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
        patch.setenv("TQDM_DISABLE", "1")
        yield killed_commands.Commands()


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clip")
    for t, frame in enumerate(FRAMES):
        Image.fromarray(frame).save(folder / f"{t}.png")
    write_mask_png(MASKS[0], folder.parent / "first.png")
    return folder


def arrays_in(out):
    """The masks of a command; every file that has its name is whole."""
    if out.suffix == ".tif":
        return tifffile.imread(out)
    if out.suffix == ".zarr":
        return zarr.open_array(out, mode="r")[:]
    return {path.name: read_labels(path) for path in out.glob("[!.]*")}


def check_segmented(out, expected, project):
    if out.exists():
        found = arrays_in(out)
        for name, labels in found.items() if isinstance(found, dict) else [(slice(None), found)]:
            np.testing.assert_array_equal(labels, expected[name])
    if project.exists():
        opened = Project.open(project)
        assert list(opened.annotations.frames) in ([], [0])
        for labels in opened.annotations.frames.values():
            np.testing.assert_array_equal(labels, MASKS[0])
        opened.close()


@pytest.mark.parametrize("name", ["masks", "masks.tif", "masks.zarr"])
def test_a_killed_segmentation_is_done_by_calling_it_again(name, commands, clip, tmp_path):
    chance = random.Random(name)

    def command(folder):
        first = ("--annotations", str(clip.parent / "first.png"))
        return str(clip), *first, "--out", str(folder / name), "--project", str(folder / "clip.pml.zarr")

    seconds = commands.run(killed_commands.segment, *command(tmp_path / "alone"))
    expected = arrays_in(tmp_path / "alone" / name)
    for again in range(2):
        folder = tmp_path / str(again)
        for _ in range(KILLS):
            finished = not commands.kill(chance.uniform(0, seconds), killed_commands.segment, *command(folder))
            check_segmented(folder / name, expected, folder / "clip.pml.zarr")
            if finished or ((folder / name).suffix and (folder / name).exists()):
                shutil.rmtree(folder)  # all was done, and an array is not replaced
        commands.run(killed_commands.segment, *command(folder))
        np.testing.assert_equal(arrays_in(folder / name), expected)


def test_a_killed_training_goes_on(commands, tmp_path):
    chance = random.Random(0)

    def files(folder):
        weights, _ = load_weights(folder / "toy.safetensors", "toy")
        return weights["weight"].tolist(), (folder / "log.csv").read_bytes(), (folder / "curve.svg").read_bytes()

    seconds = commands.run(killed_commands.train, str(tmp_path / "alone"))
    for folder in (tmp_path / "0", tmp_path / "1", tmp_path / "2"):
        for _ in range(4):
            commands.kill(chance.uniform(0.2, 1) * seconds, killed_commands.train, str(folder))
            if (folder / "checkpoint.pt").exists():
                assert torch.load(folder / "checkpoint.pt", weights_only=True)["step"] % 2 == 0
        commands.run(killed_commands.train, str(folder))
        assert files(folder) == files(tmp_path / "alone")


def test_a_project_that_was_never_finished_is_no_project(tmp_path, monkeypatch):
    """A kill while it is made leaves nothing under its name, so that the same command makes it again."""
    path = tmp_path / "a.pml.zarr"
    with monkeypatch.context() as patch:
        patch.setattr("pathlib.Path.rename", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            Project.create(path, open_video(FRAMES))
    with pytest.raises(ProjectError):
        Project.open(path)
    Project.create(path, open_video(FRAMES)).close()
    assert [p.name for p in tmp_path.iterdir()] == ["a.pml.zarr"]
