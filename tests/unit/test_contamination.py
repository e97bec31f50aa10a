"""Held-out prompts that are trained on are told before a run, and counted after it."""

from pathlib import Path

import pytest
from small_models import write_prompts
from tiny_world import write_jsonl

from larpo_lib.config import PrepareConfig
from larpo_lib.contamination import tell_trained_on, trained_on
from larpo_lib.steps import prepare


@pytest.fixture
def heldout(tmp_path: Path) -> Path:
    return write_prompts(tmp_path / "heldout", [(f"held {number}", None) for number in range(5)])


@pytest.fixture
def demonstrations(tmp_path: Path) -> Path:
    """Of two held-out prompts, one of them twice and with white space around it."""
    asked = ["held 1", " held 1\n", "held 3", "other"]
    rows = write_jsonl(tmp_path / "rows.jsonl", [{"prompt": text, "response": text} for text in asked])
    prepare.demonstrations(PrepareConfig(source=str(rows)), demonstrations=tmp_path / "shown")
    return tmp_path / "shown"


def test_what_is_trained_on_is_told_by_where_it_is(
    heldout: Path, demonstrations: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    prompts = write_prompts(
        tmp_path / "prompts", [("held 3", None), ("Held 4", None), ("held 4 ", None), ("new", None)]
    )
    tell_trained_on(heldout, {"prompts": prompts, "demonstrations": demonstrations})
    assert caplog.messages == [
        "some of the held-out prompts are trained on (2 are in prompts, 2 are in demonstrations), so an evaluation on "
        "them says too much: leave them out there, or hold out others"
    ]
    assert len(set().union(*trained_on(heldout, [prompts, demonstrations, tmp_path]))) == 3


def test_nothing_is_told_of_prompts_apart(heldout: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    tell_trained_on(heldout, {"prompts": write_prompts(tmp_path / "prompts", [("new", None)])})
    assert not caplog.messages
