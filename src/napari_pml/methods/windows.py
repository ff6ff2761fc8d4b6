"""The surroundings of every cell of a frame, for tiles of cells at a time, since neighbours share most of theirs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import torch
import torch.nn.functional as F

TILE = 8
"""Windows are searched for tiles of 8 x 8 cells at a time, which share most of their window."""

TILES_AT_ONCE = 8
"""Number of tiles that are searched together: their windows and similarities fit into the processor's cache."""


@dataclass(frozen=True)
class Tiles:
    """The cells of n tiles, and of the window that each tile shares.

    Attributes:
        cells: (n, TILE * TILE) int64 numbers of the cells, row by row over the frame.
        inside: (n, TILE * TILE) bool, which of them exist.
        window: (n, side * side) int64 numbers of the cells of the windows.
        near: (n, TILE * TILE, side * side) bool, which of the window exist within the radius of each cell.
    """

    cells: torch.Tensor
    inside: torch.Tensor
    window: torch.Tensor
    near: torch.Tensor

    def places(self, n_frames: int, n_cells: int) -> torch.Tensor:
        """Return the windows in several frames of `n_cells`, (n, n_frames * side * side) positions in all of them."""
        offsets = torch.arange(n_frames, device=self.window.device)[:, None] * n_cells
        return (self.window[:, None] + offsets).flatten(1)


def tiles_with_windows(h: int, w: int, radius: int, tiles: torch.Tensor) -> Iterator[Tiles]:
    """Yield a few tiles at a time, so that the memory for what is computed of them is bounded.

    Args:
        h: rows of cells of the frame.
        w: columns of cells.
        radius: of the window, in cells: rows and columns on each side.
        tiles: (ceil(h / TILE), ceil(w / TILE)) bool, the tiles that are wanted.
    """
    windows = _windows(h, w, radius, tiles.device)
    rows, columns = tiles.nonzero(as_tuple=True)
    for row, column in zip(rows.split(TILES_AT_ONCE), columns.split(TILES_AT_ONCE), strict=True):
        inside, cells = windows.tile(row, column)
        near = windows.near & windows.exists[row, column][:, None]
        yield Tiles(cells, inside, windows.position[row, column], near)


def tiles_with_a_choice(labels: torch.Tensor, radius: int) -> torch.Tensor:
    """Find the tiles whose window holds more than one label: everywhere else the vote is known without a search.

    Args:
        labels: (M, h, w) int64, the label of every reference; -1 where a cell holds several.
        radius: of the window, in cells.

    Returns:
        (ceil(h / TILE), ceil(w / TILE)) bool.
    """
    h, w = labels.shape[1:]
    pad = (radius, radius - w % -TILE, radius, radius - h % -TILE)
    framed = F.pad(labels.float()[:, None], pad, mode="replicate")
    side = TILE + 2 * radius
    high, low = (F.max_pool2d(sign * framed, side, TILE).amax((0, 1)) for sign in (1, -1))
    return (high != -low) | (low == 1)  # 1 is a cell of several labels, turned round


@dataclass(frozen=True)
class _Windows:
    """Where the cells of each tile, and those of its window, are.

    Attributes:
        near: (TILE * TILE, side * side) bool, which of a tile's window lies within the radius of each of its cells.
        exists: (rows, columns, side * side) bool, which cells of each tile's window exist.
        position: (rows, columns, side * side) int64, their numbers.
        h: rows of cells.
        w: columns of cells.
    """

    near: torch.Tensor
    exists: torch.Tensor
    position: torch.Tensor
    h: int
    w: int

    def tile(self, row: torch.Tensor, column: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return which cells of some tiles exist, (n, TILE * TILE) bool, and their int64 numbers."""
        inner = torch.arange(TILE, device=row.device)
        y = (row[:, None] * TILE + inner)[:, :, None].expand(-1, TILE, TILE).flatten(1)
        x = (column[:, None] * TILE + inner)[:, None, :].expand(-1, TILE, TILE).flatten(1)
        return (y < self.h) & (x < self.w), y.clamp_max(self.h - 1) * self.w + x.clamp_max(self.w - 1)


@lru_cache(maxsize=8)
def _windows(h: int, w: int, radius: int, device: torch.device) -> _Windows:
    """Describe the windows of all tiles of a grid."""
    rows, columns = -(-h // TILE), -(-w // TILE)
    offset = torch.arange(TILE + 2 * radius, device=device) - radius
    inner = torch.arange(TILE, device=device)
    near = (inner[:, None] - offset[None]).abs() <= radius  # (TILE, side), the same for rows and columns
    near = (near[:, None, :, None] & near[None, :, None, :]).flatten(2).flatten(0, 1)
    y = torch.arange(rows, device=device)[:, None] * TILE + offset
    x = torch.arange(columns, device=device)[:, None] * TILE + offset
    exists = (((y >= 0) & (y < h))[:, None, :, None] & ((x >= 0) & (x < w))[None, :, None, :]).flatten(2)
    position = (y.clamp(0, h - 1)[:, None, :, None] * w + x.clamp(0, w - 1)[None, :, None, :]).flatten(2)
    return _Windows(near, exists, position, h, w)
