"""What the documents promise: commands that parse, settings that exist, links that lead somewhere."""

import ast
import importlib
import re
import runpy
import shlex
import textwrap
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from our_objectives import OURS

from larpo_lib.cli import benchmarks, champion, hub, pipelines, rewards, runs, steps, studies
from larpo_lib.cli.app import app
from larpo_lib.config import LarpoConfig, Section, apply_settings, load_config, parse_settings
from larpo_lib.config.load import check
from larpo_lib.pipeline.form import FORMS
from larpo_lib.presets import preset_file
from larpo_lib.studies.small import load_world

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = [*sorted(ROOT.glob("*.md")), *sorted(DOCS.rglob("*.md")), *sorted(ROOT.glob("larpo_lib/**/README.md"))]
COMMANDS: dict[str, Any] = typer.main.get_command(app).commands  # type: ignore[attr-defined]
REQUIRED = ("policy=p", "prepare.source=s")
"""Settings without a default, which an example need not repeat."""

REGISTERED = (benchmarks, champion, hub, pipelines, rewards, runs, steps, studies)
"""Importing them registered their commands."""


def blocks(page: Path, *languages: str) -> Iterator[str]:
    """The fenced blocks of a page in one of `languages`."""
    for language, text in re.findall(r"^ *```(\w*)\n(.*?)^ *```", page.read_text("utf-8"), re.MULTILINE | re.DOTALL):
        if language in languages:
            yield textwrap.dedent(text)


def prose(page: Path) -> str:
    """A page without its fenced blocks and HTML comments."""
    return re.sub(r"^ *```.*?^ *```|<!--.*?-->", "", page.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)


def commands() -> list[str]:
    """Every `larpo ...` line of a shell block, its continuation lines joined."""
    lines = [
        line.strip()
        for page in PAGES
        for block in blocks(page, "bash")
        for line in block.replace("\\\n", " ").splitlines()
    ]
    return sorted({line for line in lines if line.startswith("larpo ")})


def test_the_settings_page_is_up_to_date() -> None:
    written = runpy.run_path(str(DOCS / "generate_configuration.py"))["document"]()
    assert (DOCS / "configuration.md").read_text("utf-8") == written, "run: python docs/generate_configuration.py"


def test_the_settings_page_leaves_no_setting_without_a_meaning() -> None:
    class Bare(Section):
        untold: int = 0

    written = runpy.run_path(str(DOCS / "generate_configuration.py"))["_section"]
    with pytest.raises(ValueError, match=r"Bare\.untold has no meaning"):
        written(Bare, ["bare"], {})


def test_the_tables_are_up_to_date() -> None:
    pages = runpy.run_path(str(DOCS / "generate_tables.py"))["pages"]()
    for page, written in pages.items():
        assert page.read_text("utf-8") == written, f"{page}: run: python docs/generate_tables.py"
        assert page.name != "README.md" or written.count("<!-- generated -->") == 1, page
    assert {DOCS / "guide.md", DOCS / "parameters.md", DOCS / "evaluation.md"} < pages.keys()
    for row in (
        "| `lambdarank` | ranks every better response",
        "| `pairrm` | pairs of",
        "| `vllm` | with vLLM's engine",
    ):
        assert pages[DOCS / "guide.md"].count(row) == 1


def test_the_method_has_the_formula_of_every_objective() -> None:
    section = (DOCS / "method.md").read_text("utf-8").partition("## Objectives\n")[2].partition("\n### ")[0]
    rows = re.findall(r"^\| `(\w+)` \|[^\n]*\| [^|\n]*\d{4}[^|\n]*\|$|^\| `(\w+)` \|[^\n]*LarPO", section, re.MULTILINE)
    assert {one or other for one, other in rows} == set(OURS)


def find(words: list[str]) -> tuple[Any, str, list[str]]:
    """The command that the first words name, its whole name, and what is left of the words."""
    command, name, rest = COMMANDS[words[0]], words[0], words[1:]
    while rest and rest[0] in getattr(command, "commands", {}):
        command, name, rest = command.commands[rest[0]], f"{name} {rest[0]}", rest[1:]
    return command, name, rest


def test_there_are_examples_of_every_command() -> None:
    existing = {
        f"{name} {part}".strip()
        for name, command in COMMANDS.items()
        if not command.hidden
        for part in getattr(command, "commands", [""])
    }
    assert {find(shlex.split(command, comments=True)[1:])[1] for command in commands()} == existing


@pytest.mark.parametrize("command", commands())
def test_commands_parse_and_their_settings_exist(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KFP_ENDPOINT", "https://kubeflow.example.com/pipeline")  # as the documents export it
    found, name, arguments = find(shlex.split(command, comments=True)[1:])
    context = found.make_context(name, arguments)
    config = context.params.get("config")
    if config is not None and config.name == "quickstart.toml":
        config = preset_file("quickstart")
    elif context.params.get("preset") is not None:
        config = preset_file(context.params["preset"])
    elif config is not None:
        config = ROOT / config if (ROOT / config).exists() else None
    settings = [*(context.params.get("settings") or ())]
    of_world = [setting for setting in settings if name == "reproduce" and setting.startswith("world.")]
    load_world(parse_settings(of_world).get("world", {}))
    load_config(config, [*REQUIRED, *(setting for setting in settings if setting not in of_world)])


def test_parameters_of_pipelines_exist() -> None:
    known = {field.name for form in FORMS.values() for field in form}
    named = [name for command in commands() for name in re.findall(r" (?:--parameter|-p) (\w+)=", command)]
    assert len(named) > 5
    assert set(named) <= known


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_in_the_text_exist(page: Path) -> None:
    for command in re.findall(r"`larpo ([a-z][^`]*)`", prose(page)):
        found, _, arguments = find(command.split())
        known = {option for parameter in found.params for option in (*parameter.opts, *parameter.secondary_opts)}
        assert {argument for argument in arguments if argument.startswith("-")} <= known, command


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_settings_in_toml_are_accepted(page: Path) -> None:
    for block in blocks(page, "toml"):
        check(LarpoConfig, apply_settings(parse_settings(REQUIRED), tomllib.loads(block)))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_python_parses(page: Path) -> None:
    for block in blocks(page, "python"):
        ast.parse(block)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if "://" in target:
            continue
        name, _, anchor = target.partition("#")
        file = page.parent / name if name else page
        assert file.exists(), f"{target}: no such file"
        if anchor:
            assert anchor in {slug(heading) for heading in headings(file)}, f"{target}: no such heading"


def headings(page: Path) -> list[str]:
    return re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)


def slug(heading: str) -> str:
    """The anchor that GitHub gives a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


ARCHITECTURE = ROOT / "docs" / "architecture.md"


def test_functions_on_the_way_of_a_prompt_exist() -> None:
    stops = re.findall(r"^\| \d+ \|.*\| (.*) \|$", ARCHITECTURE.read_text("utf-8"), re.MULTILINE)
    assert 5 < len(stops) < 10
    for name in [name for stop in stops for name in re.findall(r"`([\w.]+)`", stop)]:
        module, _, attribute = name.rpartition(".")
        assert callable(getattr(importlib.import_module(f"larpo_lib.{module}"), attribute)), name


def test_the_table_of_packages_is_what_the_linter_checks() -> None:
    contract = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]["contracts"][0]
    layers = [[room.strip().removeprefix("larpo_lib.") for room in layer.split("|")] for layer in contract["layers"]]
    table = ARCHITECTURE.read_text("utf-8").split("| packages |")[1]
    rows = re.findall(r"^\| (`[^|]*`) \|", table, re.MULTILINE)
    assert [re.findall(r"`([\w.]+)`", row) for row in rows] == layers
