from pathlib import Path
from typing import Any

import pytest
from tiny_pairrm import make_pairrm

from larpo_lib.config import LarpoConfig
from larpo_lib.errors import ConfigError, ModelError
from larpo_lib.preflight import check_config

PLAIN = {"device": "cpu"}


def _config(policy: Path, reranker: dict[str, Any], evaluated: dict[str, Any] | None = None) -> LarpoConfig:
    tree: dict[str, Any] = {
        "policy": str(policy),
        "model": PLAIN,
        "prepare": {"source": "prompts.jsonl", "heldout": 2},
        "rerank": {"reranker": reranker},
        "evaluate": {"reranker": evaluated or {"type": "verifier"}},
    }
    return LarpoConfig.model_validate(tree)


def _pairrm(path: Path) -> dict[str, Any]:
    return {"type": "pairrm", "path": str(path), "model": PLAIN}


def test_a_pairrm_is_looked_at_before_any_work(tiny_policy: Path, tmp_path: Path) -> None:
    directory = make_pairrm(tmp_path / "pairrm")
    check_config(_config(tiny_policy, _pairrm(directory)))
    with pytest.raises(ModelError, match="is a llama model, but PairRM is a deberta-v2 model"):
        check_config(_config(tiny_policy, _pairrm(tiny_policy)))
    weights = directory / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(ModelError, match="the weights cannot be read"):
        check_config(_config(tiny_policy, _pairrm(directory)))


def test_every_member_of_an_ensemble_is_looked_at(tiny_policy: Path, tmp_path: Path) -> None:
    members = [{"reranker": {"type": "verifier"}}, {"reranker": _pairrm(tmp_path / "nothing")}]
    with pytest.raises(ModelError, match="nothing: is not a model directory"):
        check_config(_config(tiny_policy, {"type": "ensemble", "members": members}))


def test_a_list_relative_reranker_cannot_evaluate(tiny_policy: Path, tmp_path: Path) -> None:
    itself = _pairrm(tmp_path / "nothing")
    with pytest.raises(
        ConfigError, match=r"evaluate\.reranker: the scores of 'pairrm' are only comparable within one list"
    ):
        check_config(_config(tiny_policy, itself, itself))
