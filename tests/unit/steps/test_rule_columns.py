"""What rules need of the prompts' rows: kept without being asked for, and checked before anything expensive."""

from pathlib import Path
from typing import Any

import pytest
from tiny_world import write_jsonl

from larpo_lib.config import PrepareConfig, load_section
from larpo_lib.config.kinds import RerankerConfig
from larpo_lib.errors import DataError
from larpo_lib.metadata import kept_columns
from larpo_lib.rewards.references import require_references
from larpo_lib.rewards.rerankers.ensemble import EnsembleConfig
from larpo_lib.rewards.rerankers.ifeval import IfevalConfig
from larpo_lib.rewards.rerankers.regex import RegexConfig
from larpo_lib.steps import prepare

GOOD = {"instruction_id_list": ["punctuation:no_comma"], "kwargs": [{"n": None}], "form": "a+", "other": 1}


def _keep(*settings: str) -> Any:
    return load_section("prepare", None, ["prepare.source=p.jsonl", *settings]).columns.keep


def test_the_columns_of_rules_are_kept_without_being_asked_for() -> None:
    ifeval = 'rerank.reranker={ type = "ifeval" }'
    regex = 'evaluate.reranker={ type = "regex", pattern_column = "form" }'
    assert _keep() == ()
    assert _keep(ifeval) == ("instruction_id_list", "kwargs")
    assert _keep(ifeval, regex) == ("form", "instruction_id_list", "kwargs")
    members = '{ reranker = { type = "ifeval" } }, { reranker = { type = "regex", pattern_column = "form" } }'
    assert _keep(f'rerank.reranker={{ type = "ensemble", members = [{members}] }}') == (
        "form",
        "instruction_id_list",
        "kwargs",
    )
    assert _keep(ifeval, 'evaluate.judge={ type = "function", target = "a.py:b" }') == "all"
    assert _keep(ifeval, 'prepare.columns.keep=["kwargs"]') == ("kwargs",)
    assert _keep('rerank.reranker={ type = "regex", pattern = "a" }') == ()


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    bad = [{"instruction_id_list": ["no_comma"], "kwargs": [{}]}, {"form": "("}, {"form": None}]
    rows = [{"prompt": f"question {i}", **GOOD, **other} for i, other in enumerate([{}, *bad])]
    write_jsonl(tmp_path / "p.jsonl", rows)
    columns = {"keep": ["instruction_id_list", "kwargs", "form"]}
    made = tmp_path / "prompts"
    prepare.run(PrepareConfig.model_validate({"source": str(tmp_path / "p.jsonl"), "columns": columns}), prompts=made)
    assert kept_columns(made) == columns["keep"]
    return made


@pytest.mark.parametrize(
    ("config", "told"),
    [
        (
            IfevalConfig(),
            r"row \d, field 'instruction_id_list': prompt \w+ has the instruction 'no_comma', which is none",
        ),
        (RegexConfig(pattern_column="form"), r"row \d, field 'form': prompt \w+ (has '\(', which is|holds nothing)"),
        (RegexConfig(pattern_column="none"), "field 'none': the reward needs it, but these prompts keep only"),
        (
            EnsembleConfig.model_validate(
                {"members": [{"reranker": {"type": "length", "longest": 3}}, {"reranker": {"type": "ifeval"}}]}
            ),
            "has the instruction 'no_comma'",
        ),
    ],
)
def test_a_row_that_a_rule_cannot_use_is_named(config: RerankerConfig, told: str, prompts: Path) -> None:
    with pytest.raises(DataError, match=told):
        require_references(prompts, config)


def test_only_rows_that_matter_are_checked(prompts: Path) -> None:
    require_references(prompts, IfevalConfig(), among=set())
