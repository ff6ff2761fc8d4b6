"""One number that says where a stroke helps most."""

import numpy as np
import pytest

from napari_pml import MaskStore, Session, open_video
from napari_pml.grid import grid_shape
from napari_pml.store.certainty import certainty
from napari_pml.types import FrameMask


def mask_of(*objects: tuple[int, slice, slice]) -> np.ndarray:
    labels = np.zeros((64, 96), np.uint16)
    for label, rows, columns in objects:
        labels[rows, columns] = label
    return labels


LARGE, SMALL = (1, slice(0, 48), slice(0, 48)), (2, slice(48, 56), slice(80, 88))


def test_background_does_not_count():
    confidence = np.full((8, 12), 0.9, np.float32)
    confidence[:, 6:] = 0.1
    assert certainty(mask_of(LARGE), confidence) == pytest.approx(0.9)


def test_objects_count_alike_whatever_their_size():
    confidence = np.ones((8, 12), np.float32)
    confidence[6, 10] = 0.5
    assert certainty(mask_of(LARGE, SMALL), confidence) == pytest.approx(0.75)


def test_without_objects_all_cells_count():
    assert certainty(mask_of(), np.full((8, 12), 0.7, np.float32)) == pytest.approx(0.7)


def test_sides_that_are_no_multiples_of_a_cell():
    labels = np.zeros((65, 97), np.uint16)
    labels[-1, -1] = 65534
    confidence = np.ones((9, 13), np.float32)
    confidence[-1, -1] = 0.25
    assert certainty(labels, confidence) == pytest.approx(0.25)


@pytest.mark.parametrize("size", [(100, 100), (65, 97), (12, 20), (540, 961)])
def test_every_pixel_has_the_certainty_of_its_own_cell(size):
    h, w = grid_shape(*size, 8)
    rng = np.random.default_rng(0)
    confidence = rng.random((h, w)).astype(np.float32)
    for i, j in rng.integers((0, 0), (h, w), (20, 2)).tolist():
        labels = np.zeros(size, np.uint16)
        labels[8 * i : 8 * i + 8, 8 * j : 8 * j + 8] = 1
        assert certainty(labels, confidence) == pytest.approx(confidence[i, j])


def test_a_small_uncertain_object_counts_more_than_a_whole_background_that_is_a_little_uncertain(
    drawn, colour_embedder
):
    frames, masks = drawn
    session = Session(open_video(frames), embedder=colour_embedder)
    assert session.next_frame_to_annotate() is None
    for t in range(8):
        square = masks[t, 4::8, 4::8] == 2  # the smaller object, in cells
        confidence = np.full(square.shape, 0.8 if t == 2 else 1, np.float32)
        confidence[masks[t, 4::8, 4::8] > 0] = 1
        if t == 5:
            confidence[square] = 0.5
        session.masks.put(FrameMask(t, masks[t], confidence, 1))
    assert session.masks.confidence(2).mean() < session.masks.confidence(5).mean()
    assert session.next_frame_to_annotate() == 5
    session.annotate(5, masks[5])
    assert session.next_frame_to_annotate() == 2


def test_the_store_remembers_how_certain_each_frame_is(tmp_path):
    store = MaskStore((4, 64, 96), (8, 12), tmp_path / "masks.zarr")
    confidence = np.full((8, 12), 0.6, np.float32)
    store.put(FrameMask(2, mask_of(LARGE), confidence, 1))
    again = MaskStore((4, 64, 96), (8, 12), tmp_path / "masks.zarr")
    for masks in (store, again):
        np.testing.assert_allclose(masks.certainties, [np.nan, np.nan, 0.6, np.nan], rtol=1e-6)
    again.clear()
    assert np.isnan(again.certainties).all()
