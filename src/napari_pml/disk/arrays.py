"""Where Zarr finds its files: none is read that memory could not hold, and what is written is on the disk."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from zarr.abc.store import ByteRequest
from zarr.core.buffer import Buffer, BufferPrototype
from zarr.storage import LocalStore

from napari_pml.disk import durable
from napari_pml.disk.untrusted import MAX_BYTES, check_bytes, check_is_file

ZSTD, GZIP = b"\x28\xb5\x2f\xfd", b"\x1f\x8b"
"""How compressed chunks begin."""

DEFLATED = 1032
"""So many times smaller may gzip make anything at most."""


class BoundedStore(LocalStore):
    """Files of which none, nor what is compressed in it, is larger than `MAX_BYTES`; others are ValueErrors."""

    async def get(
        self, key: str, prototype: BufferPrototype | None = None, byte_range: ByteRequest | None = None
    ) -> Buffer | None:
        """Read a file, or a part of one; None if it is not there."""
        _check_file(self.root / key)
        return _checked(await super().get(key, prototype, byte_range))

    def get_sync(self, key: str, **how: Any) -> Buffer | None:
        """Read a file, or a part of one; None if it is not there."""
        _check_file(self.root / key)
        return _checked(super().get_sync(key, **how))

    async def get_partial_values(
        self, prototype: BufferPrototype, key_ranges: Iterable[tuple[str, ByteRequest | None]]
    ) -> list[Buffer | None]:
        """Read parts of files."""
        return [await self.get(key, prototype, byte_range) for key, byte_range in key_ranges]


class DelayedStore(BoundedStore):
    """Files that a power cut does not take back once `flush` was called."""

    def __init__(self, root: Path, *, read_only: bool = False) -> None:
        super().__init__(root, read_only=read_only)
        self._written: set[Path] = set()

    async def _set(self, key: str, value: Buffer, exclusive: bool = False) -> None:
        await super()._set(key, value, exclusive)
        self._written.add(self.root / key)

    def set_sync(self, key: str, value: Buffer) -> None:
        """Write a file."""
        super().set_sync(key, value)
        self._written.add(self.root / key)

    async def delete(self, key: str) -> None:
        """Remove a file: Zarr keeps none of what is empty."""
        await super().delete(key)
        self._written.add(self.root / key)

    def flush(self) -> None:
        """See to it that what was written is on the disk."""
        durable.sync(self._written)
        self._written.clear()


class DurableStore(BoundedStore):
    """Files that a power cut does not take back once they are written."""

    async def _set(self, key: str, value: Buffer, exclusive: bool = False) -> None:
        if not self._is_open:
            await self._open()
        self._check_writable()
        if not (exclusive and (self.root / key).exists()):
            await asyncio.to_thread(durable.write, self.root / key, value.as_buffer_like())

    def set_sync(self, key: str, value: Buffer) -> None:
        """Write a file."""
        self._ensure_open_sync()
        self._check_writable()
        durable.write(self.root / key, value.as_buffer_like())

    async def delete(self, key: str) -> None:
        """Remove a file: Zarr keeps none of what is empty."""
        await super().delete(key)
        await asyncio.to_thread(durable.sync, [self.root / key])


def _check_file(path: Path) -> None:
    """Raise ValueError if there is something that cannot be read, or more than fits into memory."""
    if not path.is_dir():
        check_is_file(path)
    if path.is_file():
        check_bytes(f"the file {path.name}", (path.stat().st_size,))


def _checked(buffer: Buffer | None) -> Buffer | None:
    """Return what was read, unless it would become too large."""
    if buffer is not None:
        content = memoryview(buffer.as_numpy_array().data)
        check_bytes("a compressed chunk", (_decompressed_size(content),))
    return buffer


def _decompressed_size(content: memoryview) -> int:
    """Return how many bytes a compressed chunk says that it has; gzip is counted if it may be many."""
    if content[:4] == ZSTD and len(content) > 18:
        flags, place = content[4], 5 + (not content[4] & 32) + (0, 1, 2, 4)[content[4] & 3]
        n = (1 if flags & 32 else 0, 2, 4, 8)[flags >> 6]
        return int.from_bytes(content[place : place + n], "little")
    if content[:2] == GZIP and len(content) > MAX_BYTES // DEFLATED:
        return _inflated_size(content)
    return 0


def _inflated_size(content: memoryview) -> int:
    """Return how many bytes gzip makes of a chunk, or some number beyond `MAX_BYTES`; 0 if it is not gzip's at all."""
    n, inflate = 0, zlib.decompressobj(wbits=31)
    for start in range(0, len(content), 2**16):
        piece = bytes(content[start : start + 2**16])
        while piece and n <= MAX_BYTES:
            try:
                n += len(inflate.decompress(piece, 2**20))
            except zlib.error:
                return 0
            piece = inflate.unconsumed_tail
            if inflate.eof:  # and another member may follow
                piece, inflate = inflate.unused_data, zlib.decompressobj(wbits=31)
    return n
