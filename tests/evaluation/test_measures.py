import json

import numpy as np
import pytest
from scipy.ndimage import binary_dilation
from skimage.morphology import disk

from napari_pml.errors import DatasetError
from napari_pml.evaluation.measures import boundary_accuracy, evaluate_masks, region_similarity, summarise
from napari_pml.io.label_images import read_labels


def drawing(text):
    return np.array([[character == "#" for character in line] for line in text.split()])


def square(size, top, left, side):
    mask = np.zeros(size, bool)
    mask[top : top + side, left : left + side] = True
    return mask


def test_region_similarity_counts_pixels():
    mask = drawing("##... ##... .....")
    truth = drawing(".##.. .##.. .##..")
    assert region_similarity(mask, truth) == 2 / 8
    assert region_similarity(mask, mask) == 1
    assert region_similarity(mask, ~mask) == 0


@pytest.mark.parametrize("measure", [region_similarity, boundary_accuracy])
def test_empty_masks(measure):
    empty, some = np.zeros((30, 40), bool), square((30, 40), 5, 5, 10)
    assert measure(empty, empty) == 1
    assert measure(some, empty) == 0
    assert measure(empty, some) == 0


@pytest.mark.parametrize(("shift", "expected"), [(0, 1), (1, 1), (8, 1), (60, 0)])
def test_boundaries_may_be_off_by_the_tolerance(shift, expected):
    size = (480, 854)  # tolerance: 8 pixels
    assert boundary_accuracy(square(size, 100 + shift, 100, 40), square(size, 100, 100, 40)) == expected


def test_boundary_beyond_the_tolerance_by_hand():
    """The boundary of a square of 40 pixels is a ring of 160; one lies 9 to the right of the other."""
    size = (480, 854)
    moved, still = square(size, 100, 109, 40), square(size, 100, 100, 40)
    upper_and_lower = 2 * 40  # all but the last column, which is 9 away from the other ring's corner
    left = 2 * 8  # 9 away from the left side, but its ends are near the upper and lower side
    right = 0
    assert boundary_accuracy(moved, still) == pytest.approx((upper_and_lower + left + right) / 160)


def reference_boundary_accuracy(mask, truth):
    """F by dilating the boundaries, the way it is defined."""

    def boundary(m):
        edge = np.zeros_like(m)
        edge[:, :-1] |= m[:, :-1] != m[:, 1:]
        edge[:-1] |= m[:-1] != m[1:]
        edge[:-1, :-1] |= m[:-1, :-1] != m[1:, 1:]
        return edge

    found, true = boundary(mask), boundary(truth)
    element = disk(int(np.ceil(0.008 * np.hypot(*mask.shape))))
    precision = (found & binary_dilation(true, element)).sum() / found.sum()
    recall = (true & binary_dilation(found, element)).sum() / true.sum()
    return 2 * precision * recall / (precision + recall)


@pytest.mark.parametrize("seed", range(5))
def test_boundary_accuracy_is_that_of_dilated_boundaries(seed):
    rng = np.random.default_rng(seed)
    size = (120 + 50 * seed, 200)
    y, x = np.mgrid[: size[0], : size[1]]
    truth = np.hypot(y - 60, x - 100) < 50
    mask = (np.hypot(y - 62, x - 96) < 50) ^ (rng.random(size) < 0.002)
    mask[:, -10:] = True  # touches the border of the image
    assert boundary_accuracy(mask, truth) == pytest.approx(reference_boundary_accuracy(mask, truth), abs=1e-12)


def test_statistics():
    statistics = summarise([0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2])
    assert statistics.mean == pytest.approx(0.55)
    assert statistics.recall == 4 / 8  # more than 0.5, not 0.5 itself
    # quarters end at 1, 2.75, 4.5, 6.25, 8, rounded: the first is frames 1 to 3, the last 6 to 8
    assert statistics.decay == pytest.approx(0.8 - 0.3)


def test_quarters_round_halves_up():
    """Of 7 frames the quarters end at 1, 2.5, 4, 5.5, 7: a half goes up, not to the even number."""
    assert summarise([1, 1, 0, 0, 0, 0, 0]).decay == pytest.approx(2 / 3)


def test_statistics_of_nothing():
    with pytest.raises(ValueError, match="no frames"):
        summarise([])


def test_evaluation_leaves_out_first_and_last_and_keeps_objects_apart(drawn):
    _, truth = drawn
    masks = truth.copy()
    masks[0] = masks[-1] = 0
    masks[3][masks[3] == 2] = 0
    evaluation = evaluate_masks(masks, truth)
    assert evaluation.object_ids == (1, 2)
    assert evaluation.region.shape == evaluation.boundary.shape == (2, 6)
    assert (evaluation.region[0] == 1).all()
    assert evaluation.region[1].tolist() == evaluation.boundary[1].tolist() == [1, 1, 0, 1, 1, 1]
    assert evaluation.j_mean == evaluation.f_mean == evaluation.j_and_f == pytest.approx(11 / 12)


def test_evaluation_of_swapped_objects_is_bad(drawn):
    _, truth = drawn
    assert evaluate_masks(np.where(truth > 0, 3 - truth, 0), truth).j_mean == 0


def test_evaluation_needs_matching_masks(drawn):
    _, truth = drawn
    with pytest.raises(DatasetError, match="7 masks and 8 true ones"):
        evaluate_masks(truth[1:], truth)
    with pytest.raises(DatasetError, match="at least three"):
        evaluate_masks(truth[:2], truth[:2])
    with pytest.raises(DatasetError, match="empty"):
        evaluate_masks(truth, truth * 0)


@pytest.mark.parametrize("method", ["pml", "osvos"])
@pytest.mark.parametrize("sequence", ["blackswan", "bmx-trees"])
def test_published_numbers_are_reproduced(method, sequence, data_folder):
    golden = data_folder / "davis2016-golden"
    published = json.loads((golden / "official" / f"{method}.json").read_text())[sequence]

    def masks(folder):
        return [np.minimum(read_labels(path), 1) for path in sorted(folder.glob("*.png"))]

    evaluation = evaluate_masks(masks(golden / "results" / method / sequence), masks(golden / "Annotations" / sequence))
    np.testing.assert_allclose(evaluation.region[0], np.array(published["J"], float), atol=0.0005 + 1e-9)
    np.testing.assert_allclose(evaluation.boundary[0], np.array(published["F"], float), atol=0.0005 + 1e-9)
    for ours, theirs in ((evaluation.region[0], published["J"]), (evaluation.boundary[0], published["F"])):
        assert summarise(ours).recall == np.mean(np.array(theirs, float) > 0.5)
        assert summarise(ours).decay == pytest.approx(summarise(np.array(theirs, float)).decay, abs=0.001)


def test_masks_of_another_size_are_refused(drawn):
    _, truth = drawn
    with pytest.raises(DatasetError, match=r"On frame 1 the mask is \(48, 64\), the true one \(96, 128\)"):
        evaluate_masks(truth[:, ::2, ::2], truth)
