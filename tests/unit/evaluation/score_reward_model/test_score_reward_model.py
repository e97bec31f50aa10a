import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import kendalltau
from sklearn.metrics import ndcg_score
from small_models import user
from table_rows import preferences, with_table
from transformers import LlamaForSequenceClassification, PreTrainedTokenizerFast

from larpo_lib.config import ModelConfig, RewardModelConfig
from larpo_lib.config.load import check
from larpo_lib.errors import ConfigError, LarpoError
from larpo_lib.evaluation.score_reward_model.scoring import ScoredList
from larpo_lib.evaluation.score_reward_model.settings import ScoreRewardModelConfig
from larpo_lib.evaluation.score_reward_model.step import run
from larpo_lib.playground.problems import make_problems, no_reasoning, wrong_final_number
from larpo_lib.rewards.rerankers.verifier import VerifierConfig
from larpo_lib.steps import reward_model
from larpo_lib.tables import read_table, write_table
from larpo_lib.training.history import read_history


def _row(text: str, responses: list[str], rewards: list[float]) -> dict[str, Any]:
    return preferences(user(text), responses, rewards)


def _rows(count: int) -> list[dict[str, Any]]:
    rng = random.Random(0)
    return [
        _row(
            problem.question,
            [problem.solution, wrong_final_number(problem, rng), no_reasoning(problem, rng)],
            [1.0, 0.4, 0.1] if i % 3 else [1.0, 0.4, 0.4],
        )
        for i, problem in enumerate(make_problems(count, rng))
    ]


ROWS = _rows(12)


@pytest.fixture
def lists(tmp_path: Path) -> Path:
    return with_table(tmp_path / "lists", "lists", ROWS)


def _config(path: Path, **changes: Any) -> ScoreRewardModelConfig:
    reranker = {"type": "classifier", "path": str(path), "model": {"device": "cpu"}, **changes.pop("reranker", {})}
    return check(ScoreRewardModelConfig, {"reranker": reranker, "resamples": 50, **changes})


def _own_scores(path: Path) -> list[list[float]]:
    model = LlamaForSequenceClassification.from_pretrained(path).eval()
    tokenizer = PreTrainedTokenizerFast.from_pretrained(path)
    scores = []
    for row in ROWS:
        texts = [f"<user>{row['messages'][0]['content']}<assistant>{text}<end>" for text in row["responses"]]
        ids = [tokenizer(text, add_special_tokens=False, return_tensors="pt").input_ids for text in texts]
        scores.append([model(one).logits.item() for one in ids])
    return scores


def test_the_numbers_are_those_of_scipy_and_scikit_learn(tiny_classifier: Path, lists: Path, tmp_path: Path) -> None:
    metrics = run(_config(tiny_classifier, part_prompts=5), lists=lists, evaluation=tmp_path / "out")
    own = _own_scores(tiny_classifier)
    rewards = [row["rewards"] for row in ROWS]
    taus = [kendalltau(scores, given).statistic for scores, given in zip(own, rewards, strict=True)]
    assert metrics["kendall_tau"] == pytest.approx(np.mean(taus))
    gains = [[reward - min(given) for reward in given] for given in rewards]
    ndcgs = [ndcg_score([gain], [scores]) for gain, scores in zip(gains, own, strict=True)]
    assert metrics["ndcg"] == pytest.approx(np.mean(ndcgs))
    first = [given[int(np.argmax(scores))] == max(given) for scores, given in zip(own, rewards, strict=True)]
    assert metrics["best_first"] == pytest.approx(np.mean(first))
    assert (metrics["lists"], metrics["candidates"], metrics["lists_without_preference_dropped"]) == (12, 36, 0)
    ranked = read_table(tmp_path / "out", "ranked")
    scored = {(row["prompt_id"], row["sample_index"]): row["reward"] for row in ranked}
    for row, scores in zip(ROWS, own, strict=True):
        assert [scored[row["prompt_id"], i] for i in range(3)] == pytest.approx(scores, abs=1e-5)
    assert 0 < metrics["pair_accuracy_low"] <= metrics["pair_accuracy"] <= metrics["pair_accuracy_high"] < 1


def test_pair_accuracy_is_what_training_calls_ranking_accuracy(
    tiny_classifier: Path, lists: Path, tmp_path: Path
) -> None:
    """Of the scores before its first step."""
    metrics = run(_config(tiny_classifier), lists=lists, evaluation=tmp_path / "out")
    config = RewardModelConfig(
        model=ModelConfig(device="cpu"), batch_size=12, max_steps=1, max_prompt_tokens=64, max_tokens=128
    )
    reward_model.run(config, policy=tiny_classifier, lists=lists, trained=tmp_path / "trained")
    [row] = read_history(tmp_path / "trained")
    assert metrics["pair_accuracy"] == pytest.approx(row["ranking_accuracy"], abs=1e-6)
    assert metrics["kendall_tau"] == pytest.approx(row["kendall_tau"], abs=1e-6)


def test_equal_scores_count_half_and_have_no_tau() -> None:
    equal = ScoredList([1.0, 1.0, 1.0], [3.0, 2.0, 2.0]).agreement()
    assert (equal["pair_accuracy"], equal["best_first"], equal["kendall_tau"]) == (0.5, 1 / 3, None)
    backwards = ScoredList([1.0, 2.0], [3.0, -2.0]).agreement()
    assert (backwards["pair_accuracy"], backwards["best_first"], backwards["kendall_tau"]) == (0.0, 0.0, -1.0)


def test_responses_that_are_too_long_are_left_out_and_counted(
    tiny_classifier: Path, lists: Path, tmp_path: Path
) -> None:
    long = _row("How many ?", ["1 " * 60, "2 3", "4"], [2.0, 1.0, 0.0])
    lost = _row("How many are ?", ["1 " * 60, "2"], [1.0, 0.0])
    write_table(lists / "lists.parquet", "lists", [long, lost])
    config = _config(tiny_classifier, reranker={"max_tokens": 40})
    metrics = run(config, lists=lists, evaluation=tmp_path / "out")
    assert (metrics["too_long_to_score_dropped"], metrics["lists_without_preference_dropped"]) == (2, 1)
    assert metrics["pair_accuracy"] in (0.0, 1.0)
    write_table(lists / "lists.parquet", "lists", [lost])
    with pytest.raises(LarpoError, match="no list with two different rewards could be scored"):
        run(config, lists=lists, evaluation=tmp_path / "nothing")


def test_a_verifier_has_no_references_here(lists: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"score_reward_model\.reranker: the verifier needs references"):
        run(ScoreRewardModelConfig(reranker=VerifierConfig()), lists=lists, evaluation=tmp_path / "out")


def test_the_command_scores_the_reward_model_that_ranks(
    tiny_classifier: Path, lists: Path, tmp_path: Path, larpo: Any
) -> None:
    config = tmp_path / "larpo.toml"
    config.write_text(
        'policy = "p"\n[prepare]\nsource = "s.jsonl"\n[rerank.reranker]\ntype = "classifier"\nmodel.device = "cpu"\n'
        f'path = "{tiny_classifier}"\n'
    )
    outcome = larpo("score-reward-model", "--lists", lists, "--evaluation", tmp_path / "out", "--config", config)
    assert outcome.code == 0, outcome.err
    assert "Pair accuracy" in outcome.err
    assert 0 < json.loads(outcome.out)["pair_accuracy"] < 1
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["policy"].startswith("classifier-classifier (")
