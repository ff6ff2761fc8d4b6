"""Some sixty power cuts: what was acknowledged is there, masks that count are those that were computed, runs go on."""

import random
import shutil
import sys
import warnings
from itertools import count

import numpy as np
import pytest
import torch

import killed_commands
from drawn_video import ColourEmbedder
from killed_work import FRAMES, annotate
from napari_pml import Session, open_video
from napari_pml.embedding.weights import load_weights
from napari_pml.errors import PmlError, WeightsError
from napari_pml.store import masks as mask_store
from napari_pml.store.project import Project
from napari_pml.training import loop
from power_loss import Disk

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="files are found by their numbers")


@pytest.mark.filterwarnings("ignore:Annotations in")
def test_nothing_acknowledged_is_lost(tmp_path, monkeypatch):
    disk, chance, path = Disk(monkeypatch), random.Random(9), tmp_path / "work.pml.zarr"
    monkeypatch.setattr(mask_store, "FLUSH_S", 0.3)
    video = open_video(FRAMES)
    session = Session(video, embedder=ColourEmbedder(), project=Project.create(path, video))
    computed = {}
    n_masks = 0

    def cut() -> None:
        nonlocal n_masks
        copy = tmp_path / "copy.pml.zarr"
        assert disk.without_power(path, copy, chance)
        project = Project.open(copy)
        found = project.annotations
        assert found.revision == session.annotations.revision
        assert found.complete == session.annotations.complete
        np.testing.assert_equal(dict(found.frames), dict(session.annotations.frames))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of masks that are made again
            again = Session(video, embedder=ColourEmbedder(), project=project)
        for t in again.masks.finished:
            np.testing.assert_array_equal(again.masks.labels[t], again.masks[t].labels)
            assert again.masks[t].digest == computed[t, again.masks[t].revision]
            n_masks += 1
        project.close()
        shutil.rmtree(copy)

    for _ in range(20):
        annotate(session, session.annotations.revision)
        for _, mask in zip(range(chance.randrange(8)), session.propagate(chance.randrange(6)), strict=False):
            computed[mask.t, mask.revision] = session.masks[mask.t].digest if mask.revision else mask.digest
        cut()
    assert n_masks


def test_a_stroke_that_is_cut_off_leaves_the_one_before(tmp_path, monkeypatch):
    """The power goes at any moment of saving."""
    disk, chance, path = Disk(monkeypatch), random.Random(1), tmp_path / "work.pml.zarr"
    video = open_video(FRAMES)
    session = Session(video, embedder=ColourEmbedder(), project=Project.create(path, video))
    synchronise, copies, number = disk._synchronise, [], count()

    def and_cut(file: int) -> None:
        for place in (1, 2):
            if place == 2:
                synchronise(file)
            copies.append(tmp_path / f"{next(number)}.pml.zarr")
            assert disk.without_power(path, copies[-1], chance)

    annotate(session, 1)
    for step in (2, 7, 13):
        before = session.annotations
        with monkeypatch.context() as patch:
            patch.setattr("os.fsync", and_cut)
            annotate(session, step)
        assert len(copies) >= 8
        for copy in copies:
            project = Project.open(copy)
            after = project.annotations
            expected = before if after.revision == before.revision else session.annotations
            assert after.revision == expected.revision
            np.testing.assert_equal(dict(after.frames), dict(expected.frames))
            project.close()
        copies.clear()


def test_a_training_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "CHECKPOINT_EVERY", 2)
    disk, chance, copies = Disk(monkeypatch), random.Random(2), []
    out = tmp_path / "run"

    def train(folder, cut=False):
        for report in loop.run(killed_commands.Toy(), folder, "toy"):
            if cut and report.step % 7 == 0:
                copies.append(tmp_path / str(report.step))
                assert disk.without_power(folder, copies[-1], chance) or copies.pop()
        return load_weights(folder / "toy.safetensors", "toy")[0]["weight"]

    weights = train(out, cut=True)
    assert len(copies) > 3
    for copy in copies:
        assert torch.equal(train(copy), weights)


def test_torn_checkpoints_and_weights(tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "CHECKPOINT_EVERY", 20)
    out = tmp_path / "run"
    list(loop.run(killed_commands.Toy(), out, "toy"))
    files = {p.name: p.read_bytes() for p in out.iterdir()}
    assert {"checkpoint.pt", "checkpoint-before.pt", "toy.safetensors"} <= files.keys()
    for torn in ("checkpoint.pt", "checkpoint-before.pt", "toy.safetensors"):
        whole = files[torn]
        for content in (whole[: len(whole) // 2], b"", bytes(len(whole))):
            (out / torn).write_bytes(content)
            list(loop.run(killed_commands.Toy(), out, "toy"))
            assert (out / "toy.safetensors").read_bytes() == files["toy.safetensors"]
            for name, before in files.items():
                (out / name).write_bytes(before)
    flipped = bytearray(files["checkpoint.pt"])
    flipped[len(flipped) // 2] ^= 1  # in the middle of a tensor
    for name in ("checkpoint.pt", "checkpoint-before.pt"):
        (out / name).write_bytes(flipped)
    with pytest.raises(WeightsError, match="damaged"):
        list(loop.run(killed_commands.Toy(), out, "toy"))
    assert issubclass(WeightsError, PmlError)
