import threading

import numpy as np
import pytest
import zarr

from napari_pml.errors import ExportError
from napari_pml.store.masks import MaskStore
from napari_pml.types import PREVIEW_REVISION, FrameMask

SHAPE, GRID = (6, 24, 32), (3, 4)


def some_mask(t, revision=1, label=None):
    rng = np.random.default_rng(t)
    labels = rng.integers(0, 400, SHAPE[1:]).astype(np.uint16)
    if label is not None:
        labels[:] = label
    return FrameMask(t, labels, rng.random(GRID).astype(np.float32), revision)


@pytest.fixture(params=["in memory", "on disk"])
def store(request, tmp_path):
    return MaskStore(SHAPE, GRID, None if request.param == "in memory" else tmp_path / "masks.zarr")


def test_an_empty_store_has_no_masks(store):
    assert [t for t in range(-1, 8) if t in store] == []
    assert store.revisions.tolist() == [-1] * 6
    with pytest.raises(KeyError):
        store[2]
    assert (store.labels.shape, store.labels.dtype) == (SHAPE, np.uint16)
    assert not store.labels[:].any()


def test_what_is_put_comes_back(store):
    mask = some_mask(2, revision=7)
    store.put(mask)
    back = store[2]
    np.testing.assert_array_equal(back.labels, mask.labels)
    np.testing.assert_allclose(back.confidence, mask.confidence, atol=1 / 510 + 1e-6)
    assert (back.t, back.revision, back.labels.dtype, back.confidence.dtype) == (2, 7, np.uint16, np.float32)
    assert [t for t in range(6) if t in store] == [2]
    assert store.revisions.tolist() == [-1, -1, 7, -1, -1, -1]
    np.testing.assert_array_equal(store.labels[2], mask.labels)


def test_a_newer_mask_replaces_the_older(store):
    store.put(some_mask(2, revision=1, label=3))
    store.put(some_mask(2, revision=4, label=0))
    assert not store[2].labels.any()
    assert store[2].revision == 4


def test_a_guess_is_not_finished(store):
    for t, revision in ((4, 1), (2, PREVIEW_REVISION), (0, 3)):
        store.put(some_mask(t, revision))
    assert store.finished == [0, 4]


def test_a_guess_lies_over_a_finished_mask_until_the_next_one_comes(store):
    finished, guess = some_mask(2, revision=3, label=5), some_mask(2, PREVIEW_REVISION, label=7)
    store.put(finished)
    store.put(guess)
    assert (store.finished, store.previewed, store.revisions[2]) == ([2], [2], 3)
    assert (store[2].labels == 5).all()
    assert (store.labels[2] == 5).all()
    assert (store.latest(2).labels == 7).all()
    assert (store.latest_labels(2) == 7).all()
    np.testing.assert_allclose(store.confidence(2), guess.confidence, atol=1 / 510 + 1e-6)
    store.put(some_mask(2, revision=4, label=9))
    assert store.previewed == []
    assert (store.latest_labels(2) == 9).all()
    assert store.latest(2) is store[2]


def test_forgotten_masks_have_no_guesses_over_them(store):
    store.put(some_mask(2, revision=3))
    store.put(some_mask(2, PREVIEW_REVISION))
    store.clear()
    assert store.previewed == []
    assert not store.latest_labels(2).any()


def test_masks_of_earlier_annotations_may_be_left_out(store):
    for t, revision in ((4, 1), (2, PREVIEW_REVISION), (0, 3)):
        store.put(some_mask(t, revision))
    later = store.since(3)
    assert later.finished == [0]
    assert later[0].revision == 3
    assert np.flatnonzero(~np.isnan(later.certainties)).tolist() == [0]
    with pytest.raises(KeyError):
        later[4]
    assert store.finished == [0, 4]


def test_clear_forgets_everything(store):
    for t in (0, 5):
        store.put(some_mask(t))
    labels = store.labels
    store.clear()
    assert not labels[:].any()
    assert (store.revisions == -1).all()
    assert 5 not in store


def test_revisions_are_a_copy(store):
    store.revisions[0] = 9
    assert 0 not in store


def test_masks_on_disk_are_opened_again(tmp_path):
    MaskStore(SHAPE, GRID, tmp_path / "m.zarr").put(some_mask(3, revision=5))
    again = MaskStore(SHAPE, GRID, tmp_path / "m.zarr")
    assert again.revisions.tolist() == [-1, -1, -1, 5, -1, -1]
    np.testing.assert_array_equal(again[3].labels, some_mask(3).labels)
    again.clear()
    assert 3 not in MaskStore(SHAPE, GRID, tmp_path / "m.zarr")


def test_a_store_of_another_video_is_refused(tmp_path):
    MaskStore(SHAPE, GRID, tmp_path / "m.zarr")
    with pytest.raises(ExportError, match="masks of another video"):
        MaskStore((7, 24, 32), GRID, tmp_path / "m.zarr")
    with pytest.raises(ExportError, match="masks of another video"):
        MaskStore(SHAPE, (6, 8), tmp_path / "m.zarr")


def test_a_place_that_holds_something_else_is_refused(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ExportError, match="cannot be kept"):
        MaskStore(SHAPE, GRID, tmp_path / "file")
    zarr.create_array(tmp_path / "array.zarr", shape=(3,), dtype="u1")
    with pytest.raises(ExportError, match="cannot be kept"):
        MaskStore(SHAPE, GRID, tmp_path / "array.zarr")
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize("killed_at", ["labels", "confidence", "revision"])
@pytest.mark.parametrize("had_a_mask", [False, True])
def test_a_frame_that_was_being_written_does_not_count(killed_at, had_a_mask, tmp_path, monkeypatch):
    store = MaskStore(SHAPE, GRID, tmp_path / "m.zarr")
    store.put(some_mask(0, revision=1))
    if had_a_mask:
        store.put(some_mask(2, revision=1))
    set_item = zarr.Array.__setitem__
    retracting = [had_a_mask]  # the first write to `revision` takes an earlier mask away

    def killed(array, key, value):
        if array.basename == killed_at and not (killed_at == "revision" and retracting and retracting.pop()):
            raise KeyboardInterrupt
        set_item(array, key, value)

    monkeypatch.setattr(zarr.Array, "__setitem__", killed)
    with pytest.raises(KeyboardInterrupt):
        store.put(some_mask(2, revision=2))
    monkeypatch.undo()
    after = MaskStore(SHAPE, GRID, tmp_path / "m.zarr")
    assert [t for t in range(6) if t in after] == [0]


def test_a_full_disk_is_reported(tmp_path, monkeypatch):
    store = MaskStore(SHAPE, GRID, tmp_path / "m.zarr")

    def full(array, key, value):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(zarr.Array, "__setitem__", full)
    with pytest.raises(ExportError, match=r"frame 2 cannot be kept.*No space left"):
        store.put(some_mask(2))
    assert 2 not in store


def test_readers_see_whole_masks_while_one_writes(store):
    """Labels and revision always belong together."""
    wrong = []
    done = threading.Event()

    def read():
        while not done.is_set():
            mask = store[1]
            if not (mask.labels == mask.revision).all():
                wrong.append(mask.revision)

    store.put(some_mask(1, revision=0, label=0))
    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    for revision in range(1, 20):
        store.put(some_mask(1, revision=revision, label=revision))
    done.set()
    for reader in readers:
        reader.join()
    assert wrong == []
    assert store[1].revision == 19


def test_memory_holds_masks_compressed():
    store = MaskStore((20, 480, 640), (60, 80))
    labels = np.zeros((480, 640), np.uint16)
    labels[100:300, 200:400] = 1
    for t in range(20):
        store.put(FrameMask(t, labels, np.ones((60, 80), np.float32), 0))
    assert store.labels.nbytes_stored() < store.labels.nbytes / 50


@pytest.mark.parametrize("bit", [0, 3, 7])
def test_what_the_disk_has_changed_is_noticed(tmp_path, bit):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, SHAPE[1:]).astype(np.uint16)
    MaskStore(SHAPE, GRID, tmp_path / "masks").put(FrameMask(2, labels, np.ones(GRID, np.float32), 1))
    chunk = tmp_path / "masks/labels/c.2.0.0"
    data = bytearray(chunk.read_bytes())
    data[len(data) // 2] ^= 1 << bit
    chunk.write_bytes(data)
    with pytest.warns(UserWarning, match="1 masks .* from frame 2 on"):
        store = MaskStore(SHAPE, GRID, tmp_path / "masks")
    assert 2 not in store
