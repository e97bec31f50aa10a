"""`larpo rewards try`: a reward function, or a judge, on a handful of responses."""

import json
from pathlib import Path

import pytest
from judge_double import judging
from table_rows import candidate, with_table
from tiny_world import Larpo

from larpo_lib.config import PrepareConfig
from larpo_lib.steps import prepare
from larpo_lib.tables import read_table

FUNCTION = """
def brevity(responses, level, goal=0):
    return [None if not text else goal - len(text) + number for text, number in zip(responses, level)]
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("my_rewards.py").write_text(FUNCTION)
    rows = [{"prompt": f"p{i}", "response": "ab\n" * i, "level": i} for i in range(1, 6)]
    Path("rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


def test_rows_of_a_file_are_scored(here: Path, larpo: Larpo) -> None:
    done = larpo("rewards", "try", "--target", "my_rewards.py:brevity", "--prompts", "rows.jsonl", "--limit", 2)
    assert done.code == 0, done.err
    lines = done.out.splitlines()
    assert [line.split(": ")[1] for line in lines[::2]] == ['"p1"', '"p2"']
    assert [line.split() for line in lines[1::2]] == [["-2", '"ab\\n"'], ["-4", '"ab\\nab\\n"']]
    more = larpo("rewards", "try", "--target", "my_rewards.py:brevity", "--prompts", "rows.jsonl", "--set", "goal=0.5")
    assert [line.split()[0] for line in more.out.splitlines()[1::2]] == ["-1.5", "-3.5", "-5.5"]


def test_candidates_of_artifacts_are_scored(here: Path, larpo: Larpo) -> None:
    keep = {"source": "rows.jsonl", "columns": {"keep": ["level"]}}
    prepare.run(PrepareConfig.model_validate(keep), prompts=here / "prompts")
    first = read_table(here / "prompts", "prompts")[0]["prompt_id"]
    with_table(here / "candidates", "candidates", [candidate(first, text, i) for i, text in enumerate(["", "x" * 100])])
    asked = ["rewards", "try", "--target", "my_rewards.py:brevity", "--prompts", "prompts"]
    done = larpo(*asked, "--responses", "candidates")
    assert done.code == 0, done.err
    head, none, long = done.out.splitlines()
    assert head.startswith(f"prompt {first}: ")
    assert none.split() == ["none", '""']
    assert long.endswith(f'"{"x" * 60} ..."')
    alone = larpo(*asked)
    assert (alone.code, "contains prompts without responses" in alone.err) == (2, True)


def test_mistakes_are_told_in_one_line(here: Path, larpo: Larpo) -> None:
    for target, told in [
        ("brevity", "'brevity' names no function"),
        ("other.py:brevity", "other.py: no such file"),
        ("my_rewards.py:length", "my_rewards.py: has no function 'length'"),
    ]:
        done = larpo("rewards", "try", "--target", target, "--prompts", "rows.jsonl")
        assert (done.code, told in done.err, done.err.count("\n")) == (2, True, 1), done.err
    Path("my_rewards.py").write_text("def f(responses):\n    return [1 / 0]\n")
    done = larpo("rewards", "try", "--target", "my_rewards.py:f", "--prompts", "rows.jsonl")
    assert "my_rewards.py, line 2" in done.err


def test_a_judge_can_be_tried_by_its_configuration(here: Path, larpo: Larpo) -> None:
    with judging(lambda responses: str(len(responses[0]) // 3)) as judge:
        settings = judge.config(here / "decisions").model_dump(exclude_defaults=True)
        table = ", ".join(f"{name} = {json.dumps(value)}" for name, value in settings.items())
        Path("larpo.toml").write_text(f'[rerank]\nreranker = {{ type = "llm_judge", {table} }}\n')
        asked = ["rewards", "try", "--config", "larpo.toml", "--prompts", "rows.jsonl", "--limit", 2]
        refused = larpo(*asked, "--set", "rerank.reranker.max_calls=1")
        assert "rewards try needs at most 2 judge calls" in refused.err
        assert judge.calls() == 0
        done = larpo(*asked)
        assert done.code == 0, done.err
        assert [line.split()[0] for line in done.out.splitlines()[1::2]] == ["1", "2"]
    both = larpo(*asked, "--target", "my_rewards.py:brevity")
    assert both.err == "larpo: rewards try needs a function or a reranker. Pass --target, or else --config.\n"


def _scores(larpo: Larpo, *options: object) -> list[float]:
    done = larpo("rewards", "try", *options)
    assert done.code == 0, done.err
    return [float(line.split()[0]) for line in done.out.splitlines()[1::2]]


def _rows(name: str, **columns: list[object]) -> None:
    rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    Path(name).write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_a_file_is_read_as_the_configuration_says(here: Path, larpo: Larpo) -> None:
    """The right answers are in `gold`; `answer`, which is taken by its name if nothing is said, is wrong."""
    asks, right, wrong = ["How many 3?", "How many 4?"], ["3", "4"], ["8", "9"]
    _rows("plain.jsonl", prompt=asks, response=right, gold=right, answer=wrong)
    _rows("named.jsonl", text=asks, reply=right, gold=right, answer=wrong)
    verifier = '[rerank]\nreranker = { type = "verifier", mode = "exact" }\n'
    Path("bare.toml").write_text(verifier)
    Path("gold.toml").write_text(f'[prepare]\nsource = "other.jsonl"\ncolumns = {{ reference = "gold" }}\n{verifier}')
    assert _scores(larpo, "--config", "bare.toml", "--prompts", "plain.jsonl") == [0, 0]
    assert _scores(larpo, "--config", "gold.toml", "--prompts", "plain.jsonl") == [1, 1]
    columns = 'prepare.columns={ reference = "gold", prompt = "text", response = "reply" }'
    assert _scores(larpo, "--config", "gold.toml", "--prompts", "named.jsonl", "--set", columns) == [1, 1]
    missing = larpo("rewards", "try", "--config", "gold.toml", "--prompts", "rows.jsonl")
    assert "rows.jsonl: has no column 'gold'; it has prompt, response, level" in missing.err


@pytest.mark.parametrize("name", ["answer", "solution", "ground_truth"])
@pytest.mark.parametrize("signature", ["{}", "{}=None", "*, {}=None", "**kwargs"])
def test_a_function_is_given_the_column_of_the_reference(here: Path, larpo: Larpo, name: str, signature: str) -> None:
    """As TRL's trainer gives it, whether its argument is optional or not."""
    _rows("rows.jsonl", prompt=["a", "b", "c"], response=["1", "2", "3"], **{name: [1, 5, 3]})
    value = f"kwargs[{name!r}]" if "kwargs" in signature else name
    body = f"return [float(c[0]['content'] == str(a)) for c, a in zip(completions, {value})]"
    Path("my_rewards.py").write_text(f"def f(completions, {signature.format(name)}):\n    {body}\n")
    assert _scores(larpo, "--target", "my_rewards.py:f", "--prompts", "rows.jsonl") == [1, 0, 1]
    reranker = '[rerank]\nreranker = { type = "function", target = "my_rewards.py:f" }\n'
    Path("all.toml").write_text(reranker)
    Path("named.toml").write_text(f'[prepare]\nsource = "a"\ncolumns = {{ keep = ["{name}"] }}\n{reranker}')
    for config in ("all.toml", "named.toml"):
        assert _scores(larpo, "--config", config, "--prompts", "rows.jsonl") == [1, 0, 1]
