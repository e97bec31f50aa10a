import pytest
from arena_hard_world import CATEGORIES, COUNT, answers_of
from tiny_world import write_jsonl

from larpo_lib.evaluation.arena_hard import scoring


@pytest.fixture
def files(tmp_path):
    questions = [
        {"uid": f"{category}-{i}", "category": category, "subcategory": "math" if i % 2 else "coding",
         "prompt": f"{category} {i}?"}
        for category in CATEGORIES for i in range(COUNT)
    ]  # fmt: skip
    rows = {"questions": questions, "hard": answers_of("o3"), "writing": answers_of("flash")}
    rows["answers"] = answers_of("mine", longer=1)
    paths = {name: tmp_path / f"{name}.jsonl" for name in rows}
    for name, path in paths.items():
        write_jsonl(path, rows[name])
    named = ("questions", "hard_prompt_baseline", "creative_writing_baseline", "answers")
    return dict(zip(named, paths.values(), strict=True))


@pytest.fixture
def few(monkeypatch):
    """Six questions are enough for the two parameters of these answers' fit."""
    monkeypatch.setattr(scoring, "LEAST", 3)
