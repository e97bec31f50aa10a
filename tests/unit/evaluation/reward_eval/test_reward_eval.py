import json
from pathlib import Path
from typing import Any

import pytest
from judge_double import judging, longer
from tiny_pairrm import make_pairrm
from tiny_world import Larpo

from larpo_lib.artifacts import digest
from larpo_lib.config.load import check
from larpo_lib.errors import ConfigError, LarpoError
from larpo_lib.evaluation.judge_check import step as judge_check
from larpo_lib.evaluation.judge_check.settings import JudgeCheckConfig
from larpo_lib.evaluation.reward_eval.settings import RewardEvalConfig
from larpo_lib.evaluation.reward_eval.step import run
from larpo_lib.playground.policy import make_policy
from larpo_lib.playground.problems import vocabulary
from larpo_lib.steps.judgements import read_judgement
from larpo_lib.tables import read_table


@pytest.fixture(scope="module")
def other_policy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("other") / "policy"
    make_policy(directory, vocabulary(), 1, hidden=32, layers=2, heads=2)
    return directory


def settings(reranker: dict[str, Any], **changes: Any) -> RewardEvalConfig:
    answers = {"sampler": {"type": "hf", "model": {"device": "cpu"}}, "max_new_tokens": 12, "temperature": 1.0}
    return check(
        RewardEvalConfig,
        {
            "answers": answers,
            "reranker": reranker if reranker["type"] == "verifier" else {**reranker, "model": {"device": "cpu"}},
            "resamples": 50,
            **changes,
        },
    )


def test_rewards_decide_and_both_responses_are_kept(
    tiny_policy: Path, other_policy: Path, tiny_prompts: Path, tiny_classifier: Path, tmp_path: Path
) -> None:
    config = settings({"type": "classifier", "path": str(tiny_classifier)}, limit=8, part_prompts=3)
    given: dict[str, Any] = {"policy": tiny_policy, "baseline": other_policy, "prompts": tiny_prompts}
    metrics = run(config, **given, evaluation=tmp_path / "out")
    rows = read_table(tmp_path / "out", "ranked")
    sides: dict[str, dict[str, float]] = {}
    for row in rows:
        sides.setdefault(row["prompt_id"], {})[row["policy"]] = row["reward"]
    own, other = digest(tiny_policy)[:16], digest(other_policy)[:16]
    wins = sum(found[own] > found[other] for found in sides.values())
    assert (metrics["prompts"], metrics["compared"], metrics["over_limit_dropped"]) == (8, 8, 2)
    assert metrics["equal_responses"] == 0
    assert metrics["wins"] == wins
    assert metrics["win_rate"] == pytest.approx(100 * wins / 8)
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["judged_by"] == f"classifier-classifier ({digest(tiny_classifier)[:8]})"
    assert report["version"] == f"against {other}"
    gave = read_judgement(tmp_path / "out").watched["reward"]
    assert gave["settings"]["max_tokens"] == config.reranker.max_tokens  # type: ignore[union-attr]
    assert gave["settings"]["content"] == {"reranker": digest(tiny_classifier)}
    # Sides changed, the win rate is the rest of 100, part by part or not.
    swapped = run(
        settings({"type": "classifier", "path": str(tiny_classifier)}, limit=8),
        policy=other_policy, baseline=tiny_policy, prompts=tiny_prompts, evaluation=tmp_path / "swapped",
    )  # fmt: skip
    assert swapped["win_rate"] == pytest.approx(100 - metrics["win_rate"])
    assert swapped["lc_win_rate"] == pytest.approx(100 - metrics["lc_win_rate"], abs=1e-6)


def test_a_list_relative_reward_model_gets_both_responses_as_one_list(
    tiny_policy: Path, other_policy: Path, tiny_prompts: Path, tmp_path: Path
) -> None:
    path = make_pairrm(tmp_path / "pairrm")
    config = settings({"type": "pairrm", "path": str(path), "max_source_tokens": 8, "max_response_tokens": 12}, limit=4)
    metrics = run(
        config, policy=tiny_policy, baseline=other_policy, prompts=tiny_prompts, evaluation=tmp_path / "out"
    )  # fmt: skip
    assert metrics["wins"] + metrics["ties"] + metrics["losses"] == 4
    assert "reward" not in metrics
    rows = read_table(tmp_path / "out", "ranked")
    assert all(row["list_relative"] for row in rows)
    for prompt in {row["prompt_id"] for row in rows}:  # PairRM's scores of a list of two add up to nothing or mirror
        assert sorted(row["rank"] for row in rows if row["prompt_id"] == prompt) in ([1, 2], [1, 1])


def test_a_policy_against_itself_is_a_tie(
    tiny_policy: Path, tiny_prompts: Path, tiny_classifier: Path, tmp_path: Path
) -> None:
    config = settings({"type": "classifier", "path": str(tiny_classifier)}, limit=3)
    metrics = run(config, policy=tiny_policy, baseline=tiny_policy, prompts=tiny_prompts, evaluation=tmp_path / "out")
    assert (metrics["win_rate"], metrics["lc_win_rate"]) == (50.0, 50.0)
    assert not {"win_rate_low", "lc_win_rate_low", "lc_win_rate_standard_error"} & metrics.keys()
    assert (metrics["ties"], metrics["equal_responses"]) == (3, 3)


def test_what_cannot_be_scored_is_counted_and_nothing_left_is_told(
    tiny_policy: Path, other_policy: Path, tiny_prompts: Path, tiny_classifier: Path, tmp_path: Path
) -> None:
    given: dict[str, Any] = {"policy": tiny_policy, "baseline": other_policy, "prompts": tiny_prompts}
    config = settings({"type": "classifier", "path": str(tiny_classifier), "max_tokens": 4})
    with pytest.raises(LarpoError, match="no prompt has two scored responses"):
        run(config, **given, evaluation=tmp_path / "out")


def test_a_server_cannot_serve_two_policies(tiny_policy: Path, tiny_prompts: Path, tmp_path: Path) -> None:
    config = RewardEvalConfig.model_validate(
        {"answers": {"sampler": {"type": "openai", "base_url": "http://localhost:1/v1", "served_model": "m"}}}
    )
    with pytest.raises(ConfigError, match="serves only one policy, but two are compared"):
        run(config, policy=tiny_policy, baseline=tiny_policy, prompts=tiny_prompts, evaluation=tmp_path / "out")


def test_the_command(here: Path, larpo: Larpo) -> None:
    outcome = larpo(
        "reward-eval", "--policy", "policy", "--baseline", "policy", "--prompts", "heldout", "--evaluation", "out",
        *("--config", "larpo.toml"), *("-s", "reward_eval.answers.max_new_tokens=8"),
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    assert "judged by verifier" in outcome.err
    assert json.loads(outcome.out)["win_rate"] == 50.0


def test_a_language_models_check_is_told_beside_its_win_rate(
    tiny_policy: Path, other_policy: Path, tiny_prompts: Path, tmp_path: Path
) -> None:
    row = {"instruction": "a", "output_1": "1", "output_2": "2", "preference": 1, "annotator": "people"}
    (tmp_path / "people.json").write_text(json.dumps([row]))
    given: dict[str, Any] = {"policy": tiny_policy, "baseline": other_policy, "prompts": tiny_prompts}
    for judge in ("big", "small"):
        checked = JudgeCheckConfig(judged_by=f"{judge} by x", resamples=5)
        files = {"reference": [tmp_path / "people.json"], "judged": [tmp_path / "people.json"]}
        judge_check.run(checked, **files, evaluation=tmp_path / judge)
    with judging(longer) as server:
        config = settings({"type": "verifier"}, limit=2)
        config = config.model_copy(update={"reranker": server.config(tmp_path / "kept", mode="pairwise")})
        with pytest.raises(ConfigError, match="small is a check of small by x, but the judge here is big"):
            run(config, **given, evaluation=tmp_path / "out", judge_check=tmp_path / "small")
        run(config, **given, evaluation=tmp_path / "out", judge_check=tmp_path / "big")
    summary = (tmp_path / "out" / "summary.txt").read_text()
    assert "this judge, asked by x, on 1 pairs that people annotated: Agreement 1.000 [1.000, 1.000]" in summary
