"""Files from the internet, only when somebody asks for one, and only if they are what they should be."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import platformdirs
import requests
from tqdm import tqdm

from napari_pml.errors import PmlError

TIMEOUT = 20
"""Seconds without an answer after which a server counts as out of reach."""

PIECE = 1024**2
"""Number of bytes that are read at a time."""


class DownloadError(PmlError):
    """A file cannot be had from the internet."""


@dataclass(frozen=True)
class RemoteFile:
    """A file of somebody else's.

    Attributes:
        url: where it lies.
        sha256: its checksum in hexadecimal, or the first digits of it. Empty: what the server says of it, which finds
            damage, not deceit.
    """

    url: str
    sha256: str = ""

    @property
    def name(self) -> str:
        """The last part of its address."""
        return self.url.rsplit("/", 1)[-1]


def cache_folder() -> Path:
    """Return the folder of what was downloaded."""
    return Path(platformdirs.user_cache_dir("napari-pml", appauthor=False))


def fetch(file: RemoteFile, folder: Path | None = None, *, progress: bool = False) -> Path:
    """Return the path of a file, which is downloaded the first time; a copy that is damaged is downloaded again.

    If only the server knows its checksum, that of what arrived is kept beside it, as `name`.sha256; without either, a
    file that somebody put there counts as it is. A download that was cut off goes on where it stopped when it is tried
    again.

    Args:
        file: to fetch.
        folder: where it is kept; the user's cache by default.
        progress: show a bar.

    Raises:
        DownloadError: there is no connection, no such file, it may not be had without an account, it is not the one
            that was asked for, or it cannot be kept in `folder`.
    """
    folder = folder or cache_folder()
    path, partial, note = (folder / f"{file.name}{suffix}" for suffix in ("", ".partial", ".sha256"))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        known = file.sha256 or (note.read_text(errors="replace") if note.exists() else "")
        if path.exists() and (not known or _sha256(path).startswith(known)):
            return path
        wanted = file.sha256 or _checksum_of_server(file)
        _download(file, partial, progress)
        found = _sha256(partial)
        if not any(checksum.startswith(wanted) for checksum in (found, _git_blob(partial))):
            partial.unlink()
            raise DownloadError(
                f"What {file.url} gave is not the file it should be, and was thrown away. Try again; if that does not "
                "help, it has been replaced by another one."
            )
        if not file.sha256:
            note.write_text(found)
        partial.replace(path)
    except requests.HTTPError as error:
        if error.response is not None and error.response.status_code in (401, 403):
            raise DownloadError(
                f"{file.name} is given only to people who have accepted its licence: {file.url}. Sign in there, accept "
                f"it, download the file yourself, and put it into {folder}."
            ) from error
        raise DownloadError(
            f"{file.name} is not there any more: {error}. Choose something else, or get it elsewhere and put it into "
            f"{folder}."
        ) from error
    except requests.RequestException as error:
        raise DownloadError(
            f"No connection to {urlsplit(file.url).hostname}, so {file.name} cannot be downloaded. Connect to the "
            f"internet and try again; it goes on where it stopped. Or get {file.url} on another computer, and put it "
            f"into {folder}."
        ) from error
    except OSError as error:
        raise DownloadError(
            f"{file.name} cannot be kept in {folder}: {error}. Make room there, or allow it."
        ) from error
    return path


def _download(file: RemoteFile, partial: Path, progress: bool) -> None:
    """Write a file to `partial`, after what is there of it already."""
    there = partial.stat().st_size if partial.exists() else 0
    headers = {"Range": f"bytes={there}-"} if there else {}
    with requests.get(file.url, headers=headers, stream=True, timeout=TIMEOUT) as answer:
        if answer.status_code == requests.codes.requested_range_not_satisfiable:  # all of it is there
            return
        answer.raise_for_status()
        there *= answer.status_code == requests.codes.partial_content
        total = there + int(answer.headers.get("Content-Length", 0))
        bar = tqdm(total=total or None, initial=there, desc=file.name, unit="B", unit_scale=True, disable=not progress)
        with bar, partial.open("ab" if there else "wb") as out:
            for piece in answer.iter_content(PIECE):
                out.write(piece)
                bar.update(len(piece))


def _checksum_of_server(file: RemoteFile) -> str:
    """Return the checksum that the server gives as the file's entity tag: SHA-256, or Git's of small files."""
    answer = requests.head(file.url, timeout=TIMEOUT)  # not of where it is sent on to
    answer.raise_for_status()
    tag = answer.headers.get("X-Linked-Etag", answer.headers.get("ETag", "")).removeprefix("W/").strip('"')
    if len(tag) not in (40, 64):
        raise DownloadError(f"{file.url} has no checksum, so nobody can tell whether it arrived unharmed.")
    return tag


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _git_blob(path: Path) -> str:
    """Return the checksum under which Git knows a file."""
    found = hashlib.sha1(f"blob {path.stat().st_size}\0".encode(), usedforsecurity=False)
    with path.open("rb") as stream:
        while piece := stream.read(PIECE):
            found.update(piece)
    return found.hexdigest()
