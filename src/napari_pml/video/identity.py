"""What tells the files of one video from those of all others, without reading all of them."""

from __future__ import annotations

import hashlib
import json
from bisect import bisect_right
from itertools import accumulate
from pathlib import Path

PIECES, PIECE_BYTES = 64, 4096
"""Bytes of the content that count: uncompressed videos often have equal sizes, and equal times once unpacked."""

GOLDEN = 0.618
"""Pieces are not evenly spaced, or all could lie at the same place of a frame, such as its dark border."""


def identity(path: Path) -> str:
    """Return 24 characters that change whenever the files of a video do.

    Names inside of a folder, sizes, times of last change and pieces of the content count; the video's own place and
    name do not: it may be moved.

    Args:
        path: of a file, or of the folder of a video; folders inside of it count only if it is a Zarr array.

    Raises:
        OSError: a file cannot be read.
    """
    inside = [path] if path.is_file() else path.rglob("*") if is_zarr(path) else path.iterdir()
    files = sorted((file.relative_to(path).as_posix(), file) for file in inside if file.is_file())
    stats = [file.stat() for _, file in files]
    described = [(name, stat.st_size, stat.st_mtime_ns) for (name, _), stat in zip(files, stats, strict=True)]
    found = hashlib.sha256(json.dumps(described).encode())
    ends = list(accumulate(stat.st_size for stat in stats))  # of the files, as if they were one
    for piece in range(PIECES if ends and ends[-1] else 0):
        place = int((piece + piece * GOLDEN % 1) / PIECES * ends[-1])
        n = bisect_right(ends, place)
        with files[n][1].open("rb") as stream:
            stream.seek(place - ends[n] + stats[n].st_size)
            found.update(stream.read(PIECE_BYTES))
    return found.hexdigest()[:24]


def is_zarr(path: Path) -> bool:
    """Whether there is a Zarr array or group at `path`."""
    return any((path / name).exists() for name in ("zarr.json", ".zarray", ".zgroup"))
