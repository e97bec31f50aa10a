"""A user's own function as a selection."""

from pathlib import Path
from typing import Any

import pytest

from larpo_lib.candidates.lists import Lists
from larpo_lib.candidates.selections.function import FunctionSelectionConfig
from larpo_lib.config import ListsConfig
from larpo_lib.errors import ConfigError, LarpoError

ROWS: Any = [
    {"prompt_id": "p", "candidate_id": f"c{i}", "response": text, "reward": 3.0 - i, "sample_index": i}
    for i, text in enumerate(["one", "two two", "three", "four four"])
]


def select(tmp_path: Path, source: str, **settings: Any) -> list[str]:
    (tmp_path / "mine.py").write_text(source)
    config = FunctionSelectionConfig(target=f"{tmp_path}/mine.py:f", settings=settings)
    config.check()
    return [row["candidate_id"] for row in config.select(ROWS)]


def test_it_is_given_the_candidates_best_first_and_chooses_some(tmp_path: Path) -> None:
    words = "def f(candidates, words): return [c for c in candidates[::-1] if len(c['response'].split()) == words]"
    assert select(tmp_path, words, words=2) == ["c1", "c3"]  # best first again
    changed = "def f(candidates):\n    for c in candidates: c['reward'] = 0\n    return tuple(candidates[:1])"
    assert select(tmp_path, changed) == ["c0"]
    assert ROWS[0]["reward"] == 3.0  # what it is given is its own


@pytest.mark.parametrize(
    ("source", "told"),
    [
        (
            "def f(candidates): return None",
            r"mine\.py:f gave NoneType, not a list of candidates; prompt p\. Fix the fun",
        ),
        ("def f(candidates): return [0, 1]", "gave something else than the candidates it was given; prompt p"),
        ("def f(candidates): return [{'candidate_id': 'd'}]", "gave something else than the candidates"),
        ("def f(candidates): return candidates[:1] * 2", "gave a candidate twice; prompt p"),
        ("def f(candidates): return []", "gave no candidate; prompt p"),
        ("def f(candidates):\n  1 / 0", r"raised ZeroDivisionError: division by zero \(.*mine\.py, line 2\); prompt p"),
    ],
)
def test_what_is_no_selection_is_refused(tmp_path: Path, source: str, told: str) -> None:
    with pytest.raises(LarpoError, match=told):
        select(tmp_path, source)


def test_what_cannot_be_called_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"mine\.py:f needs 'goal'\. Give it in settings"):
        select(tmp_path, "def f(candidates, goal): return candidates")
    with pytest.raises(ConfigError, match=r"mine\.py:f does not take the setting 'goal'"):
        select(tmp_path, "def f(candidates): return candidates", goal=1)


def test_lists_are_made_by_it(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("def f(candidates): return [candidates[0], candidates[2]]")
    config = ListsConfig(selection=FunctionSelectionConfig(target=f"{tmp_path}/mine.py:f"))
    rows = [{**row, "iteration": 1, "temperature": 1.0, "token_ids": None, "finish_reason": "stop"} for row in ROWS]
    prompts: Any = {"p": [{"prompt_id": "p", "messages": [], "reference": None}]}
    lists = Lists(prompts, [{"p": rows}], config)  # type: ignore[list-item]
    assert [made["responses"] for made in lists] == [["one", "three"]]
    assert lists.counts()["candidates_not_selected"] == 2
    assert config.selection.in_words == "mine.py:f"
