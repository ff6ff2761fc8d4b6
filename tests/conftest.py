"""Fixtures for all tests: a drawn video with exact masks, a tiny embedder, and the real data where it lies."""

from __future__ import annotations

import os
import random
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, settings
from PIL import Image

from drawn_video import ColourEmbedder, draw_video, write_video
from napari_pml.embedding.weights import save_weights
from napari_pml.methods.feelvos.network import FeelvosNet

# What tests embed does not belong into the cache of whoever runs them.
os.environ["NAPARI_PML_CACHE_GB"] = "0"

# The same cases in every run, however slow the computer is. Fixtures that hypothesis shares between cases are constant.
settings.register_profile(
    "always the same",
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture, HealthCheck.data_too_large],
)
settings.load_profile("always the same")

# Jobs in a shell's background ignore Ctrl-C, and so would the processes that the tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def seeds() -> None:
    """Every test draws the same random numbers, in whatever order tests run."""
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002  (for libraries that draw from it)
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def drawn():
    """Frames (8, 96, 128, 3) uint8 and masks (8, 96, 128) uint16 with objects 1 and 2."""
    return draw_video()


@pytest.fixture(scope="session")
def colour_weights(tmp_path_factory):
    """Where the weights of the colour embedder would be. An untrained FEELVOS network, plain matching, is beside."""
    folder = tmp_path_factory.mktemp("colour")
    torch.manual_seed(0)
    state = FeelvosNet(ColourEmbedder.dim).state_dict()
    save_weights(state, folder / "feelvos.safetensors", "feelvos", embedder=ColourEmbedder.fingerprint)
    return folder / "colour.safetensors"


@pytest.fixture
def colour_embedder(colour_weights):
    return ColourEmbedder(colour_weights)


@pytest.fixture(scope="session")
def data_folder():
    """The folder of real data: $NAPARI_PML_DATA, or shared/data beside the repository."""
    folder = Path(os.environ.get("NAPARI_PML_DATA", Path(__file__).parents[2] / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder}; set NAPARI_PML_DATA")
    return folder


@pytest.fixture
def dataset(tmp_path, drawn):
    """One video in DAVIS layout, with one label for both drawn objects."""
    write_video(tmp_path / "data", "shapes", drawn[0], drawn[1] > 0)
    return tmp_path / "data"


@pytest.fixture
def stills(tmp_path, drawn):
    """Two stills with two labels each."""
    for kind, arrays, suffix in (("images", drawn[0], "jpg"), ("masks", drawn[1], "png")):
        (tmp_path / "stills" / kind).mkdir(parents=True)
        for t in (0, 4):
            Image.fromarray(arrays[t].astype(np.uint8)).save(tmp_path / f"stills/{kind}/{t:05d}.{suffix}")
    return tmp_path / "stills"
