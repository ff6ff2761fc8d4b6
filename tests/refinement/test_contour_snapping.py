import numpy as np
import torch

from drawn_video import jaccard
from napari_pml.refinement.contour_snapping import contours, majority, snap, superpixels

CPU = torch.device("cpu")


def picture():
    """A red box over green, with clear edges: (120, 160, 3) float32, and where it is."""
    box = np.zeros((120, 160), bool)
    box[30:90, 50:110] = True
    rgb = np.full((120, 160, 3), (0.2, 0.5, 0.2), np.float32)
    rgb[box] = (0.8, 0.2, 0.2)
    return rgb + np.random.default_rng(0).normal(0, 0.01, rgb.shape).astype(np.float32), box


def test_a_ragged_mask_snaps_to_the_edges():
    rgb, box = picture()
    chance = np.random.default_rng(1)
    shift = chance.integers(-4, 5, (15, 20)).repeat(8, 0).repeat(8, 1)
    rows, columns = np.mgrid[:120, :160]
    ragged = box[(rows + shift).clip(0, 119), (columns + shift).clip(0, 159)].astype(np.uint16)
    snapped = snap(ragged, rgb, CPU)
    assert jaccard(ragged == 1, box) < 0.93
    assert jaccard(snapped == 1, box) > 0.97


def test_contours_are_where_the_edges_are():
    rgb, box = picture()
    found = contours(rgb, CPU)
    assert found.shape == box.shape
    assert found[58:62, 48:52].mean() > 2 * found[55:65, 75:85].mean()


def test_superpixels_cover_the_frame_and_do_not_cross_clear_edges():
    rgb, box = picture()
    regions = superpixels(np.zeros((120, 160), np.float32), rgb)
    assert regions.shape == box.shape
    shares = np.bincount(regions.ravel(), box.ravel()) / np.bincount(regions.ravel()).clip(1)
    purity = np.maximum(shares, 1 - shares)[regions]
    assert purity.mean() > 0.95


def test_each_region_takes_its_commonest_label():
    regions = np.array([[1, 1, 1, 2, 2, 2]], np.int32)
    labels = np.array([[5, 5, 0, 0, 9, 9]], np.uint16)
    assert majority(labels, regions).tolist() == [[5, 5, 5, 9, 9, 9]]


def test_small_objects_stay():
    regions = np.ones((10, 10), np.int32)
    labels = np.zeros((10, 10), np.uint16)
    labels[2, 3], labels[7:9, 7:9] = 3, 60000
    assert (majority(labels, regions) == labels).all()


def test_an_empty_mask_stays_empty():
    rgb, box = picture()
    assert not snap(np.zeros(box.shape, np.uint16), rgb, CPU).any()


def test_a_frame_without_any_contour():
    labels = np.zeros((40, 40), np.uint16)
    labels[10:20, 10:20] = 1
    snapped = snap(labels, np.zeros((40, 40, 3), np.float32), CPU)
    assert (snapped == 1).any()
