"""Clips of other people under File > Open Sample; each is downloaded when somebody chooses it for the first time."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path

from napari.utils import progress
from napari.utils.notifications import show_info
from qtpy.QtWidgets import QApplication

from napari_pml.download import RemoteFile, fetch
from napari_pml.viewer.contributions.readers import LayerTuple, read_video

_SAM2 = (
    "https://raw.githubusercontent.com/facebookresearch/sam2/5fb59ce1c09e6e2995d6ee4754540e39e01a7e82/demo/data/gallery"
)
ORIGIN = "demo gallery of SAM 2, Meta Platforms, Apache-2.0"

DOG = RemoteFile(f"{_SAM2}/01_dog.mp4", "21425eb9b7fce7d3fb23fa17b1c07bcbe99ba9e64e3b5347d8052ba6d9c38924")
JUGGLER = RemoteFile(
    f"{_SAM2}/05_default_juggle.mp4", "60d23773ad50389a5c2df9ba4ab05e9b4d39d21dfa7b75d15b46666ff7a4e2bb"
)


def dog() -> list[LayerTuple]:
    """Return a dog that runs through a garden, 289 frames of 1280 x 720."""
    return read_video(str(downloaded(DOG)))


def juggler() -> list[LayerTuple]:
    """Return a man who juggles, 247 frames of 1280 x 720."""
    return read_video(str(downloaded(JUGGLER)))


def downloaded(file: RemoteFile) -> Path:
    """Fetch a file while the window goes on living.

    Raises:
        DownloadError: it cannot be had.
    """
    show_info(f"Fetching {file.name} ({ORIGIN})")
    with ThreadPoolExecutor(1) as pool, progress(total=0, desc=file.name):
        future = pool.submit(fetch, file)
        while not wait([future], timeout=0.02).done:
            QApplication.processEvents()
    return future.result()
