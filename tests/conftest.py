"""Fixtures for all tests: a drawn video with exact masks, a tiny embedder, and the real data where it lies."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from drawn_video import ColourEmbedder, draw_video

# Jobs in a shell's background ignore Ctrl-C, and so would the processes that the tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def drawn():
    """Frames (8, 96, 128, 3) uint8 and masks (8, 96, 128) uint16 with objects 1 and 2."""
    return draw_video()


@pytest.fixture
def colour_embedder():
    return ColourEmbedder()


@pytest.fixture(scope="session")
def data_folder():
    """The folder of real data: $NAPARI_PML_DATA, or shared/data beside the repository."""
    folder = Path(os.environ.get("NAPARI_PML_DATA", Path(__file__).parents[2] / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder}; set NAPARI_PML_DATA")
    return folder
