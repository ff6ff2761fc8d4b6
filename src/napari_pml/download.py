"""Files from the internet, only when somebody asks for one, and only if they are what they should be."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pooch
import requests

from napari_pml.types import PmlError

TIMEOUT = 20
"""Seconds without an answer after which a server counts as out of reach."""


class DownloadError(PmlError):
    """A file cannot be had from the internet."""


@dataclass(frozen=True)
class RemoteFile:
    """A file of somebody else's.

    Attributes:
        url: where it lies.
        sha256: its checksum, in hexadecimal.
        origin: whose it is and under which licence, to show to people.
    """

    url: str
    sha256: str
    origin: str

    @property
    def name(self) -> str:
        """The last part of its address."""
        return self.url.rsplit("/", 1)[-1]


def fetch(file: RemoteFile, folder: Path | None = None) -> Path:
    """Return the path of a file, which is downloaded the first time; a copy that is damaged is downloaded again.

    Args:
        file: to fetch.
        folder: where it is kept; the user's cache by default.

    Raises:
        DownloadError: there is no connection, no such file any more, it is not the one that was asked for, or it cannot
            be kept in `folder`.
    """
    folder = folder or Path(pooch.os_cache("napari-pml"))
    try:
        path = pooch.retrieve(
            file.url,
            known_hash=f"sha256:{file.sha256}",
            fname=file.name,
            path=folder,
            downloader=pooch.HTTPDownloader(timeout=TIMEOUT),
        )
    except ValueError as error:
        raise DownloadError(
            f"What {file.url} gave is not the file it should be, and was thrown away. Try again; if that does not "
            f"help, it has been replaced by another one."
        ) from error
    except requests.HTTPError as error:
        raise DownloadError(
            f"{file.name} is not there any more: {error}. Open a video of your own, or another sample."
        ) from error
    except requests.RequestException as error:
        raise DownloadError(
            f"No connection to {urlsplit(file.url).hostname}, so {file.name} cannot be downloaded. Connect to the "
            "internet and try again, or open a video of your own: nothing else needs a connection."
        ) from error
    except OSError as error:
        raise DownloadError(
            f"{file.name} cannot be kept in {folder}: {error}. Make room there, or allow it."
        ) from error
    return Path(path)
