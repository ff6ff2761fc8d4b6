import re
import subprocess
import sys
import zipfile
from email import message_from_bytes
from importlib.metadata import version
from pathlib import Path

import pytest

import napari_pml
from napari_pml.cli.common import OWN_METHODS
from napari_pml.cli.train import Loss
from napari_pml.methods.registry import METHODS
from napari_pml.training.train import LOSSES

ROOT = Path(__file__).parents[1]


def test_the_public_names_are_these():
    assert set(napari_pml.__all__) == {
        "BACKGROUND", "FrameMask", "MaskStore", "METHODS", "PmlConfig", "PmlError", "Project", "Session", "open_video",
    }  # fmt: skip
    for name in napari_pml.__all__:
        assert getattr(napari_pml, name) is not None


def test_importing_the_package_imports_nothing_but_the_standard_library():
    code = (
        "import sys; before = set(sys.modules); import napari_pml\n"
        "tops = {name.split('.')[0] for name in set(sys.modules) - before}\n"
        "print(sorted(tops - sys.stdlib_module_names))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "['napari_pml']"


def test_the_engine_runs_without_napari_and_qt():
    code = (
        "import sys\n"
        "for name in ('napari', 'qtpy', 'magicgui', 'superqt'): sys.modules[name] = None\n"
        "import numpy as np, napari_pml\n"
        "session = napari_pml.Session(napari_pml.open_video(np.random.rand(2, 16, 16)))\n"
        "session.annotate(0, np.eye(16, dtype=int), complete=True)\n"
        "print(len(list(session.propagate())))\n"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "2"


def test_the_command_line_knows_every_method_and_loss():
    assert set(OWN_METHODS) == set(METHODS)
    assert tuple(Loss) == LOSSES


def test_the_version_is_that_of_the_installed_package():
    assert napari_pml.__version__ == version("napari-pml")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """What `pip install` gets."""
    folder = tmp_path_factory.mktemp("dist")
    subprocess.run([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder], cwd=ROOT, check=True)
    (path,) = folder.glob("*.whl")
    return zipfile.ZipFile(path)


def test_the_wheel_holds_the_package_with_manifest_and_weights_and_nothing_else(wheel):
    names = wheel.namelist()
    bundled = ("compact", "feelvos", "osvos")
    weights = [f"embedding/bundled/{name}.{kind}" for name in bundled for kind in ("safetensors", "md")]
    for name in ("napari.yaml", "py.typed", *weights):
        assert f"napari_pml/{name}" in names
    assert {re.sub(r"-.*\.dist-info$", "", name.split("/")[0]) for name in names} == {"napari_pml"}
    assert sum(file.compress_size for file in wheel.infolist()) < 15e6


def test_the_wheel_says_what_the_hub_needs_to_know(wheel):
    (path,) = (name for name in wheel.namelist() if name.endswith("/METADATA"))
    metadata = message_from_bytes(wheel.read(path))
    assert re.match(r"\d+\.\d+\.\d+", metadata["Version"])
    assert metadata["License-Expression"] == "BSD-3-Clause"
    assert "Framework :: napari" in metadata.get_all("Classifier")
    assert {"all", "pyqt6", "pyside6"} <= set(metadata.get_all("Provides-Extra"))
    required = [line for line in metadata.get_all("Requires-Dist") if "extra ==" not in line]
    assert not [line for line in required if re.match(r"pyqt|pyside", line, re.IGNORECASE)], "a Qt is the user's choice"
    links = re.findall(r"\]\(([^)]+)\)", metadata.get_payload())
    assert [link for link in links if not re.match(r"https?:|#", link)] == []
    (entry_points,) = (name for name in wheel.namelist() if name.endswith("/entry_points.txt"))
    assert "napari-pml = napari_pml:napari.yaml" in wheel.read(entry_points).decode()
