"""What lies around the package says only what is true of it: workflows, citation, licences, contributing."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PROJECT, GROUPS = PYPROJECT["project"], PYPROJECT["dependency-groups"]


@pytest.fixture(params=WORKFLOWS, ids=lambda path: path.stem)
def workflow(request):
    return yaml.safe_load(request.param.read_text(encoding="utf-8"))


def commands(workflow):
    return [step["run"] for job in workflow["jobs"].values() for step in job.get("steps", []) if "run" in step]


def test_there_is_a_workflow_for_each_purpose():
    assert [path.stem for path in WORKFLOWS] == ["docs", "lint", "release", "test"]


def test_a_workflow_runs_files_of_the_repository_and_installs_extras_and_groups_that_exist(workflow):
    for command in commands(workflow):
        for path in re.findall(r"(?:^|[ =])((?:tests|benchmarks|docs)\b\S*|\S+\.txt)", command):
            assert (ROOT / path).exists(), command
        for extras in re.findall(r"'\.\[(.*?)\]'", command):
            for extra in re.sub(r"\$\{\{ matrix\.qt \}\}", "pyqt6,pyside6", extras).split(","):
                assert extra in PROJECT["optional-dependencies"], command
        for group in re.findall(r"--group (\S+)", command):
            assert group in GROUPS, command


def test_a_workflow_may_do_no_more_than_it_must(workflow):
    assert workflow["permissions"] == {"contents": "read"}
    assert "group" in workflow["concurrency"]
    for job in workflow["jobs"].values():
        allowed = set(job.get("permissions", {}))
        done = " ".join(step.get("uses", "") + step.get("run", "") for step in job.get("steps", []))
        rights = {"deploy-pages": {"pages", "id-token"}, "pypi-publish": {"id-token"}, "gh release": {"contents"}}
        needed = next((right for action, right in rights.items() if action in done), set())
        assert allowed == needed


def test_a_release_is_built_of_a_tag_and_published_without_a_password():
    release = yaml.safe_load((ROOT / ".github/workflows/release.yml").read_text(encoding="utf-8"))
    assert release[True] == {"push": {"tags": ["v*"]}}  # YAML 1.1 takes the key `on` for true
    assert "secrets." not in str(release)
    assert release["jobs"]["publish"]["needs"] == "build"
    assert release["jobs"]["build"]["needs"] == "test"
    assert release["jobs"]["test"]["uses"] == "./.github/workflows/test.yml"


def test_hooks_are_the_checks_of_the_repository():
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    checks = (ROOT / "tests/checks.sh").read_text().splitlines()
    repositories = {repo["repo"]: repo for repo in hooks["repos"]}
    local = repositories["local"]["hooks"]
    assert {hook["entry"] for hook in local} < set(checks)
    pins = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line)
    for address, tool in (("astral-sh/ruff-pre-commit", "ruff"), ("codespell-project/codespell", "codespell")):
        repository = repositories[f"https://github.com/{address}"]
        assert repository["rev"] == f"v{pins[tool]}"
        assert any(line.startswith(tool) for line in checks)
    lint = yaml.safe_load((ROOT / ".github/workflows/lint.yml").read_text(encoding="utf-8"))
    ours = ["ruff-check", "ruff-format", "codespell", *(hook["id"] for hook in local)]
    assert lint["jobs"]["checks"]["steps"][-1]["env"]["SKIP"].split(",") == ours
    assert hooks["ci"]["skip"] == [hook["id"] for hook in local]


def test_the_constraints_pin_every_dependency():
    pins = {line.split("==")[0] for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line}
    wanted = [*PROJECT["dependencies"], *(line for group in GROUPS.values() for line in group if isinstance(line, str))]
    names = {re.sub(r"[._]", "-", re.match(r"[\w.-]+", line)[0]).lower() for line in wanted}
    assert names - pins <= {"mkdocs-material", "mkdocstrings", "pip-licenses"}, "tools for the docs are not tested"


def test_the_citation_agrees_with_the_package():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["license"] == PROJECT["license"]
    assert citation["repository-code"] == PROJECT["urls"]["Homepage"]
    assert citation["authors"] == PROJECT["authors"]
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(citation["references"]) == 3
    for reference in citation["references"]:
        assert reference["url"] in readme


def test_a_bug_report_asks_for_what_info_prints():
    form = yaml.safe_load((ROOT / ".github/ISSUE_TEMPLATE/bug_report.yml").read_text(encoding="utf-8"))
    (info,) = (field for field in form["body"] if "napari-pml info" in field["attributes"]["label"])
    assert info["validations"]["required"]


@pytest.mark.parametrize("page", ["CONTRIBUTING.md", "CODE_OF_CONDUCT.md", ".github/SECURITY.md", "docs/licences.md"])
def test_every_file_that_is_linked_or_run_exists(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", text)
    for path in links:
        assert (ROOT / page).parent.joinpath(path).exists(), path
    for path in re.findall(r"(?:python|bash) ((?:benchmarks|docs|tests)/\S+\.(?:py|sh))", text):
        assert (ROOT / path).exists(), path


def test_every_dependency_is_explained():
    page = (ROOT / "docs/licences.md").read_text(encoding="utf-8")
    explained = set(re.findall(r"^\| `([\w-]+)` \|", page, re.MULTILINE))
    assert {re.match(r"[\w-]+", line)[0] for line in PROJECT["dependencies"]} == explained
