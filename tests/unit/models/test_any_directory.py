"""Model directories that nobody would publish: each is read, or refused by a LarpoError that names it."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from fuzzing import few
from hypothesis import given
from hypothesis import strategies as st

from larpo_lib.config import ModelConfig
from larpo_lib.errors import LarpoError
from larpo_lib.models.chat import prompt_ids
from larpo_lib.models.model_dir import ModelDir, check_weights

PLAIN = ModelConfig(device="cpu")
JSONS = ("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json")
FILES = (*JSONS, "chat_template.jinja", "model.safetensors")
ODD: tuple[Any, ...] = (
    *(
        None,
        True,
        0,
        -1,
        1,
        2**31,
        10**30,
        0.5,
        1e308,
        "",
        "a",
        "\x1b[2J",
        "{{",
        "__import__",
        [],
        [1],
        [[]],
        {},
        {"a": 1},
    ),
    *("NaN", [None], ["a", "b"], {"type": "a"}, "../..", "cuda", 64),
)
READ = (
    lambda source: source.context_length,
    lambda source: source.vocab_size,
    lambda source: source.stop_ids,
    lambda source: prompt_ids(source.tokenizer, [{"role": "user", "content": "a b"}]),
    lambda source: check_weights(source.path),
    lambda source: source.load_policy(),
)


def places(value: Any, place: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where something stands in JSON; of long lists and tables, in the first of it."""
    parts = list(value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ())
    return [place, *(found for name, part in parts[:12] for found in places(part, (*place, name)))]


@st.composite
def damages(draw: Any) -> tuple[str, str, Any, Any]:
    """A file, what is done to it, where and with what."""
    name = draw(st.sampled_from(FILES))
    kinds = ["set", "set", "set", "remove"] if name in JSONS else []
    kind = draw(st.sampled_from([*kinds, "cut", "flip", "empty", "gone", "folder", "deep"]))
    return name, kind, draw(st.integers(0, 10**6)), draw(st.sampled_from(ODD))


def damage(folder: Path, name: str, kind: str, number: int, value: Any) -> None:
    file = folder / name
    if file.is_dir():
        return
    content = file.read_bytes() if file.is_file() else b"{}"
    file.unlink(missing_ok=True)
    if kind == "folder":
        file.mkdir()
    elif kind in ("cut", "flip"):
        place = number % max(len(content), 1)
        file.write_bytes(content[:place] if kind == "cut" else content[:place] + b"\x00\xff" + content[place + 2 :])
    elif kind in ("empty", "deep"):
        file.write_bytes(b"" if kind == "empty" else b'{"a":' * 3000)
    elif kind in ("set", "remove"):
        try:
            tree = {"": json.loads(content)}
        except (ValueError, RecursionError):  # damaged before
            tree = {"": {}}
        found = places(tree)[1:]
        *above, last = found[number % len(found)]
        node: Any = tree
        for part in above:
            node = node[part]
        if kind == "set":
            node[last] = value
        else:
            del node[last]
        file.write_text(json.dumps(tree.get("", {})), "utf-8")


@few
@given(st.lists(damages(), min_size=1, max_size=2))
def test_any_directory_is_read_or_refused(
    tiny_policy: Path, tmp_path_factory: pytest.TempPathFactory, done: Any
) -> None:
    folder = tmp_path_factory.mktemp("any") / "policy"
    shutil.copytree(tiny_policy, folder)
    for each in done:
        damage(folder, *each)
    source = ModelDir(folder, PLAIN)
    for read in READ:
        told = ""
        try:
            read(source)
        except LarpoError as error:
            told = str(error)
        assert not told or (str(folder) in told and len(told) < 2000)
    shutil.rmtree(folder)
