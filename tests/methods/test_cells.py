"""Cells: motion, seeds, the choice of a landscape, new cells and daughters, on drawn discs that move."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from drawn_video import ColourEmbedder, jaccard
from napari_pml import BACKGROUND, METHODS, Session, open_video
from napari_pml.errors import SettingsError
from napari_pml.evaluation.identity import follow
from napari_pml.io.lineage import find_parents
from napari_pml.methods.cells.newcomers import new_numbers
from napari_pml.methods.cells.seeds import corrected, diameter_of, eroded
from napari_pml.methods.motion import Motion
from napari_pml.video.working import WorkingVideo

N_FRAMES, SIZE = 21, (96, 112)
Y, X = np.mgrid[: SIZE[0], : SIZE[1]]


def draw(discs, seed=0):
    """Draw discs of textured grey over darker grey: (T, H, W) uint8 frames and their masks.

    Args:
        discs: number -> frame -> (row, column, radius), or None where it is not there.
    """
    rng = np.random.default_rng(seed)
    texture = {number: rng.integers(-25, 25, (40, 40)) for number in discs}
    frames = rng.integers(35, 45, (N_FRAMES, *SIZE)).astype(np.uint8)
    masks = np.zeros((N_FRAMES, *SIZE), np.uint16)
    for number, way in discs.items():
        for t in range(N_FRAMES):
            if (place := way(t)) is not None:
                row, column, radius = place
                inside = np.hypot(Y - row, X - column) < radius
                masks[t][inside] = number
                rows, columns = (Y[inside] - row).astype(int), (X[inside] - column).astype(int)
                frames[t][inside] = 120 + texture[number][rows, columns]  # negative ones count from the end
    return frames, masks


def grid_of_cells(t, n=12, radius=6.5):
    """Return the places of small cells, which touch, move, and turn round."""
    return [(14 + 15 * (i // 4) + t, 14 + 14 * (i % 4) + 1.5 * t + (i // 4), radius) for i in range(n)]


@pytest.fixture(scope="module")
def small():
    """Twelve cells of 13 pixels."""
    return draw({i + 1: lambda t, i=i: grid_of_cells(t)[i] for i in range(12)})


@pytest.fixture(scope="module")
def dividing():
    """A cell divides on frame 6, another comes into view on frame 9, and one stays as it is."""
    half = 6.5
    return draw(
        {
            1: lambda t: (40, 30, 9) if t < 6 else None,
            2: lambda t: (40, 30 - half - t + 5, half) if t >= 6 else None,
            3: lambda t: (40, 30 + half + t - 5, half) if t >= 6 else None,
            4: lambda t: (76, 20 + t, 8),
            5: lambda t: (30, 90, 8) if t >= 9 else None,
        }
    )


def session(frames, **settings):
    return Session(open_video(frames), replace(METHODS["cells"], **settings), embedder=ColourEmbedder())


def masks_of(session, start=0):
    for _ in session.propagate(start):
        pass
    return session.masks.labels[:]


def test_small_cells_that_touch_are_all_kept(small):
    frames, truth = small
    cells = session(frames)
    cells.annotate(0, truth[0], complete=True)
    found = follow(masks_of(cells), truth)
    assert found.identity_on(20) == 1
    assert found.iou(20) > 0.8


def test_masks_do_not_depend_on_the_frame_in_view(small):
    frames, truth = small
    found = []
    for start in (0, 7):
        cells = session(frames[:9])
        cells.annotate(3, truth[3], complete=True)
        found.append(masks_of(cells, start))
    np.testing.assert_array_equal(*found)


def test_a_correction_goes_on_from_its_frame(small):
    frames, truth = small
    wrong = truth[0].copy()
    wrong[truth[0] == 1], wrong[truth[0] == 2] = 2, 1  # a person has mistaken one for the other
    cells = session(frames[:6])
    cells.annotate(0, wrong, complete=True)
    assert jaccard(masks_of(cells)[5] == 2, truth[5] == 1) > 0.7
    strokes = np.zeros(SIZE, np.uint16)
    for number in (1, 2):
        strokes[eroded(np.where(truth[2] == number, truth[2], 0), 0.6) > 0] = number
    cells.annotate(2, strokes)
    masks = masks_of(cells)
    for number in (1, 2):
        assert jaccard(masks[5] == number, truth[5] == number) > 0.7
        assert jaccard(masks[2] == number, truth[2] == number) > 0.7


def test_background_painted_over_a_cell_ends_it(small):
    frames, truth = small
    cells = session(frames[:6])
    cells.annotate(0, truth[0], complete=True)
    strokes = np.where(eroded(truth[3], 0.5) == 6, np.uint16(BACKGROUND), np.uint16(0))
    cells.annotate(3, strokes)
    masks = masks_of(cells)
    assert (masks[1] == 6).any()
    assert not (masks[3:] == 6).any()
    assert all((masks[5] == number).any() for number in {*range(1, 13)} - {6})


def test_strokes_alone_are_enough(small):
    frames, truth = small
    cells = session(frames[:4])
    strokes = eroded(truth[0], 0.6)
    strokes[truth[0] == 0] = np.where(X[truth[0] == 0] > 90, BACKGROUND, 0)
    cells.annotate(0, strokes)
    masks = masks_of(cells)
    assert follow(masks, truth[:4]).identity_on(3) > 0.8


def test_new_cells_are_found_and_daughters_know_their_parent(dividing):
    frames, truth = dividing
    cells = session(frames, find_new=True)
    cells.annotate(0, truth[0], complete=True)
    masks = masks_of(cells)
    parents = find_parents(cells.masks[t] for t in range(N_FRAMES))
    assert sorted(parents.values()) == [1, 1]
    for t in (8, 20):
        pairs = [(jaccard(masks[t] == d, truth[t] == true), true) for d in parents for true in (2, 3)]
        assert sorted(true for iou, true in pairs if iou > 0.6) == [2, 3]
    new = set(np.unique(masks[20])) - {0, 4, *parents}
    assert len(new) == 1
    assert jaccard(masks[20] == new.pop(), truth[20] == 5) > 0.7
    assert jaccard(masks[20] == 4, truth[20] == 4) > 0.7


def test_without_the_option_no_object_is_new(dividing):
    frames, truth = dividing
    cells = session(frames)
    cells.annotate(0, truth[0], complete=True)
    assert set(np.unique(masks_of(cells))) <= {0, 1, 4}


def test_numbers_of_new_objects_tell_their_frame():
    assert list(new_numbers(12, 60, 13, backwards=False))[:3] == [13000, 13002, 13004]
    assert next(new_numbers(12, 60, 13, backwards=True)) == 13001
    assert next(new_numbers(12, 600, 13, backwards=False)) == 1300
    assert list(new_numbers(12, 20_000, 13, backwards=False)) == []


def test_other_videos_cannot_be_learned_from(small):
    frames, truth = small
    source = session(frames[:3])
    source.annotate(0, truth[0], complete=True)
    with pytest.raises(SettingsError, match="cannot learn from other videos"):
        session(frames[:3]).transfer_from(source)


def test_motion_moves_a_mask():
    frames, truth = draw({1: lambda t: (30 + 2 * t, 40 + 3 * t, 14)})
    moved = Motion(WorkingVideo(open_video(frames))).moved(truth[0], 1, 0)
    assert jaccard(moved == 1, truth[1] == 1) > 0.9 > jaccard(truth[0] == 1, truth[1] == 1)


def test_tiny_frames_do_not_move():
    frames = np.zeros((2, 8, 8), np.uint8)
    frames[1, 2:, 2:] = 200
    labels = np.eye(8, dtype=np.uint16)
    np.testing.assert_array_equal(Motion(WorkingVideo(open_video(frames))).moved(labels, 1, 0), labels)


def test_a_stroke_says_where_an_object_has_gone():
    moved = np.zeros((20, 30), np.uint16)
    moved[5:15, 2:12], moved[5:15, 15:25] = 1, 2
    stroke = np.zeros_like(moved)
    stroke[8:12, 18:22] = 1  # through the heart of 2, far from 1
    labels = corrected(moved, stroke)
    assert set(np.unique(labels)) == {0, 1}
    np.testing.assert_array_equal(labels == 1, stroke == 1)


def test_seeds_and_diameters():
    labels = np.zeros((30, 30), np.uint16)
    labels[np.hypot(*(np.mgrid[:30, :30] - 15)) < 10] = 7
    labels[0, 0] = 3  # a single pixel is its own seed
    seeds = eroded(labels, 0.35)
    assert seeds[0, 0] == 3
    assert 0.3 < (seeds == 7).sum() / (labels == 7).sum() < 0.55
    assert diameter_of(np.where(labels == 7, labels, 0)) == pytest.approx(20, abs=1)
    assert diameter_of(np.zeros_like(labels)) == 0
