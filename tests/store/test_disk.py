"""Full disks, places that may not be written to, and a second process: an error says so, and nothing is lost."""

import errno
import shutil
import subprocess
import sys
from itertools import count
from pathlib import Path

import numpy as np
import pytest
import zarr
from zarr.storage import LocalStore

from drawn_video import ColourEmbedder, draw_video
from napari_pml import Session, open_video
from napari_pml.errors import ExportError, PmlError, ProjectError
from napari_pml.io.export import export_masks
from napari_pml.io.label_images import write_mask_png
from napari_pml.io.overlay import export_overlay
from napari_pml.store.project import Project

FRAMES, MASKS = draw_video(4, 24, 32)
MASKS = MASKS | 1


@pytest.fixture
def session(tmp_path):
    video = open_video(FRAMES)
    session = Session(video, embedder=ColourEmbedder(), project=Project.create(tmp_path / "p.pml.zarr", video))
    session.annotate(0, MASKS[0], complete=True)
    yield session
    session.project.close()


class Disk:
    """The disk under every Zarr store, of which a test says how many more writes it takes."""

    def __init__(self, error: int) -> None:
        self.error, self.room = error, 10**9

    def check(self) -> None:
        self.room -= 1
        if self.room < 0:
            raise OSError(self.error, "the disk refuses")


@pytest.fixture(params=[errno.ENOSPC, errno.EROFS, errno.EACCES], ids=["full", "read-only", "forbidden"])
def disk(request, monkeypatch):
    disk, write = Disk(request.param), LocalStore.set

    async def refuse(store, key, value):
        disk.check()
        await write(store, key, value)

    monkeypatch.setattr(LocalStore, "set", refuse)
    return disk


def annotate_and_propagate(session):
    """Without an end, and differently every time."""
    for factor in count(2):
        for t in (1, 2):
            session.annotate(t, MASKS[t] * np.uint16(factor), complete=True)
        list(session.propagate())


def saved_in(path):
    """The annotations in a project that nobody has open."""
    project = Project.open(path)
    project.close()
    return project.annotations


@pytest.mark.parametrize("room", range(8))
def test_work_goes_on_in_memory_and_is_saved_when_there_is_room(session, disk, room, tmp_path):
    path = session.project.path
    disk.room = room
    with pytest.raises(PmlError, match="the disk refuses"):
        annotate_and_propagate(session)
    with pytest.raises(PmlError, match="the disk refuses"):
        session.annotate(3, MASKS[3], complete=True)
    assert 3 in session.annotations.frames  # it counts all the same
    copy = shutil.copytree(path, tmp_path / "copy.pml.zarr")
    assert saved_in(copy).frames.keys() <= {0, 1, 2}

    disk.room = 10**9
    session.annotate(3, MASKS[3] * np.uint16(2), complete=True)
    list(session.propagate())
    session.project.close()
    for t, labels in session.annotations.frames.items():
        np.testing.assert_array_equal(saved_in(path).frames[t], labels)
    again = Session(session.video, embedder=ColourEmbedder(), project=Project.open(path))
    assert again.stale_frames() == []
    np.testing.assert_array_equal(again.masks.labels[:], session.masks.labels[:])
    again.project.close()


def test_no_project_on_a_disk_that_refuses(tmp_path, disk):
    disk.room = 2
    with pytest.raises(ProjectError, match="Choose another place"):
        Project.create(tmp_path / "a.pml.zarr", open_video(FRAMES))
    assert list(tmp_path.iterdir()) == []


def test_results_on_a_disk_that_refuses(session, tmp_path, monkeypatch):
    list(session.propagate())
    place = tmp_path / "file"
    place.write_bytes(b"")  # nothing can lie below a file, whoever asks
    for write in (
        lambda: export_masks(session.masks, place / "masks"),
        lambda: export_masks(session.masks, place / "masks.tif"),
        lambda: export_masks(session.masks, place / "masks.zarr"),
        lambda: export_overlay(session.video, session.masks, place / "overlay.mp4"),
    ):
        with pytest.raises(ExportError, match="Choose another place"):
            write()

    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("PIL.Image.Image.save", full)
    monkeypatch.setattr("tifffile.TiffWriter.write", full)
    monkeypatch.setattr(zarr, "create_array", full)
    for name in ("masks", "masks.tif", "masks.zarr"):
        with pytest.raises(ExportError, match="No space left"):
            export_masks(session.masks, tmp_path / "out" / name)
    assert [p.name for p in (tmp_path / "out").rglob("*")] == ["masks"]  # an empty folder
    with pytest.raises(ExportError):
        write_mask_png(MASKS[0], tmp_path / "out" / "a.png")


SECOND = """
import sys
from napari_pml.store.project import Project
from napari_pml.errors import ProjectError
try:
    Project.open(sys.argv[1])
except ProjectError as error:
    print(error)
"""


def test_a_second_process_is_told_and_changes_nothing(session):
    path = session.project.path
    before = {p: p.read_bytes() for p in path.rglob("*") if p.is_file()}
    told = subprocess.run([sys.executable, "-c", SECOND, path], capture_output=True, text=True, check=True, timeout=120)
    assert "open in another window or process. Close it there first." in told.stdout
    assert {p: p.read_bytes() for p in path.rglob("*") if p.is_file()} == before
    session.annotate(1, MASKS[1], complete=True)
    session.project.close()
    told = subprocess.run([sys.executable, "-c", SECOND, path], capture_output=True, text=True, check=True, timeout=120)
    assert told.stdout == ""
    assert Project.open(Path(path)).annotations.frames.keys() == {0, 1}
