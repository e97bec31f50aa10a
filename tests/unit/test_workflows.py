"""The workflow of continuous integration and the shell scripts: valid, and careful with rights and secrets."""

import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from larpo_lib.cli import pipelines
from larpo_lib.cli.app import app
from larpo_lib.pipeline.form import FORMS

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
WORKFLOW = ROOT / ".github" / "workflows" / "pipeline.yml"
REGISTERED = pipelines
"""Importing it registered its commands."""
SCRIPTS = sorted(path for folder in ("docker", "tests") for path in (ROOT / folder).rglob("*.sh"))


def jobs() -> dict[str, Any]:
    workflow: dict[str, Any] = yaml.safe_load(WORKFLOW.read_text("utf-8"))
    return dict(workflow["jobs"])


def commands() -> list[str]:
    return [step["run"] for job in jobs().values() for step in job["steps"] if "run" in step]


def test_the_workflow_is_one_of_githubs() -> None:
    command = [BIN / "check-jsonschema", "--builtin-schema", "vendor.github-workflows", WORKFLOW]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_jobs_have_no_more_rights_than_they_need() -> None:
    workflow = yaml.safe_load(WORKFLOW.read_text("utf-8"))
    assert workflow["permissions"] == {"contents": "read"}
    rights = {name: job["permissions"] for name, job in workflow["jobs"].items() if "permissions" in job}
    assert rights == {"images": {"contents": "read", "packages": "write"}}
    checkouts = [step for job in jobs().values() for step in job["steps"] if "checkout" in step.get("uses", "")]
    assert len(checkouts) == len(jobs())
    assert all(step["with"]["persist-credentials"] is False for step in checkouts)


def test_secrets_and_inputs_reach_commands_by_the_environment_only() -> None:
    """What is put into a command's text could be a command itself, and would stand in lists of processes."""
    assert [command for command in commands() if "${{" in command] == []
    used = re.findall(r"^ *(\w+): \$\{\{ secrets\.(\w+) \}\}$", WORKFLOW.read_text("utf-8"), re.MULTILINE)
    assert used == [("REGISTRY_TOKEN", "GITHUB_TOKEN"), ("KFP_TOKEN", "KFP_TOKEN")]


def test_nothing_of_a_pull_request_is_pushed_or_run() -> None:
    guards = {name: job.get("if", "") for name, job in jobs().items()}
    assert "github.event_name != 'pull_request'" in guards["images"]
    assert "github.event_name != 'pull_request'" in guards["kind"]
    assert "github.event_name != 'pull_request' && github.ref == 'refs/heads/main'" in guards["run"]
    assert set(jobs()["run"]["needs"]) == {"check", "compile", "images"}


def test_what_every_image_installs_is_audited_and_listed() -> None:
    text = "\n".join(step["run"] for step in jobs()["audit"]["steps"] if "run" in step)
    loops = re.findall(r"for list in (\S+); do\n((?:  .*\n)+)done", text)
    assert [place for place, _ in loops] == ["requirements/images/*.txt"] * 2
    assert "cyclonedx-py requirements" in loops[0][1]
    assert "pip-audit --disable-pip --no-deps" in loops[1][1]
    assert re.search(r"pip install pip-audit==[\d.]+ cyclonedx-bom==[\d.]+$", text, re.MULTILINE)


def test_the_targets_of_make_exist() -> None:
    made = {target for command in commands() for target in re.findall(r"^make (\w+)$", command, re.MULTILINE)}
    assert made == {"lint", "services", "test", "compile", "install"}
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
    assert made <= set(targets)


def test_what_larpo_is_told_exists(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KFP_ENDPOINT", "http://localhost:8888")
    lines = [line for job in ("kind", "compile", "run") for step in jobs()[job]["steps"] for line in joined(step)]
    told = [shlex.split(line.replace("$TIMEOUT_S", "9"))[1:] for line in lines if line.startswith(".venv/bin/larpo ")]
    names = [[word for word in words[:2] if not word.startswith("-")] for words in told]
    assert names == [["compile"], ["submit"], ["compile"], ["pipeline", "upload"], ["submit"]]
    for path, words in zip(names, told, strict=True):
        found: Any = typer.main.get_command(app)
        for name in path:
            found = found.commands[name]
        options = [word for word in words[len(path) :] if not word.startswith("${")]  # parameters, which are none here
        given = found.make_context(path[-1], options).params.get("parameter") or ()
        assert {text.partition("=")[0] for text in given} <= {field.name for field in FORMS["larpo"]}


def joined(step: dict[str, Any]) -> list[str]:
    """The lines of a step's commands, those that go on joined."""
    return str(step.get("run", "")).replace("\\\n", " ").splitlines()


def test_images_of_the_cluster_are_those_that_are_built() -> None:
    (loop,) = [line for step in jobs()["kind"]["steps"] for line in joined(step) if line.startswith("for image in ")]
    targets = re.findall(r"^TARGETS = \((.*)\)$", (ROOT / "docker" / "build.py").read_text("utf-8"), re.MULTILINE)
    assert re.findall(r"\w+", loop.removeprefix("for image in").removesuffix("; do")) == re.findall(r"\w+", targets[0])


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_shell_scripts_are_clean(script: Path) -> None:
    done = subprocess.run(
        [BIN / "shellcheck", "--external-sources", script], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("command", commands())
def test_the_commands_of_the_workflow_are_clean(command: str) -> None:
    check = [BIN / "shellcheck", "--shell=bash", "-"]
    done = subprocess.run(check, input=command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
