import numpy as np
import pytest
from scipy.ndimage import binary_dilation, binary_erosion, label
from skimage.data import _fetchers

from napari_pml.demo import make_clip


@pytest.fixture(scope="module")
def clip():
    return make_clip(n_frames=6, n_objects=3)


def test_shapes_and_types(clip):
    frames, masks = clip
    assert (frames.shape, frames.dtype) == ((6, 240, 320, 3), np.uint8)
    assert (masks.shape, masks.dtype) == ((6, 240, 320), np.uint16)


def test_the_same_clip_every_time(clip):
    frames, masks = make_clip(n_frames=6, n_objects=3)
    np.testing.assert_array_equal(frames, clip[0])
    np.testing.assert_array_equal(masks, clip[1])


def test_every_object_is_seen_in_every_frame_and_moves(clip):
    _, masks = clip
    for object_id in (1, 2, 3):
        areas = (masks == object_id).mean(axis=(1, 2))
        assert areas.min() > 0.02
        centres = [np.argwhere(mask == object_id).mean(axis=0) for mask in masks]
        assert np.hypot(*(centres[-1] - centres[0])) > 60


def test_objects_pass_in_front_of_each_other(clip):
    alone = make_clip(n_frames=6, n_objects=1)[1] == 1
    hidden = (alone & (clip[1] != 1)).sum(axis=(1, 2))
    assert hidden[0] == 0
    assert hidden.max() > 1000


def test_objects_are_in_one_piece_where_nothing_hides_them():
    _, masks = make_clip(n_frames=3)
    assert [label(mask)[1] for mask in masks] == [1, 1, 1]


def test_masks_fit_the_pictures(clip):
    """Outside of the masks, a little away from their edges, a clip with objects is the one with fewer."""
    frames, masks = clip
    fewer, _ = make_clip(n_frames=6, n_objects=2)
    cat = masks == 3
    changed = (frames != fewer).any(axis=-1)
    assert not changed[~np.array([binary_dilation(mask, iterations=2) for mask in cat])].any()
    assert changed[np.array([binary_erosion(mask, iterations=2) for mask in cat])].mean() > 0.98


def test_the_background_moves_too():
    frames, masks = make_clip(n_frames=2)
    assert (frames[0] != frames[1]).any(axis=-1)[(masks == 0).all(axis=0)].mean() > 0.5


def test_other_sizes_are_filled():
    frames, masks = make_clip(n_frames=2, height=96, width=192)
    assert frames.shape == (2, 96, 192, 3)
    assert (frames[:, :, [0, -1]].max(axis=-1) > 0).all()  # the sky reaches from side to side
    assert masks.any(axis=(1, 2)).all()


def test_nothing_is_downloaded(monkeypatch):
    monkeypatch.setattr(_fetchers, "_image_fetcher", None)
    assert len(make_clip(n_frames=1, height=48, width=64, n_objects=3)[0]) == 1
