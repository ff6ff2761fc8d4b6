"""The one place where pixels meet grid cells, and stored intensities meet network input.

An image of H x W pixels is covered by h x w cells of `stride` x `stride` pixels, h = ceil(H / stride). Cell (i, j)
has its centre at pixel coordinate (stride * i + (stride - 1) / 2, ...), counting pixel centres as whole numbers. The
last row and column of cells may reach beyond the image; pixels out there do not exist and are never counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from napari_pml.types import UNLABELLED, Labels


def grid_shape(height: int, width: int, stride: int) -> tuple[int, int]:
    """Return (h, w), the number of cells that cover an image of (height, width) pixels."""
    return -(-height // stride), -(-width // stride)


def pad_to_cells(frames: torch.Tensor, stride: int) -> torch.Tensor:
    """Repeat the last row and column of (B, C, H, W) frames until both sides are multiples of `stride`."""
    height, width = frames.shape[-2:]
    h, w = grid_shape(height, width, stride)
    if (h * stride, w * stride) == (height, width):
        return frames
    return F.pad(frames, (0, w * stride - width, 0, h * stride - height), mode="replicate")


def cell_coordinates(h: int, w: int, device: torch.device | str = "cpu") -> torch.Tensor:
    """Return the centres of h x w cells as (2, h, w) float32 (x, y), each from -1 to 1 over the frame."""
    y = (torch.arange(h, device=device) + 0.5) / h * 2 - 1
    x = (torch.arange(w, device=device) + 0.5) / w * 2 - 1
    return torch.stack([x.expand(h, w), y[:, None].expand(h, w)])


def pixel_counts(labels: Labels, ids: Sequence[int], stride: int) -> torch.Tensor:
    """Count the pixels of every label in every cell.

    Args:
        labels: (H, W) uint16; `UNLABELLED` pixels and labels that are not in `ids` are not counted.
        ids: the labels to count.
        stride: side of a cell, in pixels.

    Returns:
        (h * w, len(ids)) float32 counts, cells in row-major order.
    """
    h, w = grid_shape(labels.shape[0], labels.shape[1], stride)
    column = np.zeros(65536, dtype=np.int64)
    column[list(ids)] = np.arange(1, len(ids) + 1)
    column[UNLABELLED] = 0
    rows = np.arange(labels.shape[0]) // stride
    columns = np.arange(labels.shape[1]) // stride
    code = (rows[:, None] * w + columns[None, :]) * (len(ids) + 1) + column[labels]
    counts = np.bincount(code.ravel(), minlength=h * w * (len(ids) + 1)).reshape(h * w, len(ids) + 1)
    return torch.from_numpy(counts[:, 1:].astype(np.float32))


def upsample(values: torch.Tensor, size: Sequence[int], stride: int) -> torch.Tensor:
    """Bring (C, h, w) cell values to (C, H, W) pixels: bilinear between cell centres, constant outside of them."""
    h, w = values.shape[-2:]
    full = F.interpolate(values[None], size=(h * stride, w * stride), mode="bilinear", align_corners=False)[0]
    return full[:, : size[0], : size[1]]


def resize_cells(values: torch.Tensor, stride: int, grid: tuple[int, int], new_stride: int) -> torch.Tensor:
    """Bring values to cells of another size over the same image: means of smaller cells, or larger ones repeated.

    Args:
        values: (h, w) float32.
        stride: side of their cells, in pixels.
        grid: how many cells there shall be, (h', w').
        new_stride: side of these, in pixels.

    Returns:
        (h', w') float32; where cells overlap in part, they count by the pixels they share.
    """
    if stride == new_stride:
        return values
    rows, columns = (
        _shared_pixels(n, stride, m, new_stride).to(values) for n, m in zip(values.shape, grid, strict=True)
    )
    return rows @ values @ columns.T / (rows.sum(1)[:, None] * columns.sum(1))


def _shared_pixels(n: int, stride: int, m: int, new_stride: int) -> torch.Tensor:
    """Return how many pixels each of m new cells in a row shares with each of n others, as (m, n)."""
    start, new_start = torch.arange(n) * stride, torch.arange(m)[:, None] * new_stride
    end, new_end = start + stride, new_start + new_stride
    return (torch.minimum(end, new_end) - torch.maximum(start, new_start)).clamp_min(0)


LARGEST = float(np.finfo(np.float32).max)
"""Stored intensities beyond it count as infinite, so that differences of any two others are finite."""

SMALLEST_RANGE = 1e-300
"""Of stored intensities, whose inverse is still a number; where they differ less, they are all the same."""


@dataclass(frozen=True)
class IntensityScale:
    """How stored intensities become network input: one (low, high) per channel, for the whole video.

    Attributes:
        low: (C,) float64, stored intensity that becomes 0.
        high: (C,) float64, stored intensity that becomes 1.
    """

    low: NDArray[np.float64]
    high: NDArray[np.float64]

    @classmethod
    def from_samples(cls, samples: NDArray[np.generic]) -> IntensityScale:
        """Measure the scale on some frames of a video.

        8-bit colour is used as it is. Everything else (grey, 16 bit, float, other numbers of channels) is stretched
        from its 0.1 to its 99.9 percentile, so that a 12-bit movie in uint16 is not black; colour channels share one
        range, other channels have their own. NaN, infinity and numbers beyond `LARGEST` are ignored.

        Args:
            samples: (N, H, W, C) frames in their stored type.
        """
        n_channels = samples.shape[-1]
        is_colour = n_channels in (3, 4)
        if samples.dtype == np.uint8 and is_colour:
            return cls(np.zeros(n_channels), np.full(n_channels, 255.0))
        with np.errstate(over="ignore"):  # of numbers that are longer still
            flat = samples.reshape(-1, n_channels).astype(np.float64)
        flat[~(abs(flat) <= LARGEST)] = np.nan
        if is_colour:  # an alpha channel, if any, takes no part
            flat = flat[:, :3].reshape(-1, 1)
        channels = [channel[~np.isnan(channel)] for channel in flat.T]
        low, high = np.transpose([np.percentile(c, (0.1, 99.9)) if len(c) else (0.0, 1.0) for c in channels])
        constant = low + np.maximum(1, abs(low))  # then it is black, not a division by zero
        high = np.where(high - low > SMALLEST_RANGE, high, constant)
        return cls(np.broadcast_to(low, n_channels), np.broadcast_to(high, n_channels))

    def to_rgb(self, frame: NDArray[np.generic]) -> NDArray[np.float32]:
        """Turn one stored (H, W, C) frame into (H, W, 3) float32 RGB in 0..1.

        One channel is shown as grey; of four, the alpha channel is dropped; two become red and green; of more, the
        first three are taken. NaN becomes 0.
        """
        n_channels = min(frame.shape[-1], 3)
        # float32 holds every number of two bytes, but not the small differences of large numbers
        precision: type[np.floating[Any]] = np.float32 if frame.dtype.itemsize <= 2 else np.float64
        with np.errstate(over="ignore"):
            stored: NDArray[Any] = frame[..., :n_channels].astype(precision)
        low = self.low[:n_channels].astype(precision)
        gain = (1 / (self.high - self.low))[:n_channels].astype(precision)
        if (low == low[0]).all() and (gain == gain[0]).all():
            low, gain = low[0], gain[0]  # numpy is ten times faster with numbers than with short vectors
        with np.errstate(over="ignore"):
            stored -= low
            stored *= gain
        scaled = np.clip(stored, 0, 1, out=stored).astype(np.float32, copy=False)
        if frame.dtype.kind == "f":
            scaled = np.nan_to_num(scaled, copy=False, nan=0.0)
        if n_channels == 1:
            return np.repeat(scaled, 3, axis=-1)
        if n_channels == 2:
            return np.concatenate([scaled, np.zeros_like(scaled[..., :1])], axis=-1)
        return scaled
