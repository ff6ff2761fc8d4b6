"""Embeddings on disk, found again the next time the same video is opened: a folder of limited size."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from napari_pml.download import cache_folder
from napari_pml.embedding.protocol import DetailedEmbedder, Embedder, n_channels
from napari_pml.embedding.stores import HEADER, LOCK, ZarrStore
from napari_pml.errors import SettingsError
from napari_pml.grid import grid_shape
from napari_pml.types import UNREADABLE
from napari_pml.video.identity import identity
from napari_pml.video.working import WorkingVideo

LIMIT_VARIABLE = "NAPARI_PML_CACHE_GB"
"""Environment variable with the limit of the cache in GB; 0 turns it off."""

DEFAULT_LIMIT_GB = 10.0
"""Some 12000 frames of 854 x 480."""

FREE_BYTES = 2 * 10**9
"""Disk space that is left to other programs."""

PREPROCESSING = 2
"""Raised whenever frames are brought to networks, or computed there, in another way: what was there is not found."""


@dataclass(frozen=True)
class CachedVideo:
    """What the cache holds of one video.

    Attributes:
        path: of its folder.
        video: name of the video.
        embedder: name of the network.
        n_bytes: size on disk.
        used: when it was last opened, in seconds since 1970.
    """

    path: Path
    video: str
    embedder: str
    n_bytes: int
    used: float


class EmbeddingCache:
    """The embeddings of many videos in one folder; what was not used for longest makes room for what is new.

    Several processes may use it at once: frames are written in one piece each, and a folder that is removed meanwhile
    is only a cache that is empty again.

    Attributes:
        folder: where it is.
        max_bytes: its limit.
    """

    def __init__(self, folder: Path, max_bytes: int):
        """Use a folder, which need not exist yet."""
        self.folder, self.max_bytes = folder, max_bytes
        self._lock = threading.Lock()

    def open(self, video: WorkingVideo, embedder: Embedder) -> ZarrStore | None:
        """Return what is known of a video, and a place for more.

        None if its content may change, since it lies in memory, or if its files are not to be found.
        """
        if video.path is None:
            return None
        try:
            files = identity(video.path)
        except OSError:
            return None
        about = {
            "video": files,
            "shape": list(video.shape),
            "dtype": str(video.dtype),
            "channels": video.n_channels,
            "selection": video.selection.as_record(),
            "fingerprint": embedder.fingerprint,
            "details": embedder.details_fingerprint if isinstance(embedder, DetailedEmbedder) else "",
            "device": embedder.device.type,
            "preprocessing": PREPROCESSING,
        }
        key = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:24]
        height, width = video.shape[1:]
        size = (len(video), *grid_shape(height, width, embedder.stride), n_channels(embedder))
        names = {"key": key, "name": video.name, "embedder": embedder.name}
        return ZarrStore(self.folder / key, size, names, self)

    def videos(self) -> list[CachedVideo]:
        """Return what there is, the last used first."""
        found = []
        for path in self.folder.iterdir() if self.folder.is_dir() else ():
            if path.name == LOCK:
                continue
            try:
                about: Mapping[str, Any] = json.loads((path / HEADER).read_text())["attributes"]
                used = (path / HEADER).stat().st_mtime
                names = str(about["name"]), str(about["embedder"])
            except UNREADABLE:
                names, used = ("(damaged)", ""), 0.0
            found.append(CachedVideo(path, *names, _size(path), used))
        return sorted(found, key=lambda cached: cached.used, reverse=True)

    def clear(self) -> None:
        """Remove everything."""
        for path in list(self.folder.iterdir()) if self.folder.is_dir() else ():
            if path.name != LOCK:
                _remove(path)

    def could_hold(self, n_bytes: int) -> bool:
        """Whether some videos could have `n_bytes` in all, if all others made room."""
        mine = sum(cached.n_bytes for cached in self.videos())
        return n_bytes <= self.max_bytes and self._free + mine - n_bytes >= FREE_BYTES

    def make_room(self, path: Path, n_bytes: int) -> bool:
        """Let go of what was not used for longest until the video at `path` may have `n_bytes`; False if it may not."""
        with self._lock:
            others = [cached for cached in self.videos() if cached.path != path]
            more = max(0, n_bytes - _size(path))

            def fits() -> bool:
                total = sum(cached.n_bytes for cached in others) + n_bytes
                return total <= self.max_bytes and self._free - more >= FREE_BYTES

            while others and not fits():
                _remove(others.pop().path)
            return fits()

    @property
    def _free(self) -> int:
        try:
            return shutil.disk_usage(self.folder).free
        except OSError:  # somebody has removed it meanwhile
            return 0


def users_cache(limit_gb: float = DEFAULT_LIMIT_GB) -> EmbeddingCache | None:
    """Return the cache of the person at this computer, or None if it is turned off.

    Args:
        limit_gb: its limit; 0 turns it off. The environment variable NAPARI_PML_CACHE_GB, if there is one, outdoes it.

    Raises:
        SettingsError: the environment variable is not such a number.
    """
    value = os.environ.get(LIMIT_VARIABLE, "").strip()
    try:
        limit = float(value) if value else limit_gb
        if not 0 <= limit < float("inf"):
            raise ValueError
    except ValueError as error:
        raise SettingsError(
            f"{LIMIT_VARIABLE} is {value!r}. Give a number of GB, such as 20, or 0 to keep no embeddings on disk."
        ) from error
    return EmbeddingCache(cache_folder() / "embeddings", round(limit * 1e9)) if limit else None


def _size(path: Path) -> int:
    try:
        if not path.is_dir():
            return path.stat().st_size
        with os.scandir(path) as entries:
            return sum(entry.stat().st_size for entry in entries)
    except OSError:  # somebody else has just removed it
        return 0


def _remove(path: Path) -> None:
    """Remove a folder, so that nobody who looks for it finds half of it.

    What is left of it if this is cut off counts as damaged, and makes room first.
    """
    doomed = path.with_name(f"{uuid4().hex}.removed")
    try:
        path.rename(doomed)
    except OSError:
        return  # somebody else was faster, or nothing can be removed here
    if doomed.is_dir():
        shutil.rmtree(doomed, ignore_errors=True)
    else:
        doomed.unlink(missing_ok=True)
