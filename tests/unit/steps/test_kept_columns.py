"""Columns of the prompts' rows that are kept for reward functions, from the source to the function."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from table_rows import candidate, with_table

from larpo_lib.config import LarpoConfig, PrepareConfig, RerankConfig, load_config
from larpo_lib.config.load import load_section
from larpo_lib.errors import ArtifactError, DataError
from larpo_lib.rewards.rerankers.function import FunctionRerankerConfig
from larpo_lib.steps import prepare, rerank
from larpo_lib.tables import read_table

ROWS: list[dict[str, Any]] = [
    {"prompt": "p0", "answer": "0", "level": 1, "tags": ["a", "b"], "about": {"by": "Ann"}, "weight": 1},
    {"prompt": "p1", "answer": "1", "level": 2, "tags": [], "about": {"year": 3}, "weight": 0.5},
    {"prompt": "p2", "answer": "2", "level": None, "tags": None, "about": None, "weight": 2},
    {"prompt": "p0", "answer": "0", "level": 7, "tags": ["a", "b"], "about": {"by": "Ann"}, "weight": 1},
]


def source(tmp_path: Path, rows: list[dict[str, Any]] = ROWS) -> str:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def config(tmp_path: Path, keep: Any, **settings: Any) -> PrepareConfig:
    return PrepareConfig.model_validate({"source": source(tmp_path), "columns": {"keep": keep}, **settings})


def kept(artifact: Path) -> dict[str, Any]:
    """The columns by the prompt's text, as pyarrow alone reads them."""
    asked = {row["prompt_id"]: row["messages"][-1]["content"] for row in read_table(artifact, "prompts")}
    rows = pq.read_table(artifact / "metadata.parquet").to_pylist()
    assert [row["prompt_id"] for row in rows] == [*asked]
    return {asked[row["prompt_id"]]: row["columns"] for row in rows}


def test_columns_that_are_taken_for_nothing_but_the_reference_are_kept_typed_or_else_as_json(tmp_path: Path) -> None:
    metrics = prepare.run(config(tmp_path, "all"), prompts=tmp_path / "prompts")
    assert kept(tmp_path / "prompts") == {
        "p0": {"answer": "0", "level": 1, "tags": ["a", "b"], "about": '{"by": "Ann"}', "weight": "1"},
        "p1": {"answer": "1", "level": 2, "tags": [], "about": '{"year": 3}', "weight": "0.5"},
        "p2": {"answer": "2", "level": None, "tags": None, "about": None, "weight": "2"},
    }
    types = {field.name: field.type for field in pq.read_schema(tmp_path / "prompts" / "metadata.parquet")[1].type}
    assert (types["level"], types["weight"], types["tags"]) == (pa.int64(), pa.string(), pa.list_(pa.string()))
    assert (metrics["columns_kept"], metrics["columns_not_used"], metrics["column_conflicts"]) == (5, 0, 1)
    record = json.loads((tmp_path / "prompts" / "columns.json").read_text())
    assert (record["kept"], record["not_used"]) == (["answer", "level", "tags", "about", "weight"], {})


def test_named_columns_are_kept_also_those_with_another_use(tmp_path: Path) -> None:
    metrics = prepare.run(config(tmp_path, ["answer", "level"]), prompts=tmp_path / "prompts")
    assert kept(tmp_path / "prompts")["p1"] == {"answer": "1", "level": 2}
    assert {row["reference"] for row in read_table(tmp_path / "prompts", "prompts")} == {"0", "1", "2"}
    assert metrics["columns_not_used"] == 3
    with pytest.raises(DataError, match=r"has no column 'levle'; it has prompt, .* Change columns\.keep"):
        prepare.run(config(tmp_path, ["levle"]), prompts=tmp_path / "other")


def test_held_out_prompts_keep_theirs_with_the_same_types(tmp_path: Path) -> None:
    prepare.run(config(tmp_path, "all", heldout=1), prompts=tmp_path / "prompts", heldout=tmp_path / "heldout")
    one, other = kept(tmp_path / "prompts"), kept(tmp_path / "heldout")
    assert (len(one), len(other), {*one, *other}) == (2, 1, {"p0", "p1", "p2"})
    files = [tmp_path / name / "metadata.parquet" for name in ("prompts", "heldout")]
    assert pq.read_schema(files[0]) == pq.read_schema(files[1])


def test_without_the_setting_nothing_is_kept_and_the_fingerprint_is_as_before(tmp_path: Path) -> None:
    plain = PrepareConfig(source=source(tmp_path))
    metrics = prepare.run(plain, prompts=tmp_path / "prompts")
    assert sorted(path.name for path in (tmp_path / "prompts").iterdir()) == [
        "artifact.json", "columns.json", "metrics.json", "prompts.parquet",
    ]  # fmt: skip
    assert "columns_kept" not in metrics
    assert "keep" not in plain.identity()["columns"]
    with pytest.raises(ArtifactError, match=r"made with .*columns\.keep"):
        prepare.run(config(tmp_path, "all"), prompts=tmp_path / "prompts")


def test_the_rows_that_bring_ranked_lists_keep_theirs(tmp_path: Path) -> None:
    rows = [{"prompt": "p0", "responses": ["a", "b"], "rewards": [1, 0], "level": 3}]
    given = PrepareConfig.model_validate({"source": source(tmp_path, rows), "columns": {"keep": "all"}})
    prepare.ranked(given, prompts=tmp_path / "prompts", ranked=tmp_path / "ranked")
    assert kept(tmp_path / "prompts") == {"p0": {"level": 3}}


@pytest.mark.parametrize(
    "settings",
    [
        ['rerank.reranker={ type = "function", target = "r.py:f" }'],
        ['evaluate.judge={ type = "function", target = "r.py:f" }'],
        [
            'rerank.reranker={ type = "ensemble", members = [{ reranker = { type = "verifier" } },'
            ' { reranker = { type = "function", target = "r.py:f" } }] }',
            'evaluate.reranker={ type = "verifier" }',
        ],
    ],
)
def test_a_run_with_a_function_keeps_all_columns_unless_told_otherwise(settings: list[str]) -> None:
    def loaded(*more: str) -> LarpoConfig:
        return load_config(None, ["policy=p", "prepare.source=s", "prepare.heldout=1", *settings, *more])

    assert loaded().prepare.columns.keep == "all"
    assert load_section("prepare", None, ["prepare.source=s", *settings]).columns.keep == "all"
    assert loaded('prepare.columns.keep=["level"]').prepare.columns.keep == ("level",)
    assert loaded("prepare.columns.prompt=q").prepare.columns.keep == "all"
    settings.clear()
    assert loaded().prepare.columns.keep == ()


def _ranked(tmp_path: Path, body: str, keep: Any = "all", name: str = "ranked") -> dict[str, Any]:
    """Rewards by the response's text, of two responses to each prompt."""
    prompts = tmp_path / f"{name}-prompts"
    prepare.run(config(tmp_path, keep), prompts=prompts)
    rows = [
        candidate(row["prompt_id"], text, i)
        for row in read_table(prompts, "prompts")
        for i, text in enumerate([row["messages"][-1]["content"], row["messages"][-1]["content"] + "!"])
    ]
    candidates = with_table(tmp_path / f"{name}-candidates", "candidates", rows)
    (tmp_path / "r.py").write_text(body)
    reranker = FunctionRerankerConfig(target=f"{tmp_path}/r.py:f")
    rerank.run(RerankConfig(reranker=reranker), prompts=prompts, candidates=[candidates], ranked=tmp_path / name)
    return {row["response"]: row["reward"] for row in read_table(tmp_path / name, "ranked")}


def test_a_function_is_given_the_columns_of_each_response(tmp_path: Path) -> None:
    body = """
def f(responses, level, weight):
    return [len(text) + share * (number or 0) for text, number, share in zip(responses, level, weight)]
"""
    assert _ranked(tmp_path, body) == {"p0": 3.0, "p0!": 4.0, "p1": 3.0, "p1!": 4.0, "p2": 2.0, "p2!": 3.0}
    trl = "def f(responses, answer=None): return [text in f'p{a}' for text, a in zip(responses, answer)]"
    assert _ranked(tmp_path, trl, name="trl") == {"p0": 1.0, "p0!": 0.0, "p1": 1.0, "p1!": 0.0, "p2": 1.0, "p2!": 0.0}
    every = "def f(responses, **rest):\n    assert {'level', 'tags', 'about', 'weight'} <= {*rest}\n"
    assert set(_ranked(tmp_path, every + "    return [1] * len(responses)", name="every").values()) == {1.0}


def test_a_column_that_is_not_kept_is_told_before_any_work(tmp_path: Path) -> None:
    body = "def f(responses, level, **rest): raise AssertionError"
    told = r"r-prompts, field 'level': the reward needs it, but these prompts keep only weight\."
    with pytest.raises(DataError, match=told):
        _ranked(tmp_path, body, keep=["weight"], name="r")
    with pytest.raises(DataError, match=r"these prompts keep no columns\. Name the column in prepare\.columns\.keep"):
        _ranked(tmp_path, body, keep=[], name="s")
    optional = "def f(responses, level=None): return [level is None] * len(responses)"
    assert set(_ranked(tmp_path, optional, keep=[], name="t").values()) == {1.0}
