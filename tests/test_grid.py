import numpy as np
import pytest
import torch

from napari_pml.grid import (
    IntensityScale,
    cell_coordinates,
    grid_shape,
    pad_to_cells,
    pixel_counts,
    resize_cells,
    upsample,
)


@pytest.mark.parametrize(
    ("size", "grid"), [((8, 8), (1, 1)), ((9, 16), (2, 2)), ((1, 1), (1, 1)), ((480, 854), (60, 107))]
)
def test_cells_cover_the_image(size, grid):
    assert grid_shape(*size, 8) == grid
    padded = pad_to_cells(torch.rand(1, 3, *size), 8)
    assert padded.shape[2:] == (grid[0] * 8, grid[1] * 8)
    assert (padded[..., -1, -1] == padded[..., size[0] - 1, size[1] - 1]).all()


@pytest.mark.parametrize("size", [(100, 100), (30, 41), (480, 854), (12, 12), (1, 1), (5, 33)])
def test_cells_of_another_size_lie_at_the_same_pixels(size):
    grid = {stride: grid_shape(*size, stride) for stride in (2, 4, 6, 8, 16)}
    eights = torch.rand(grid[8])
    assert resize_cells(eights, 8, grid[8], 8) is eights
    for stride in (2, 4):
        small, n = torch.rand(grid[stride]), 8 // stride
        means = [
            [small[n * i : n * i + n, n * j : n * j + n].mean() for j in range(grid[8][1])] for i in range(grid[8][0])
        ]
        torch.testing.assert_close(resize_cells(small, stride, grid[8], 8), torch.tensor(means))
    rows, columns = (torch.arange(n) // 2 for n in grid[8])
    large = torch.rand(grid[16])
    assert (resize_cells(large, 16, grid[8], 8) == large[rows[:, None], columns]).all()
    assert (resize_cells(torch.ones(grid[6]), 6, grid[8], 8) == 1).all()


def test_cells_that_overlap_in_part_count_by_the_pixels_they_share():
    assert resize_cells(torch.tensor([[1.0, 0.0, 1.0]]), 6, (1, 2), 8).tolist() == [[0.75, 0.5]]


def test_counts_are_of_the_pixels_that_exist():
    labels = np.ones((9, 10), np.uint16)
    labels[0, 0] = 0
    labels[0, 1] = 5
    labels[8, 9] = 7  # not asked for
    counts = pixel_counts(labels, [5, 1], 8)
    assert counts.tolist() == [[1, 62], [0, 16], [0, 8], [0, 1]]


def test_up_and_down_again_keeps_the_place():
    """Area shares of a half plane, upsampled and cut at one half, give the half plane back, to the pixel."""
    for edge in (16, 20, 24):
        labels = np.ones((40, 48), np.uint16)
        labels[:, edge:] = 2
        counts = pixel_counts(labels, [1, 2], 8)
        shares = (counts / counts.sum(1, keepdim=True)).T.reshape(2, 5, 6)
        back = upsample(shares, (40, 48), 8)
        assert (back[1] > 0.5).sum(1).tolist() == [48 - edge] * 40


def test_coordinates_are_those_of_the_centres():
    x, y = cell_coordinates(2, 4)
    assert x[0].tolist() == [-0.75, -0.25, 0.25, 0.75]
    assert y[:, 0].tolist() == [-0.5, 0.5]


def scaled(samples):
    return IntensityScale.from_samples(samples).to_rgb(samples[0])


def test_eight_bit_colour_is_used_as_it_is():
    frame = np.full((1, 4, 4, 3), 51, np.uint8)
    assert scaled(frame) == pytest.approx(0.2)


def test_twelve_bits_in_sixteen_are_not_black():
    frame = np.linspace(100, 4095, 64).reshape(1, 8, 8, 1).astype(np.uint16)
    rgb = scaled(frame)
    assert rgb.shape == (8, 8, 3)
    assert rgb.min() == 0
    assert rgb.max() == 1


def test_every_channel_has_its_own_range():
    rng = np.random.default_rng(0)
    frame = np.stack([rng.uniform(0, 1, (32, 32)), rng.uniform(0, 1000, (32, 32))], -1)[None]
    rgb = scaled(frame)
    assert rgb[..., 0].std() == pytest.approx(rgb[..., 1].std(), rel=0.1)
    assert (rgb[..., 2] == 0).all()


@pytest.mark.parametrize("n_channels", [1, 2, 3, 4, 5])
def test_odd_values_give_finite_colours(n_channels):
    frame = np.ones((1, 6, 6, n_channels), np.float32)
    frame[0, 0, 0] = np.nan
    frame[0, 1, 1] = np.inf
    rgb = scaled(frame)
    assert rgb.shape == (6, 6, 3)
    assert np.isfinite(rgb).all()
    assert rgb.min() >= 0
    assert rgb.max() <= 1


def test_a_constant_video_does_not_divide_by_zero():
    assert (scaled(np.full((1, 4, 4, 1), 7, np.uint16)) == 0).all()
