"""A disk that loses its power: of what was not synchronised, any part may be gone, old or empty."""

import os
import random
from pathlib import Path


class Disk:
    """Notes what is synchronised, and makes copies of folders as a power cut may leave them."""

    def __init__(self, monkeypatch) -> None:
        """Watch `os.fsync` and `os.sync` from now on."""
        self._contents: dict[tuple[int, int], bytes] = {}
        self._folders: dict[int, dict[str, tuple[int, int]]] = {}
        self._fsync = os.fsync
        monkeypatch.setattr(os, "fsync", self._synchronise)

    def _synchronise(self, file: int) -> None:
        place = Path(f"/proc/self/fd/{file}").resolve()
        if place.is_dir():
            self._folders[place.stat().st_ino] = {p.name: _identity(p) for p in place.iterdir()}
        else:
            self._contents[_identity(place)] = place.read_bytes()

    def without_power(self, folder: Path, copy: Path, chance: random.Random) -> bool:
        """Copy a folder as it may be after a power cut; False if nothing of it is left."""
        return self._copy(folder, self._folders.get(folder.parent.stat().st_ino, {}).get(folder.name), copy, chance)

    def _copy(self, place: Path, synchronised: tuple[int, int] | None, copy: Path, chance: random.Random) -> bool:
        is_new = place.exists() and chance.random() < 0.5  # the system has written it by itself
        identity = _identity(place) if is_new else synchronised
        if identity is None:
            return False
        if not place.is_dir():
            whole = self._contents.get(identity)
            if whole is None and is_new:  # of the content, a part may be there
                content = place.read_bytes()
                whole = chance.choice([content, content[: len(content) // 2], b"", bytes(len(content))])
            if whole is not None:
                copy.write_bytes(whole)
            return whole is not None
        copy.mkdir()
        known = self._folders.get(place.stat().st_ino, {})
        for name in sorted({*known, *(p.name for p in place.iterdir())}):
            self._copy(place / name, known.get(name), copy / name, chance)
        return True


def _identity(place: Path) -> tuple[int, int]:
    """Return what tells a file from an earlier one of the same number."""
    found = place.stat()
    return found.st_ino, 0 if place.is_dir() else found.st_mtime_ns
