"""What lies around the package says only what is true of it: workflows, citation, licences, contributing."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


@pytest.fixture(params=WORKFLOWS, ids=lambda path: path.stem)
def workflow(request):
    return yaml.safe_load(request.param.read_text(encoding="utf-8"))


def commands(workflow):
    return [step["run"] for job in workflow["jobs"].values() for step in job["steps"] if "run" in step]


def test_there_is_a_workflow_for_each_purpose():
    assert [path.stem for path in WORKFLOWS] == ["docs", "lint", "release", "test"]


def test_a_workflow_runs_files_of_the_repository_and_installs_extras_that_exist(workflow):
    for command in commands(workflow):
        for path in re.findall(r"(?:^|[ =])((?:tests|benchmarks|docs)\b\S*|\S+\.txt)", command):
            assert (ROOT / path).exists(), command
        for extras in re.findall(r"'\.\[(.*?)\]'", command):
            for extra in re.sub(r"\$\{\{ matrix\.qt \}\}", "pyqt6,pyside6", extras).split(","):
                assert extra in PROJECT["optional-dependencies"], command


def test_a_workflow_may_do_no_more_than_it_must(workflow):
    assert workflow["permissions"] == {"contents": "read"}
    assert "group" in workflow["concurrency"]
    for job in workflow["jobs"].values():
        allowed = set(job.get("permissions", {}))
        uses = " ".join(step.get("uses", "") for step in job["steps"])
        needed = {"pages", "id-token"} if "deploy-pages" in uses else {"id-token"} if "pypi-publish" in uses else set()
        assert allowed == needed


def test_a_release_is_built_of_a_tag_and_published_without_a_password():
    release = yaml.safe_load((ROOT / ".github/workflows/release.yml").read_text(encoding="utf-8"))
    assert release[True] == {"push": {"tags": ["v*"]}}  # YAML 1.1 takes the key `on` for true
    assert "secrets." not in str(release)
    assert release["jobs"]["publish"]["needs"] == "build"


def test_hooks_are_the_checks_of_the_repository():
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    (local,) = (repo["hooks"] for repo in hooks["repos"] if repo["repo"] == "local")
    checks = (ROOT / "tests/checks.sh").read_text()
    for hook in local:
        assert hook["entry"].removesuffix(" --fix") in checks
    lint = yaml.safe_load((ROOT / ".github/workflows/lint.yml").read_text(encoding="utf-8"))
    assert lint["jobs"]["checks"]["steps"][-1]["env"]["SKIP"].split(",") == [hook["id"] for hook in local]


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
