"""Files that are still there after a power cut: written to the disk itself, not only handed over to the system."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from secrets import token_hex


def replace(unfinished: Path, path: Path) -> None:
    """Rename a file or folder, all of whose content is on the disk first: whatever happens, `path` is old or new."""
    if unfinished.is_dir():
        getattr(os, "sync", lambda: None)()  # of thousands of files at once
    else:
        _sync(unfinished)
    unfinished.replace(path)
    sync_folder(path.parent)


def sync(paths: Iterable[Path]) -> None:
    """See to it that files, and what their folders know of them, are on the disk; some may have been removed."""
    paths = set(paths)
    for path in paths:
        with suppress(FileNotFoundError):
            _sync(path)
    for folder in {path.parent for path in paths}:
        sync_folder(folder)


def _sync(path: Path) -> None:
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def write(path: Path, content: bytes | bytearray | memoryview) -> None:
    """Write a file in one piece; folders above it that are missing are made."""
    missing: list[Path] = []
    while not (folder := missing[-1].parent if missing else path.parent).exists():
        missing.append(folder)
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{token_hex(8)}.partial")
    try:
        unfinished.write_bytes(content)
        replace(unfinished, path)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise
    for folder in missing:
        sync_folder(folder.parent)


def sync_folder(folder: Path) -> None:
    """Let a folder on the disk know of the files that it has."""
    if os.name == "posix":  # elsewhere folders cannot be opened, and need not be
        opened = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(opened)
        finally:
            os.close(opened)
