"""Embeddings that are kept on disk: found again, never taken for others, never in the way."""

import os
import shutil
import subprocess
import sys
import warnings

import numpy as np
import pytest
import tifffile
import torch
import zarr
from PIL import Image

from drawn_video import write_video
from napari_pml import Session, open_video
from napari_pml.embedding import cache as cache_module
from napari_pml.embedding.cache import EmbeddingCache, users_cache
from napari_pml.embedding.video_embeddings import VideoEmbeddings
from napari_pml.errors import SettingsError


@pytest.fixture
def folder(tmp_path, drawn):
    write_video(tmp_path, "shapes", drawn[0], drawn[1])
    return tmp_path / "JPEGImages" / "480p" / "shapes"


@pytest.fixture
def cache(tmp_path):
    return EmbeddingCache(tmp_path / "cache", 10**9)


@pytest.fixture
def embedded(folder, cache, colour_embedder):
    """The embeddings of all frames, on disk."""
    embeddings = VideoEmbeddings(open_video(folder), colour_embedder, 0, cache)
    return torch.stack([embeddings[t] for t in range(8)])


class Idle:
    """Stands for the embedder where nothing must be computed."""

    def __init__(self, embedder):
        self.name, self.dim, self.stride, self.device = embedder.name, embedder.dim, embedder.stride, embedder.device
        self.fingerprint, self.weights = embedder.fingerprint, embedder.weights

    def embed(self, frames, t):
        raise AssertionError("embedded again")


def chunk(cache, t):
    (entry,) = (cached.path for cached in cache.videos())
    return entry / f"{t}.0.0.0"


def test_embeddings_are_found_again_the_next_time(folder, cache, colour_embedder, embedded):
    again = VideoEmbeddings(open_video(folder), Idle(colour_embedder), 0, cache)
    assert all(t in again for t in range(8))
    assert again.missing(range(8)) == []
    assert torch.equal(torch.stack([again[t] for t in range(8)]), embedded)


def test_a_video_may_be_moved(folder, cache, colour_embedder, embedded):
    moved = folder.rename(folder.parent / "another name")
    assert 3 in VideoEmbeddings(open_video(moved), colour_embedder, 0, cache)


def test_a_changed_video_is_another_one(folder, cache, colour_embedder, embedded):
    path = sorted(folder.iterdir())[3]
    os.utime(path, (1, 1))
    assert 3 not in VideoEmbeddings(open_video(folder), colour_embedder, 0, cache)


@pytest.mark.parametrize("kind", ["tiff", "folder", "zarr"])
def test_another_video_of_equal_size_and_time_is_another_one(kind, tmp_path, drawn, cache, colour_embedder):
    """As archives leave them: nothing is compressed, and all files have one date."""

    def stored(frames, name):
        path = tmp_path / (name if kind == "folder" else f"{name}.{kind}")
        if kind == "tiff":
            tifffile.imwrite(path, frames, photometric="rgb")
        elif kind == "zarr":
            zarr.create_array(str(path), data=frames, chunks=(1, *frames.shape[1:]), compressors=None)
        else:
            path.mkdir()
            for t, frame in enumerate(frames):
                Image.fromarray(frame).save(path / f"{t}.bmp")
        for file in (path, *path.rglob("*")):
            os.utime(file, (10**9, 10**9))
        return open_video(path)

    frames = drawn[0].copy()
    frames[:, :40] = 0  # a border that says nothing
    _ = VideoEmbeddings(stored(frames, "first"), colour_embedder, 0, cache)[3]
    assert 3 not in VideoEmbeddings(stored(frames[::-1].copy(), "second"), colour_embedder, 0, cache)
    assert 3 in VideoEmbeddings(stored(frames, "third"), colour_embedder, 0, cache)


def test_another_network_finds_nothing(folder, cache, colour_embedder, embedded):
    other = Idle(colour_embedder)
    other.fingerprint = "other-1"
    assert 3 not in VideoEmbeddings(open_video(folder), other, 0, cache)


def test_another_way_of_bringing_frames_to_the_network_finds_nothing(
    folder, cache, colour_embedder, embedded, monkeypatch
):
    monkeypatch.setattr(cache_module, "PREPROCESSING", cache_module.PREPROCESSING + 1)
    assert 3 not in VideoEmbeddings(open_video(folder), colour_embedder, 0, cache)


def test_arrays_in_memory_are_not_kept_since_they_may_change(drawn, cache, colour_embedder):
    video = open_video(drawn[0])
    _ = VideoEmbeddings(video, colour_embedder, 0, cache)[0]
    assert not cache.folder.exists()


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[: len(data) // 2],
        lambda data: b"",
        lambda data: bytes([data[0] ^ 1]) + data[1:],
        lambda data: b"something else",
    ],
    ids=["cut off", "empty", "one bit", "foreign"],
)
def test_a_damaged_frame_is_computed_again(folder, cache, colour_embedder, embedded, damage):
    path = chunk(cache, 3)
    path.write_bytes(damage(path.read_bytes()))
    again = VideoEmbeddings(open_video(folder), colour_embedder, 0, cache)
    assert torch.equal(again[3], embedded[3])
    healed = VideoEmbeddings(open_video(folder), Idle(colour_embedder), 0, cache)
    assert torch.equal(healed[3], embedded[3])


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", "[" * 100_000, "not json", '{"zarr_format": 3, "node_type": "group", "attributes": {}}']
)
def test_a_damaged_header_is_an_empty_cache(folder, cache, colour_embedder, embedded, text):
    (chunk(cache, 0).parent / "zarr.json").write_text(text)
    assert len(cache.videos()) == 1
    again = VideoEmbeddings(open_video(folder), colour_embedder, 0, cache)
    assert 3 not in again
    assert torch.equal(again[3], embedded[3])
    assert 3 in VideoEmbeddings(open_video(folder), Idle(colour_embedder), 0, cache)


def test_a_file_in_the_place_of_the_folder_is_replaced(folder, cache, colour_embedder, embedded):
    entry = chunk(cache, 0).parent
    shutil.rmtree(entry)
    entry.write_text("foreign")
    assert torch.equal(VideoEmbeddings(open_video(folder), colour_embedder, 0, cache)[3], embedded[3])
    assert chunk(cache, 3).exists()


def test_a_cache_that_is_removed_meanwhile_is_only_empty_again(folder, cache, colour_embedder, embedded):
    running = VideoEmbeddings(open_video(folder), colour_embedder, 0, cache)
    cache.clear()
    assert cache.videos() == []
    assert torch.equal(running[3], embedded[3])
    assert torch.equal(VideoEmbeddings(open_video(folder), colour_embedder, 0, cache)[3], embedded[3])


def test_a_folder_that_is_removed_meanwhile_has_no_room(folder, cache, colour_embedder):
    session = Session(open_video(folder), embedder=colour_embedder, embedding_bytes=0, embedding_cache=cache)
    shutil.rmtree(cache.folder)
    assert list(session.prepare()) == []
    session.annotate(0, np.eye(96, 128, dtype=np.uint8))
    assert session.segment(0).labels.any()


def test_what_is_left_of_a_removal_that_was_cut_off_counts_and_makes_room_first(
    cache, folder, colour_embedder, embedded, monkeypatch
):
    monkeypatch.setattr(cache_module.shutil, "rmtree", lambda *args, **options: None)
    cache.clear()
    monkeypatch.undo()
    ((left, n_bytes),) = [(cached.path, cached.n_bytes) for cached in cache.videos()]
    assert n_bytes > embedded.half().nbytes
    again = VideoEmbeddings(open_video(folder), colour_embedder, 0, EmbeddingCache(cache.folder, n_bytes + 1))
    assert torch.equal(again[3], embedded[3])
    assert not left.exists()
    assert [cached.video for cached in cache.videos()] == ["shapes"]


def test_a_full_disk_is_said_once_and_work_goes_on(folder, cache, colour_embedder, embedded, monkeypatch):
    cache.clear()
    running = VideoEmbeddings(open_video(folder), colour_embedder, 0, cache)

    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(type(running.disk._array), "__setitem__", full)
    with pytest.warns(UserWarning, match="No space left on device"):
        assert torch.equal(running[3], embedded[3])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert torch.equal(running[4], embedded[4])


def test_a_place_that_cannot_be_written_to_is_said_and_work_goes_on(tmp_path, folder, colour_embedder, embedded):
    (tmp_path / "file").write_text("")
    with pytest.warns(UserWarning, match="cannot be kept on disk"):
        running = VideoEmbeddings(open_video(folder), colour_embedder, 0, EmbeddingCache(tmp_path / "file", 10**9))
    assert torch.equal(running[3], embedded[3])
    assert running.capacity == 0


def test_what_was_not_used_for_longest_makes_room(tmp_path, drawn, colour_embedder):
    size = 8 * VideoEmbeddings(open_video(drawn[0]), colour_embedder).frame_bytes
    cache = EmbeddingCache(tmp_path / "cache", round(2.7 * size))
    folders = []
    for i in range(3):
        write_video(tmp_path / f"{i}", "shapes", drawn[0], drawn[1])
        folders.append(tmp_path / f"{i}" / "JPEGImages" / "480p" / "shapes")
    for i, path in enumerate(folders):
        if i == 2:  # the first is used again before the third comes
            assert len(cache.videos()) == 2
            VideoEmbeddings(open_video(folders[0]), colour_embedder, 0, cache)
        embeddings = VideoEmbeddings(open_video(path), colour_embedder, 0, cache)
        for t in range(8):
            _ = embeddings[t]
    kept = [0 in VideoEmbeddings(open_video(path), colour_embedder, 0, cache) for path in folders]
    assert kept == [True, False, True]
    assert sum(cached.n_bytes for cached in cache.videos()) <= cache.max_bytes


def test_a_video_that_is_too_large_is_kept_as_far_as_there_is_room(folder, tmp_path, colour_embedder, monkeypatch):
    monkeypatch.setattr("napari_pml.embedding.stores.SEVERAL_FRAMES", 2)
    one = VideoEmbeddings(open_video(folder), colour_embedder).frame_bytes
    cache = EmbeddingCache(tmp_path / "cache", 5 * one)
    embeddings = VideoEmbeddings(open_video(folder), colour_embedder, 0, cache)
    for t in range(8):
        _ = embeddings[t]
    assert [t in embeddings.disk for t in range(8)] == [True] * 4 + [False] * 4
    assert embeddings.capacity == 4


def test_masks_are_the_same_with_and_without(folder, cache, colour_embedder, drawn, embedded):
    def masks(embedding_cache):
        session = Session(
            open_video(folder), embedder=colour_embedder, embedding_bytes=0, embedding_cache=embedding_cache
        )
        session.annotate(0, drawn[1][0], complete=True)
        assert all(mask is not None for mask in session.propagate())
        return session.masks.labels[:]

    assert np.array_equal(masks(None), masks(cache))


def test_idle_preparation_goes_on_to_the_disk(folder, cache, colour_embedder):
    session = Session(open_video(folder), embedder=colour_embedder, embedding_bytes=0, embedding_cache=cache)
    assert list(session.prepare(4))[-1] == (8, 8)
    assert list(session.prepare(4)) == []


def test_the_users_cache_has_a_limit_and_can_be_turned_off(monkeypatch, tmp_path):
    monkeypatch.setattr(cache_module, "cache_folder", lambda: tmp_path)
    for value, limit in (("", 10e9), ("2.5", 2.5e9)):
        monkeypatch.setenv("NAPARI_PML_CACHE_GB", value)
        assert users_cache().max_bytes == limit
    monkeypatch.setenv("NAPARI_PML_CACHE_GB", "0")
    assert users_cache() is None
    for value in ("lots", "-1", "nan", "inf"):
        monkeypatch.setenv("NAPARI_PML_CACHE_GB", value)
        with pytest.raises(SettingsError, match="NAPARI_PML_CACHE_GB"):
            users_cache()


WRITER = """
import sys
sys.path.insert(0, sys.argv[3])
from pathlib import Path
from drawn_video import ColourEmbedder
from napari_pml import open_video
from napari_pml.embedding.cache import EmbeddingCache
from napari_pml.embedding.video_embeddings import VideoEmbeddings
for _ in range(5):
    embeddings = VideoEmbeddings(open_video(sys.argv[1]), ColourEmbedder(), 0, EmbeddingCache(Path(sys.argv[2]), 10**9))
    for t in range(8):
        embeddings[t]
"""


def test_two_processes_share_a_cache(folder, cache, colour_embedder, request):
    arguments = [sys.executable, "-c", WRITER, str(folder), str(cache.folder), str(request.config.rootpath / "tests")]
    writers = [subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    for _ in range(20):
        cache.clear()
    for writer in writers:
        _, errors = writer.communicate()
        assert writer.returncode == 0, errors
    plain = VideoEmbeddings(open_video(folder), colour_embedder)
    shared = VideoEmbeddings(open_video(folder), colour_embedder, 0, cache)
    assert all(torch.equal(plain[t], shared[t]) for t in range(8))


def test_asking_for_room_takes_none(tmp_path, drawn, colour_embedder):
    one = VideoEmbeddings(open_video(drawn[0]), colour_embedder).frame_bytes
    cache = EmbeddingCache(tmp_path / "cache", 12 * one)
    stores = []
    for i in range(2):
        write_video(tmp_path / f"{i}", "shapes", drawn[0], drawn[1])
        stores.append(VideoEmbeddings(open_video(tmp_path / f"{i}/JPEGImages/480p/shapes"), colour_embedder, 0, cache))
    for t in range(8):
        _ = stores[0][t]
    assert stores[1].capacity == 8
    assert sum(t in stores[0].disk for t in range(8)) == 8
    assert len(list(cache.videos()[0].path.glob("*.0.0.0"))) + len(list(cache.videos()[1].path.glob("*.0.0.0"))) == 8


def test_the_disk_is_not_filled_to_the_brim(folder, cache, colour_embedder, monkeypatch):
    """Also where there is room for a few frames, but not for all."""
    one = VideoEmbeddings(open_video(folder), colour_embedder).frame_bytes
    monkeypatch.setattr(type(cache), "_free", cache_module.FREE_BYTES + 4 * one)
    embeddings = VideoEmbeddings(open_video(folder), colour_embedder, 0, cache)
    assert embeddings.capacity == 0
    _ = embeddings[0]
    assert 0 not in embeddings.disk


def test_a_frame_that_is_cut_off_counts_as_missing_at_once(folder, cache, colour_embedder, embedded):
    chunk(cache, 3).write_bytes(b"abc")
    (chunk(cache, 3).parent / "5.0.0.0.0badcafe.partial").write_bytes(b"abc")
    chunk(cache, 5).unlink()
    assert VideoEmbeddings(open_video(folder), colour_embedder, 0, cache).missing(range(8)) == [3, 5]


def test_another_channel_axis_is_another_video(tmp_path, cache, colour_embedder):
    rng = np.random.default_rng(0)
    zarr.create_array(str(tmp_path / "v.zarr"), data=rng.integers(0, 255, (3, 3, 32, 32), dtype=np.uint8))
    first, second = (
        VideoEmbeddings(open_video(tmp_path / "v.zarr", channel_axis=axis), colour_embedder, 0, cache)
        for axis in (0, 1)
    )
    _ = first[0]
    assert 0 not in second
    assert not torch.equal(first[0], second[0])


def test_a_video_that_is_gone_is_not_cached_and_goes_on(folder, cache, colour_embedder):
    video = open_video(folder)
    folder.rename(folder.parent / "elsewhere")
    assert VideoEmbeddings(video, colour_embedder, 0, cache).disk is None


def test_embeddings_of_another_device_are_not_kept_among_these(folder, cache, colour_embedder):
    colour_embedder.device = torch.device("cpu")
    embeddings = VideoEmbeddings(open_video(folder), colour_embedder, 0, cache)
    embeddings._kind = "cuda"  # it was opened when the network was there, before the memory did not suffice
    _ = embeddings[0]
    assert 0 not in embeddings.disk


def test_many_processes_open_a_new_video_at_once(folder, cache, colour_embedder, request):
    arguments = [sys.executable, "-c", WRITER, str(folder), str(cache.folder), str(request.config.rootpath / "tests")]
    writers = [subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True) for _ in range(3)]
    for writer in writers:
        _, errors = writer.communicate()
        assert writer.returncode == 0, errors
    assert VideoEmbeddings(open_video(folder), Idle(colour_embedder), 0, cache).missing(range(8)) == []
