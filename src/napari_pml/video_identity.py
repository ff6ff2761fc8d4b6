"""What tells the files of one video from those of all others, without reading them."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from napari_pml.video_arrays import is_zarr


def identity(path: Path) -> str:
    """Return 24 characters that change whenever the files of a video do.

    Names inside of a folder, sizes, and times of last change count; the video's own place and name do not: it may be
    moved.

    Args:
        path: of a file, or of the folder of a video; folders inside of it count only if it is a Zarr array.

    Raises:
        OSError: a file cannot be looked at.
    """
    inside = () if path.is_file() else path.rglob("*") if is_zarr(path) else path.iterdir()
    stats = [(file.relative_to(path).as_posix(), file.stat()) for file in inside if file.is_file()]
    described = [(name, stat.st_size, stat.st_mtime_ns) for name, stat in stats or [("", path.stat())]]
    return hashlib.sha256(json.dumps(sorted(described)).encode()).hexdigest()[:24]
