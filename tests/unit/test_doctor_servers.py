"""What doctor says of the servers in a configuration."""

from datetime import date
from pathlib import Path
from typing import Any

import pytest
from server_double import Reply, serve

from larpo_lib.config import LarpoConfig
from larpo_lib.config.load import load_given
from larpo_lib.doctor.configured import checks_of
from larpo_lib.doctor.finding import Finding
from larpo_lib.errors import ConfigError
from larpo_lib.judging import known_judges
from larpo_lib.judging.known_judges import OPENAI, KnownJudge


def _config(url: str, **tables: Any) -> LarpoConfig:
    judge = {"type": "llm_judge", "base_url": f"{url}/v1", "model": "big"}
    tree = {"policy": "policy", "prepare": {"source": "s", "heldout": 2}, "rerank": {"reranker": judge}, **tables}
    return LarpoConfig.model_validate(tree)


def _findings(config: LarpoConfig) -> dict[str, Finding]:
    return {finding.name: finding for check in checks_of(config).values() for finding in check()}


def test_each_server_is_asked_whether_it_serves_the_model() -> None:
    with serve(lambda _: Reply({"data": [{"id": "big"}]})) as server:
        http = {"type": "http", "api": "vllm_score", "base_url": server.url, "served_model": "rm"}
        member = {"reranker": http, "mean": 0.0, "std": 1.0}
        fixed = {"reranker": {"type": "verifier"}, "mean": 0.0, "std": 1.0}
        benchmark = {"judge": {"base_url": f"{server.url}/v1", "model": "big"}}
        evaluate = {"reranker": {"type": "ensemble", "members": [fixed, member]}}
        found = _findings(_config(server.url, evaluate=evaluate, alpaca_eval=benchmark))
    assert {name: finding.ok for name, finding in found.items()} == {
        f"rerank.reranker, {server.url}/v1": True,
        f"evaluate.reranker, {server.url}": False,
        f"alpaca_eval.judge, {server.url}/v1": True,
    }
    refused = found[f"evaluate.reranker, {server.url}"]
    assert refused.detail.endswith("does not serve a model 'rm'")
    assert refused.remedy == "Set served_model to one of big"
    assert not refused.needed


def test_a_file_of_a_benchmark_alone_is_checked(tmp_path: Path) -> None:
    """As the benchmarks' pages show it; a sampler is checked with a policy, which there need not be."""
    file = tmp_path / "judge.toml"
    with serve(lambda _: Reply({"data": [{"id": "big"}]})) as server:
        file.write_text(f'[alpaca_eval]\njudge = {{ base_url = "{server.url}/v1", model = "big" }}\n')
        assert {name: one.ok for name, one in _findings(load_given(file)).items()} == {
            f"alpaca_eval.judge, {server.url}/v1": True
        }
        sampler = [
            f'sample.sampler={{type="openai", served_model="big", base_url="{server.url}/v1"}}',
            "evaluate.sampler.type=hf",
        ]
        unchecked = _findings(load_given(file, sampler))[f"sample.sampler, {server.url}/v1"]
    assert (unchecked.ok, unchecked.remedy) == (False, "Add policy to the file")
    with pytest.raises(ConfigError, match=r"unknown setting 'alpaca_eva'"):
        load_given(None, ["alpaca_eva.protocol=x"])


def test_a_server_that_is_away_or_wants_a_key_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with serve(lambda _: Reply({"error": {"message": "no key"}}, status=401)) as server:
        (refused,) = _findings(_config(server.url, evaluate={"reranker": {"type": "verifier"}})).values()
        assert "answered 401: no key" in refused.detail
        monkeypatch.delenv("JUDGE_KEY", raising=False)
        keyed = {"type": "llm_judge", "base_url": server.url, "model": "big", "api_key_env": "JUDGE_KEY"}
        rerank = {"rerank": {"reranker": keyed}, "evaluate": {"reranker": {"type": "verifier"}}}
        (unset,) = _findings(_config(server.url, **rerank)).values()
        assert "JUDGE_KEY" in unset.detail
        url = server.url
    (away,) = _findings(_config(url, evaluate={"reranker": {"type": "verifier"}})).values()
    assert not away.ok
    assert url in away.detail


def test_a_judge_that_is_shut_down_is_told_without_asking_and_a_day_to_come_beside_the_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gone, leaving = KnownJudge(("gone",), "", "https://s", OPENAI, date(2000, 1, 1)), date(2999, 1, 1)
    monkeypatch.setattr(known_judges, "JUDGES", [gone, KnownJudge(("big",), "", "https://s", OPENAI, leaving)])
    with serve(lambda _: Reply({"data": [{"id": "big"}]})) as server:
        monkeypatch.setitem(known_judges._HOSTS, OPENAI, "127.0.0.1")
        benchmark = {"judge": {"base_url": server.url, "model": "gone"}}
        plain = {"reranker": {"type": "verifier"}}
        ranking, judging = _findings(_config(server.url, evaluate=plain, mixeval=benchmark)).values()
        assert len(server.asked) == 1
    assert (ranking.ok, ranking.detail) == (True, "answers; OpenAI shuts it down on 2999-01-01 (https://s)")
    assert (judging.ok, judging.detail) == (
        False,
        "the judge gone cannot be asked: OpenAI shut it down on 2000-01-01 (https://s)",
    )
    assert judging.remedy.startswith("Name another judge")


def test_without_servers_there_is_nothing_to_ask() -> None:
    plain = {"type": "verifier"}
    assert not checks_of(_config("http://x", rerank={"reranker": plain}, evaluate={"reranker": plain}))
