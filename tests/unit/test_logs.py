import logging
import os
import sys

import pytest
from tiny_world import Larpo

from larpo_lib import logs
from larpo_lib.errors import ConfigError

WARNING, NOTICE, DETAIL = "warning: something is odd\n", "something begins\n", "something small\n"


def say() -> None:
    log = logging.getLogger("larpo_lib.anything")
    log.warning("something is %s", "odd")
    log.info("something begins")
    log.debug("something small")


@pytest.mark.parametrize(
    ("level", "lines"), [("quiet", WARNING), ("normal", WARNING + NOTICE), ("verbose", WARNING + NOTICE + DETAIL)]
)
@pytest.mark.parametrize("by_environment", [False, True])
def test_levels(level, lines, by_environment, capsys, monkeypatch):
    if by_environment:
        monkeypatch.setenv("LARPO_LOG", level)
    logs.set_up(None if by_environment else level)
    say()
    captured = capsys.readouterr()
    assert captured.err == lines
    assert captured.out == ""
    assert os.environ["LARPO_LOG"] == level, "for the processes that are started from here"


def test_set_up_again_it_changes_the_level_and_says_nothing_twice(capsys):
    logs.set_up("verbose")
    logs.set_up("quiet")
    say()
    assert capsys.readouterr().err == WARNING


def test_a_word_that_is_none_of_them_is_refused(larpo: Larpo, monkeypatch):
    monkeypatch.setenv("LARPO_LOG", "loud")
    with pytest.raises(ConfigError, match=r"LARPO_LOG is 'loud'. Set it to quiet, normal or verbose"):
        logs.set_up()
    outcome = larpo("doctor")
    assert outcome.code == 2
    assert outcome.err.startswith("larpo: LARPO_LOG is 'loud'")


def test_an_executor_that_logs_by_itself_hears_no_line_twice(capsys, monkeypatch):
    """As Kubeflow's does: at level INFO, on standard output."""
    root, handler = logging.getLogger(), logging.StreamHandler(sys.stdout)
    monkeypatch.setattr(root, "handlers", [handler])
    monkeypatch.setattr(root, "level", logging.INFO)
    logs.set_up()
    say()
    logging.getLogger("botocore.credentials").info("Found credentials in environment variables.")
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", WARNING + NOTICE)


@pytest.mark.parametrize(("level", "told"), [("normal", False), ("verbose", True)])
def test_other_libraries_say_what_is_no_trouble_only_if_asked(level, told, capsys):
    """DeepSpeed's own logger has a handler that writes to standard output."""
    logger = logging.getLogger("DeepSpeed")
    logger.handlers, logger.propagate = [logging.StreamHandler(sys.stdout)], False
    logs.set_up(level)
    logger.warning("Setting accelerator to CPU. If you have GPU or other accelerator, we were unable to detect it.")
    logger.warning("overflow")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert ("Setting accelerator" in captured.err) == told
    assert captured.err.endswith("warning: overflow\n")


@pytest.mark.parametrize(
    ("options", "notices", "code"), [([], True, 0), (["--quiet"], False, 0), (["--quiet", "--verbose"], False, 2)]
)
def test_the_command_line_takes_the_level_before_the_command(larpo: Larpo, here, options, notices, code):
    outcome = larpo(*options, "prepare", "-c", "larpo.toml", "--prompts", "again")
    assert outcome.code == code
    assert ("prompts.jsonl: reference from answer" in outcome.err) == notices
    assert ("cannot be used together" in outcome.err) == (code == 2)


def test_what_servers_say_does_nothing_to_a_terminal_and_tells_no_password(capsys):
    logs.set_up()
    logging.getLogger("larpo_lib.anything").warning(
        "http://me:hunter2@host: %s", "\x1b]0;owned\x07\x1b[2J\u202eok\rdone\n"
    )
    assert capsys.readouterr().err == ("warning: http://***@host: \\x1b]0;owned\\x07\\x1b[2J\\u202eok\\rdone\n\n")
