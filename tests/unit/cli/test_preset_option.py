"""Settings that come with the library, by name on the command line."""

from pathlib import Path

import pytest
import typer
from tiny_world import Larpo

from larpo_lib.cli import app
from larpo_lib.config import load_section
from larpo_lib.presets import preset_file, preset_names


def test_presets_are_listed_with_what_they_say_of_themselves(larpo: Larpo) -> None:
    lines = dict(line.split(maxsplit=1) for line in larpo("presets").out.splitlines())
    assert [*lines] == preset_names()
    assert lines["gemma-2-2b-it-pairrm"] == "Gemma-2-2b-it on UltraFeedback, ranked by PairRM, contrastive objective."
    assert all(line.endswith(".") for line in lines.values())


def test_a_preset_is_printed_as_it_is(larpo: Larpo) -> None:
    for name in preset_names():
        assert larpo("presets", name).out == preset_file(name).read_text("utf-8")


@pytest.mark.parametrize("arguments", [("presets", "gsm8"), ("run", "--out", "unused", "--preset", "gsm8")])
def test_an_unknown_preset_is_told_with_those_there_are(larpo: Larpo, arguments: tuple[str, ...]) -> None:
    outcome = larpo(*arguments)
    assert (outcome.code, outcome.err.count("\n")) == (2, 1)
    assert outcome.err == f"larpo: unknown preset 'gsm8'. Use one of {', '.join(preset_names())}.\n"


def test_a_preset_takes_the_place_of_a_file(larpo: Larpo, tiny_world: Path, tmp_path: Path) -> None:
    arguments = ["prepare", "--set", f"prepare.source={tiny_world / 'prompts.jsonl'}", "--set", "prepare.limit=2"]
    own = [f"--set=prepare.templates=[{{ path = '{tiny_world / 'policy'}' }}]"]
    outcome = larpo(*arguments, *own, "--preset", "quickstart", "--prompts", tmp_path / "prompts")
    assert outcome.code == 0, outcome.err
    refused = larpo(*arguments, "--preset", "quickstart", "-c", preset_file("quickstart"), "--prompts", tmp_path / "p")
    assert refused.code == 2
    assert (
        refused.err
        == "larpo: --config and --preset cannot be used together. Pass one of them, and change settings with --set.\n"
    )


def test_every_command_that_takes_a_file_takes_a_preset() -> None:
    commands = typer.main.get_command(app.app).commands  # type: ignore[attr-defined]
    options = {name: {option for each in command.params for option in each.opts} for name, command in commands.items()}
    taking = {name for name, found in options.items() if "--config" in found}
    assert {"run", "sample", "evaluate", "gsm8k", "promote", "submit"} <= taking
    assert taking == {name for name, found in options.items() if "--preset" in found}


def test_a_section_of_a_preset_is_what_the_file_says() -> None:
    config = load_section("sample", preset_file("mathstral-7b-gsm8k"))
    assert (config.sampler.type, config.k, config.max_prompt_tokens) == ("vllm", 10, 1000)
