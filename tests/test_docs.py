"""The examples of the documentation, executed as they stand."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def examples(page: str, until: str | None = None) -> str:
    """The Python of a page up to a heading, as one script."""
    text = (ROOT / page).read_text()
    return "\n".join(re.findall(r"```python\n(.*?)```", text.split(until)[0] if until else text, flags=re.DOTALL))


def test_scripting_without_a_window(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    exec(compile(examples("docs/scripting.md", "## In napari's console"), "docs/scripting.md", "exec"), {})
    assert (tmp_path / "masks.tif").is_file()
    assert (tmp_path / "demo.pml.zarr").is_dir()


def test_an_embedder_of_ones_own():
    exec(compile(examples("docs/embedders.md"), "docs/embedders.md", "exec"), {})


@pytest.mark.parametrize(
    "page",
    ["README.md", "ARCHITECTURE.md", "docs/accuracy.md", "docs/cluster.md", "docs/embedders.md", "docs/scripting.md"],
)
def test_every_file_that_is_linked_or_run_exists(page):
    text = (ROOT / page).read_text()
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", text)
    scripts = re.findall(r"(?:python|bash) ((?:benchmarks|tests)/\S+\.(?:py|sh))", text)
    for path in links:
        assert (ROOT / page).parent.joinpath(path).exists(), path
    for path in scripts:
        assert (ROOT / path).exists(), path
