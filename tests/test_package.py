import subprocess
import sys
import zipfile
from pathlib import Path

import napari_pml
from napari_pml.cli.common import Method
from napari_pml.cli.train import Loss
from napari_pml.methods.table import METHODS
from napari_pml.training.train import LOSSES


def test_the_public_names_are_these():
    assert set(napari_pml.__all__) == {
        "BACKGROUND", "FrameMask", "MaskStore", "METHODS", "PmlConfig", "PmlError", "Project", "Session", "open_video",
    }  # fmt: skip
    for name in napari_pml.__all__:
        assert getattr(napari_pml, name) is not None


def test_importing_the_package_imports_nothing_heavy():
    code = "import sys, napari_pml; print([m for m in ('torch', 'faiss', 'napari', 'qtpy', 'av') if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


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
    assert set(Method) == set(METHODS)
    assert tuple(Loss) == LOSSES


def test_the_wheel_holds_manifest_and_weights(tmp_path):
    root = Path(__file__).parents[1]
    subprocess.run([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", tmp_path], cwd=root, check=True)
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    bundled = ("compact", "feelvos", "osvos")
    weights = [f"embedding/bundled/{name}.{kind}" for name in bundled for kind in ("safetensors", "md")]
    for name in ("napari.yaml", "py.typed", *weights):
        assert f"napari_pml/{name}" in names
    assert wheel.stat().st_size < 15e6
