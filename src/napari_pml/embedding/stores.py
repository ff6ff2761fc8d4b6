"""Where embeddings stay once they are computed."""

from __future__ import annotations

import mmap
import os
import re
import shutil
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
import zarr
from filelock import FileLock
from zarr.codecs import Crc32cCodec
from zarr.storage import LocalStore

from napari_pml.recent import Recent
from napari_pml.types import UNREADABLE

SEVERAL_FRAMES = 32
"""Number of frames that are written before the cache is asked again whether there is space for more."""

HEADER, LOCK = "zarr.json", "lock"
"""Names of files: in the folder of an array, and beside these folders."""

CHECKSUM_BYTES = 4
"""Behind every frame on disk."""

HEADER_BYTES = 4096
"""An array's header is smaller than this."""

OWN_PIECE_BYTES = 64 * 1024
"""Embeddings of a frame that are larger lie in memory of their own, which the system gets back: among small pieces they
would leave holes. (Of such pieces there may be some ten thousands.)"""


class MemoryStore(Recent[int, torch.Tensor]):
    """Keeps the most recently used frames' embeddings in main memory, up to a number of bytes."""

    def __init__(self, max_bytes: int):
        """Hold at most `max_bytes`."""
        super().__init__(max_bytes, lambda embeddings: embeddings.nbytes)

    def put(self, t: int, embeddings: torch.Tensor) -> None:
        """Keep frame t's embeddings, and let go of the least recently used frames if there is no room."""
        if embeddings.nbytes > OWN_PIECE_BYTES:
            piece = torch.frombuffer(mmap.mmap(-1, embeddings.nbytes), dtype=embeddings.dtype)
            embeddings = piece.view_as(embeddings).copy_(embeddings)
        super().put(t, embeddings)


class Disk(Protocol):
    """Decides how much of the disk an array may use."""

    def could_hold(self, n_bytes: int) -> bool:
        """Whether an array of `n_bytes` would fit if all others were evicted."""
        ...

    def make_room(self, path: Path, n_bytes: int) -> bool:
        """Evict until `path` may use `n_bytes`; return whether it fits."""
        ...


class ZarrStore:
    """Keeps embeddings in a Zarr array on disk, a chunk with a checksum for every frame.

    A frame is written in one piece. One that is damaged counts as missing, and is computed again. When the disk
    refuses, nothing more is written, and work goes on.
    """

    def __init__(self, path: Path, shape: tuple[int, int, int, int], about: Mapping[str, str], disk: Disk) -> None:
        """Open the array at `path`, or begin an empty one if there is none, or it is not what it should be.

        Args:
            path: of the array; whatever else lies there is removed.
            shape: (T, h, w, D).
            about: text to remember with it: what an array there must have under "key", and anything else.
            disk: says how much room there is.
        """
        self._path, self._disk = path, disk
        self._frame_bytes = int(np.prod(shape[1:])) * torch.float16.itemsize
        self._n_frames = shape[0]
        self._known: set[int] = set()
        self._is_open, self._granted = True, 0
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(path.parent / LOCK):  # another process may be opening the same video
                self._array = self._opened(path, shape, about)
            self._known = {int(chunk.name.split(".")[0]) for chunk in path.iterdir() if self._is_whole(chunk)}
        except OSError as error:
            self._give_up(error)

    def __contains__(self, t: int) -> bool:
        return t in self._known

    @property
    def capacity(self) -> int:
        """How many frames there could be in all."""
        everything = self._is_open and self._disk.could_hold(self._n_frames * self._frame_bytes)
        return self._n_frames if everything else len(self._known)

    def get(self, t: int) -> torch.Tensor | None:
        """Return frame t's embeddings, (h, w, D) float16, or None if they are not there, or damaged."""
        if t not in self._known:
            return None
        try:
            found = self._array[t]
        except (OSError, ValueError, RuntimeError):
            found = np.zeros(1)
        if not found.any():  # embeddings have length 1: a chunk that is gone reads as 0
            self._known.discard(t)
            return None
        return torch.from_numpy(found)

    def put(self, t: int, embeddings: torch.Tensor) -> None:
        """Keep frame t's embeddings if there is room."""
        try:
            if self._is_open and len(self._known) >= self._granted:
                os.utime(self._path / HEADER)  # in use: others make room first
                self._granted = min(self._n_frames, len(self._known) + SEVERAL_FRAMES)
                self._is_open = self._disk.make_room(self._path, self._granted * self._frame_bytes)
            if self._is_open:
                self._array[t] = embeddings.numpy()
                self._known.add(t)
        except FileNotFoundError:  # somebody has emptied the cache meanwhile
            self._is_open = False
        except OSError as error:
            self._give_up(error)

    def _is_whole(self, chunk: Path) -> bool:
        """Whether a file is a frame of the right size; what is in it, reading will show."""
        is_frame = re.fullmatch(r"\d+\.0\.0\.0", chunk.name) is not None
        return is_frame and chunk.stat().st_size == self._frame_bytes + CHECKSUM_BYTES

    def _give_up(self, error: OSError) -> None:
        self._is_open = False
        warnings.warn(
            f"Embeddings cannot be kept on disk ({error}). Work goes on; next time they are computed again. Make room, "
            "or set NAPARI_PML_CACHE_GB=0 to keep none.",
            stacklevel=4,
        )

    @staticmethod
    def _opened(path: Path, shape: tuple[int, ...], about: Mapping[str, str]) -> Any:
        """Return the array at `path`, an empty one if there is no good one."""
        try:
            array: Any = zarr.open_array(LocalStore(path), mode="r+")
            if (array.shape, array.dtype, array.attrs["key"]) == (shape, np.float16, about["key"]):
                os.utime(path / HEADER)  # used just now
                return array
        except UNREADABLE:
            pass
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
        return zarr.create_array(
            LocalStore(path),
            shape=shape,
            chunks=(1, *shape[1:]),
            dtype="float16",
            fill_value=0,
            compressors=[Crc32cCodec()],
            attributes=dict(about),
            chunk_key_encoding={"name": "v2", "separator": "."},
        )
