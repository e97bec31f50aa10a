"""What `--help` shows of every command."""

import importlib
import pkgutil
import re

import pytest
import typer

from larpo_lib import cli
from larpo_lib.cli.app import app


def _commands(command, *words):
    children = getattr(command, "commands", None)
    if children:
        for name, child in sorted(children.items()):
            yield from _commands(child, *words, name)
    elif not command.hidden:
        yield pytest.param(words, command, id=" ".join(words))


def _every_command():
    for module in pkgutil.iter_modules(cli.__path__):
        importlib.import_module(f"{cli.__name__}.{module.name}")
    return list(_commands(typer.main.get_command(app)))


@pytest.mark.parametrize(("words", "command"), _every_command())
def test_help_shows_every_word_of_a_command_and_its_options(larpo, words, command):
    """A word in brackets, such as the name of a table in the settings, is not taken for markup."""
    shown = "".join(larpo(*words, "--help").out.split())
    written = [command.help or "", *(getattr(option, "help", None) or "" for option in command.params)]
    for text in written:
        for word in text.split():
            assert word in shown, word


def test_words_in_brackets_are_shown(larpo):
    text = " ".join(larpo("prepare", "--help").out.split())
    assert "--prompts (and --heldout) from [prepare], --demonstrations from [demonstrations]" in text


def test_commands_are_shown_in_groups_each_in_one(larpo):
    """A command without a group would be shown nowhere."""
    out = larpo("--help").out
    groups = re.findall(r"^(\S.*):\n((?:  .+\n)+)", out.partition("--help")[2], re.MULTILINE)
    shown = {name: re.findall(r"^  (\S+)", rows, re.MULTILINE) for name, rows in groups}
    assert [*shown] == ["The loop", "Steps", "Benchmarks", "Kubeflow", "Tools"]
    assert shown["Steps"][:3] == ["prepare", "sft", "sample"]
    names = [name for rows in shown.values() for name in rows]
    commands = typer.main.get_command(app).commands
    assert sorted(names) == sorted(name for name, command in commands.items() if not command.hidden)


def test_a_benchmark_is_found_by_its_names(larpo):
    """Its own command, the name of its section, and the command that it was before there was a group."""
    told = [larpo(*words, "--help").out for words in (("benchmark", "reward-eval"), ("benchmark", "reward_eval"))]
    old = larpo("reward-eval", "--help").out
    assert "[reward_eval].reranker" in old
    assert [text.partition("\n")[2] for text in told] == [old.partition("\n")[2]] * 2
