from __future__ import annotations

from typing import Any

import pytest

from larpo_lib.checks import check_settings
from larpo_lib.config import LarpoConfig
from larpo_lib.errors import ConfigError

CLASSIFIER = {"type": "classifier", "path": "rm"}
SERVER = {"type": "http", "api": "tei_rerank", "base_url": "http://localhost:1"}


def _config(objective: dict[str, Any] | None = None, **tables: Any) -> LarpoConfig:
    tree: dict[str, Any] = {
        "policy": "policy",
        "prepare": {"source": "prompts.jsonl", "heldout": 2},
        "evaluate": {"reranker": {"type": "verifier"}},
        "train": {"objective": {"type": "lipo_lambda", **(objective or {})}},
        **tables,
    }
    return LarpoConfig.model_validate(tree)


@pytest.mark.parametrize(
    ("tables", "told"),
    [
        ({"rerank": {"reranker": CLASSIFIER}}, "the scores of 'classifier' are unbounded"),
        ({"rerank": {"reranker": {"type": "pairrm", "path": "rm"}}}, "the scores of 'pairrm' are unbounded"),
        (
            {"rerank": {"reranker": {"type": "ensemble", "members": [{"reranker": {"type": "verifier"}}] * 2}}},
            "the scores of 'ensemble' are unbounded",
        ),
        ({"rerank": {"length_penalty": 0.01}}, "rerank.length_penalty makes rewards negative"),
        ({"rerank": {"reranker": {"type": "verifier", "answer_weight": 2.0}}}, "weights add up to 2.4"),
        ({"lists": {"negatives": {"kind": "random"}}}, "'random' negatives are scored below the worst response"),
    ],
)
@pytest.mark.parametrize("kind", ["lipo_lambda", "lambdaloss", "approx_ndcg", "neural_ndcg"])
def test_rewards_that_leave_0_to_1_are_refused_as_gains(kind: str, tables: dict[str, Any], told: str) -> None:
    remedy = r"train\.objective\.rewards to minmax or win_rate.*lambdarank"
    with pytest.raises(ConfigError, match=rf"{kind} needs rewards from 0 to 1, but .*{told}.*{remedy}"):
        check_settings(_config({"type": kind}, **tables))
    for rewards in ("minmax", "win_rate"):
        check_settings(_config({"type": kind, "rewards": rewards}, **tables))
    check_settings(_config({"type": "lambdarank"}, **tables))


@pytest.mark.parametrize(
    "tables",
    [
        {},
        {"rerank": {"reranker": {"type": "verifier", "mode": "exact", "answer_weight": 2.0}}},
        {"lists": {"negatives": {"kind": "cold"}}},
        {"rerank": {"reranker": SERVER}},
    ],
)
def test_lipo_lambda_takes_rewards_that_may_lie_between_0_and_1(tables: dict[str, Any]) -> None:
    check_settings(_config(**tables))
