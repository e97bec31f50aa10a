"""How the tests of bad input spoil a prepared world, and what they ask of the command that then runs on it."""

import json
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from tiny_world import Larpo, files

from larpo_lib.manifest import MANIFEST

CONFIG = ["--config", "larpo.toml"]
RUN = ["run", "--out", "run", *CONFIG]
PREPARE = ["prepare", "--prompts", "out", *CONFIG]
RANKED = ["prepare", "--prompts", "out", "--ranked", "out-ranked", *CONFIG, "--set", "prepare.source=ranked.jsonl"]
SFT = ["sft", "--policy", "policy", "--demonstrations", "shown", "--trained", "out", *CONFIG]
SAMPLE = ["sample", "--policy", "policy", "--prompts", "prompts", "--candidates", "out", *CONFIG]
RERANK = ["rerank", "--prompts", "prompts", "--candidates", "candidates", "--ranked", "out", *CONFIG]
LISTS = ["build-lists", "--prompts", "prompts", "--ranked", "ranked", "--lists", "out", *CONFIG]
TRAIN = ["train", "--policy", "policy", "--lists", "lists", "--trained", "out", *CONFIG]

Spoil = Callable[[Path], object]


def sets(*settings: str) -> list[str]:
    return [argument for setting in settings for argument in ("--set", setting)]


CLASSIFIER = sets("rerank.reranker={ type = 'classifier', path = 'reward' }")


def case(name: str, spoil: Spoil | None, arguments: Sequence[str], told: str, marks: Iterable[Any] = ()) -> Any:
    """A kind of bad input: what spoils the world, the command to run, and the line that it is to end with.

    Of that line `told` holds parts, in their order, with ` ... ` between them.
    """
    return pytest.param(spoil or (lambda _here: None), arguments, told, id=name, marks=list(marks))


def forbid_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the test fail when a model's weights are loaded."""

    def forbidden(*_: object, **__: object) -> None:
        raise AssertionError("weights were loaded although the input could be known to be bad before")

    monkeypatch.setattr("transformers.AutoModelForCausalLM.from_pretrained", forbidden)
    monkeypatch.setattr("transformers.AutoModelForSequenceClassification.from_pretrained", forbidden)


def refused(larpo: Larpo, here: Path, spoil: Spoil, arguments: Sequence[object], told: str) -> None:
    """Run a command that is to end in one line, behind what preparing prompts says, and to leave what is there."""
    kept = spoil(here)  # a lock is held as long as its file is open
    before = files(here)
    outcome = larpo(*arguments)
    assert outcome.code == 2
    assert outcome.out == ""
    *of_steps_before, line = outcome.err.splitlines()
    expected = (": begins", ": prompt from ", ": reference from ")
    assert all(any(one in said for one in expected) for said in of_steps_before), outcome.err
    assert tells(line, told), line
    after = files(here)
    assert {name: after.get(name) for name in before} == before
    assert "out/artifact.json" not in set(after) - set(before)
    del kept


def tells(line: str, told: str) -> bool:
    """Whether a line is an error's, is made of sentences, and holds the parts of `told`."""
    pattern = "larpo: .*" + ".*".join(re.escape(part) for part in told.split(" ... "))
    return re.match(pattern, line) is not None and line.endswith((".", "?"))


def text(name: str, content: str | bytes) -> Spoil:
    """Replaces a file."""
    data = content.encode() if isinstance(content, str) else content
    return lambda here: (here / name).write_bytes(data)


def rows(name: str, *content: Any) -> Spoil:
    """Replaces a JSONL file."""
    return text(name, "".join(json.dumps(row) + "\n" for row in content))


def removed(*names: str) -> Spoil:
    """Removes files."""
    return lambda here: [(here / name).unlink() for name in names]


def cut(name: str) -> Spoil:
    """Tears off the second half of a file."""

    def spoil(here: Path) -> None:
        data = (here / name).read_bytes()
        (here / name).write_bytes(data[: len(data) // 2])

    return spoil


def changed(name: str, **changes: Any) -> Spoil:
    """Changes keys of a JSON file; None removes one."""

    def spoil(here: Path) -> None:
        value = json.loads((here / name).read_text("utf-8")) | changes
        value = {key: kept for key, kept in value.items() if kept is not None}
        (here / name).write_text(json.dumps(value), "utf-8")

    return spoil


def column(name: str, field: str, value: Any) -> Spoil:
    """Sets one column of a table to a value, in every row, of a folder that is no artifact: without checksums."""

    def spoil(here: Path) -> None:
        path = here / name / f"{name}.parquet"
        table = pq.read_table(path)
        content = [row | {field: value} for row in table.to_pylist()]
        pq.write_table(type(table).from_pylist(content, schema=table.schema), path)
        (here / name / MANIFEST).unlink()

    return spoil


def together(*spoils: Spoil) -> Spoil:
    return lambda here: [spoil(here) for spoil in spoils]
