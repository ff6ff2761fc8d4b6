import numpy as np

from napari_pml.engine.blending import PackedMasks, blend
from napari_pml.types import FrameMask


def mask_of(labels, confidence, t=3, revision=5):
    labels = np.asarray(labels, np.uint16)
    grid = -(-labels.shape[0] // 8), -(-labels.shape[1] // 8)
    return FrameMask(t, labels, np.full(grid, confidence, np.float32), revision)


def test_packed_masks_come_out_as_they_went_in():
    rng = np.random.default_rng(0)
    mask = mask_of(rng.integers(0, 9, (20, 30)), 0.4)
    packed = PackedMasks()
    packed.put(mask)
    found = packed.pop(3)
    assert np.array_equal(found.labels, mask.labels)
    assert (found.t, found.revision) == (3, 5)
    assert np.array_equal(found.confidence, mask.confidence)
    assert packed.pop(3) is None
    assert packed.pop(4) is None


def test_where_masks_agree_nothing_changes():
    ours, theirs = mask_of(np.eye(16), 0.9), mask_of(np.eye(16), 0.5)
    blended = blend(ours, theirs, 0.5)
    assert np.array_equal(blended.labels, ours.labels)
    np.testing.assert_allclose(blended.confidence, 0.7)


def test_the_surer_and_the_nearer_mask_counts_where_they_differ():
    ours, theirs = mask_of(np.ones((16, 16)), 0.9), mask_of(np.zeros((16, 16)), 0.9)
    assert blend(ours, theirs, 0.6).labels.all()
    assert not blend(ours, theirs, 0.4).labels.any()
    unsure = mask_of(np.ones((16, 16)), 0.2)
    assert not blend(unsure, theirs, 0.6).labels.any()


def test_where_masks_differ_the_result_is_less_sure():
    theirs = np.ones((16, 16), np.uint16)
    theirs[:8, :8] = 2
    blended = blend(mask_of(np.ones((16, 16)), 0.8), mask_of(theirs, 0.8), 0.5)
    np.testing.assert_allclose(blended.confidence, [[0.4, 0.8], [0.8, 0.8]])
