"""A package of its own adds a method or an embedder: those of the documentation, installed as their pages say."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

PAGES = Path(__file__).parents[1] / "docs"


def install(page: str, folder: Path) -> None:
    """Put the module of a page, and the entry points that it declares, where `pip install` would."""
    text = (PAGES / page).read_text(encoding="utf-8")
    module, *_ = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    (settings,) = re.findall(r"```toml\n(.*?)```", text, re.DOTALL)
    project = tomllib.loads(settings)["project"]
    name = project["name"].replace("-", "_")
    (folder / f"{name}.py").write_text(module)
    about = folder / f"{name}-{project['version']}.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    groups = project["entry-points"].items()
    lines = [f"[{group}]\n" + "".join(f"{k} = {v}\n" for k, v in entries.items()) for group, entries in groups]
    (about / "entry_points.txt").write_text("\n".join(lines))


def run(folder: Path, *command: object) -> subprocess.CompletedProcess:
    path = os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])
    return subprocess.run(
        [sys.executable, *map(str, command)],
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def site(tmp_path) -> Path:
    (tmp_path / "site").mkdir()
    return tmp_path / "site"


@pytest.mark.parametrize(
    ("page", "options"), [("methods.md", ["--method", "means"]), ("embedders.md", ["--embedder", "colours"])]
)
def test_an_extension_of_the_documentation_segments_a_video(site, tmp_path, drawn, page, options):
    install(page, site)
    np.save(tmp_path / "mask.npy", drawn[1][0])
    (tmp_path / "clip").mkdir()
    for t in range(3):
        Image.fromarray(drawn[0][t]).save(tmp_path / f"clip/{t}.png")
    arguments = ["segment", tmp_path / "clip", "--annotations", tmp_path / "mask.npy", "--out", tmp_path / "out"]
    done = run(site, "-m", "napari_pml.cli", *arguments, "--device", "cpu", *options)
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "out").glob("*.png"))) == 3
    assert options[1] in run(site, "-m", "napari_pml.cli", "info").stdout


def test_an_extension_that_cannot_be_used_is_left_out_with_a_warning(site):
    install("methods.md", site)
    (site / "napari_pml_means.py").write_text("import a_package_that_is_missing")
    done = run(site, "-c", "from napari_pml import METHODS; print(list(METHODS))")
    assert "means" not in done.stdout
    assert "pml" in done.stdout
    assert "napari-pml-means" in done.stderr
    assert "a_package_that_is_missing" in done.stderr


def test_an_extension_takes_no_name_of_ours(site):
    install("methods.md", site)
    (about,) = site.glob("*.dist-info")
    (about / "entry_points.txt").write_text("[napari_pml.methods]\npml = napari_pml_means:MeansConfig\n")
    done = run(site, "-c", "from napari_pml import METHODS; print(METHODS['pml'].method)")
    assert done.stdout.strip() == "pml"
    assert "taken" in done.stderr
