"""The documentation keeps its word: links lead somewhere, examples run, commands and buttons exist."""

import importlib.util
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import typer
import yaml

from napari_pml.cli import app
from napari_pml.embedding.registry import EMBEDDERS
from napari_pml.io.overlay import export_overlay
from napari_pml.methods.config import parse_config
from napari_pml.methods.registry import METHODS
from napari_pml.store.masks import MaskStore
from napari_pml.video.video import open_video

ROOT = Path(__file__).parents[1]
PAGES = ["README.md", "ARCHITECTURE.md", *sorted(str(p.relative_to(ROOT)) for p in (ROOT / "docs").glob("*.md"))]
OURS = (
    "https://raw.githubusercontent.com/napari-pml/napari-pml/main/",
    "https://github.com/napari-pml/napari-pml/blob/main/",
)
SITE = "https://napari-pml.github.io/napari-pml/"


def blocks(page: str, language: str, until: str | None = None) -> str:
    """All code of a language on a page up to a heading, as one text."""
    text = (ROOT / page).read_text()
    return "\n".join(re.findall(rf"```{language}\n(.*?)```", text.split(until)[0] if until else text, re.DOTALL))


def prose(page: str) -> str:
    return re.sub(r"```.*?```", "", (ROOT / page).read_text(), flags=re.DOTALL)


def place_of(link: str, page: str) -> Path | None:
    """The file of the repository that a link means, None for other people's pages."""
    for address in OURS:
        if link.startswith(address):
            return ROOT / link.removeprefix(address)
    if link.startswith(SITE):
        return ROOT / "docs" / f"{link.removeprefix(SITE).strip('/') or 'index'}.md"
    if re.match(r"https?:", link):
        return None
    return (ROOT / page).parent / link if link else ROOT / page


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL), re.MULTILINE)
    return {re.sub(r"\s+", "-", re.sub(r"[^\w\s-]", "", heading.lower()).strip()) for heading in headings}


@pytest.mark.parametrize("page", PAGES)
def test_every_link_leads_somewhere(page):
    for link in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        address, _, anchor = link.partition("#")
        place = place_of(address, page)
        if place is not None:
            assert place.exists(), link
            assert not anchor or anchor in anchors(place), link


@pytest.mark.parametrize("page", PAGES)
def test_every_script_that_is_named_exists(page):
    for path in re.findall(r"\b(?:benchmarks|tests|docs)/\w+\.(?:py|sh)", (ROOT / page).read_text()):
        assert (ROOT / path).exists(), path


def test_pictures_on_the_hub_have_whole_addresses():
    for link in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", (ROOT / "README.md").read_text()):
        assert link.startswith("https://"), link


def test_pictures_are_small():
    pictures = {p.name: p.stat().st_size for p in (ROOT / "docs/images").iterdir()}
    assert pictures.pop("strokes.gif") < 1.5e6
    assert sum(pictures.values()) < 1.5e6


def test_the_settings_are_as_they_are():
    spec = importlib.util.spec_from_file_location("settings_page", ROOT / "docs/settings.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert (ROOT / "docs/settings.md").read_text() == module.page(), "run: python docs/settings.py"


@pytest.mark.parametrize("page", [*PAGES, "CHANGELOG.md", "CONTRIBUTING.md"])
def test_nothing_is_left_to_be_filled_in(page):
    assert not re.findall(r"@[A-Z]+@|\bTODO\b|\bFIXME\b", (ROOT / page).read_text())


def files_in(nav: list) -> Iterator[str]:
    """Every page of a navigation, whatever section it is in."""
    for entry in nav:
        for place in entry.values():
            yield from files_in(place) if isinstance(place, list) else [place]


def test_the_site_has_every_page():
    nav = list(files_in(yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"]))
    assert sorted(nav) == sorted(p.name for p in (ROOT / "docs").glob("*.md"))


def commands() -> list[tuple[str, str]]:
    """Every call of the command line that stands in a block of shell commands, with its page."""
    found = []
    for page in PAGES:
        for line in blocks(page, "bash").splitlines():
            calls = re.split(r"&&|\|", line.split(" #")[0])
            found += [(page, call.strip()) for call in calls if call.strip().startswith("napari-pml ")]
    return found


@pytest.mark.parametrize(("page", "call"), commands())
def test_every_command_would_run(page, call):
    _, name, *arguments = shlex.split(call)
    context = typer.main.get_command(app).commands[name].make_context(name, arguments)
    given = context.params
    if "config" in given:
        parse_config(METHODS[given["method"] or "pml"], given["config"] or [])
    embedder = given.get("embedder") or given.get("name") or "compact"
    assert embedder in EMBEDDERS or embedder.endswith(".safetensors")


def test_there_are_commands_to_check():
    assert {call.split()[1] for _, call in commands()} >= {"segment", "demo", "train", "evaluate", "robot", "info"}


def run(page: str, until: str | None = None) -> dict[str, object]:
    names: dict[str, object] = {}
    exec(compile(blocks(page, "python", until), page, "exec"), names)
    return names


def test_the_example_in_the_readme(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    frames = np.full((3, 240, 400, 3), 40, np.uint8)
    frames[:, 190:230, 290:390] = (200, 80, 40)
    export_overlay(open_video(frames), MaskStore((3, 240, 400), (30, 50)), Path("cat.mp4"))
    session = run("README.md")["session"]
    assert session.stale_frames() == []
    assert session.masks.labels[2][210, 340] == 1


def test_scripting_without_a_window(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run("docs/scripting.md", "## In napari's console")
    assert (tmp_path / "masks.tif").is_file()
    assert (tmp_path / "demo.pml.zarr").is_dir()


def test_an_embedder_of_ones_own():
    run("docs/embedders.md")


def test_a_method_of_ones_own():
    names = run("docs/methods.md")
    found, masks = names["found"][3] == 1, names["masks"][3] == 1
    assert (found & masks).sum() > 0.8 * (found | masks).sum()
