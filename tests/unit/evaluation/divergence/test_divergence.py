"""How far a policy has moved, against what its and the baseline's own forward passes say."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from larpo_lib.config import EvaluateConfig
from larpo_lib.errors import ArtifactError
from larpo_lib.evaluation.divergence.settings import DivergenceConfig
from larpo_lib.evaluation.divergence.step import run
from larpo_lib.evaluation.retrieval.settings import RetrievalConfig
from larpo_lib.evaluation.retrieval.step import run as retrieval
from larpo_lib.playground.policy import make_policy
from larpo_lib.playground.problems import vocabulary
from larpo_lib.reporting.benchmark import read_values
from larpo_lib.steps import evaluate
from larpo_lib.steps.judgements import read_judgement
from larpo_lib.tables import read_table

CONFIG = DivergenceConfig.model_validate({"model": {"device": "cpu"}, "resamples": 20})


def _evaluated(policy: Path, prompts: Path, artifact: Path, **settings: Any) -> Path:
    sampler = {"type": "hf", "model": {"device": "cpu"}}
    judge = {"type": "verifier", "mode": "graded"}
    given = {"sampler": sampler, "n": 3, "max_new_tokens": 8, "resamples": 10, "reranker": judge, **settings}
    evaluate.run(EvaluateConfig.model_validate(given), policy=policy, prompts=prompts, evaluation=artifact)
    return artifact


@pytest.fixture(scope="module")
def evaluated(tiny_policy: Path, tiny_prompts: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _evaluated(tiny_policy, tiny_prompts, tmp_path_factory.mktemp("divergence") / "evaluated")


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("divergence") / "other"
    make_policy(directory, vocabulary(), 1, hidden=32, layers=2, heads=2)
    return directory


def _logp(policy: Path, messages: list[dict[str, str]], response: list[int]) -> float:
    tokenizer = AutoTokenizer.from_pretrained(policy)
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    prompt = tokenizer(text, add_special_tokens=False)["input_ids"]
    ids = torch.tensor([prompt + response])
    with torch.no_grad():
        logps = AutoModelForCausalLM.from_pretrained(policy).eval()(ids).logits.log_softmax(-1)
    return float(logps[0, len(prompt) - 1 : -1].gather(-1, ids[0, len(prompt) :, None]).sum())


def test_it_is_the_mean_log_ratio_of_the_models_own_forward(
    tiny_policy: Path, other: Path, tiny_prompts: Path, evaluated: Path, tmp_path: Path
) -> None:
    given = {"policy": tiny_policy, "baseline": other, "prompts": tiny_prompts, "evaluated": evaluated}
    metrics = run(CONFIG, **given, evaluation=tmp_path / "out")
    asked = {row["prompt_id"]: row["messages"] for row in read_table(tiny_prompts, "prompts")}
    values = read_values(tmp_path / "out")
    first, *_ = sorted(asked)
    sampled = [
        row["token_ids"]
        for row in read_table(evaluated, "evaluated")
        if row["prompt_id"] == first and row["temperature"]
    ]
    moved = [_logp(tiny_policy, asked[first], ids) - _logp(other, asked[first], ids) for ids in sampled]
    assert values["kl"][first] == pytest.approx(sum(moved) / 3, abs=1e-4)
    by_token = [each / len(ids) for each, ids in zip(moved, sampled, strict=True)]
    assert values["kl_per_token"][first] == pytest.approx(sum(by_token) / 3, abs=1e-5)
    assert values["tokens"][first] == pytest.approx(sum(map(len, sampled)) / 3)
    assert metrics["kl"] == pytest.approx(sum(values["kl"].values()) / len(asked))
    assert metrics["responses"] == 3 * len(asked)
    sampling = {"temperature": 1.0, "top_p": 1.0, "max_new_tokens": 8, "n": 3}
    assert read_judgement(tmp_path / "out").sampling == sampling
    assert metrics["too_long_to_score_dropped"] == 0
    assert json.loads((tmp_path / "out" / "report.json").read_text())["caveats"] == []


def test_responses_that_the_reward_model_could_not_score_are_counted(
    tiny_policy: Path, other: Path, tiny_prompts: Path, tiny_classifier: Path, tmp_path: Path
) -> None:
    """10 prompts have 3 sampled and 1 greedy response each; what is not in the evaluation was too long for it."""
    reranker = {"type": "classifier", "path": str(tiny_classifier), "max_tokens": 24, "model": {"device": "cpu"}}
    some = _evaluated(tiny_policy, tiny_prompts, tmp_path / "some", max_new_tokens=24, reranker=reranker)
    rows = read_table(some, "evaluated")
    assert 0 < len(rows) < 40
    given = {"policy": tiny_policy, "baseline": other, "prompts": tiny_prompts, "evaluated": some}
    metrics = run(CONFIG, **given, evaluation=tmp_path / "out")
    assert metrics["too_long_to_score_dropped"] == 40 - len(rows)
    [caveat] = json.loads((tmp_path / "out" / "report.json").read_text())["caveats"]
    assert caveat.startswith(f"{40 - len(rows)} responses, greedy ones included, could not be scored")
    given = {"policy": tiny_policy, "prompts": tiny_prompts, "evaluated": some}
    config = RetrievalConfig.model_validate({"model": {"device": "cpu"}, "resamples": 20})
    assert retrieval(config, **given, evaluation=tmp_path / "r")["too_long_to_score_dropped"] == 40 - len(rows)
    assert caveat[:40] in json.loads((tmp_path / "r" / "report.json").read_text())["caveats"][1]


def test_a_policy_has_not_moved_from_itself(
    tiny_policy: Path, tiny_prompts: Path, evaluated: Path, tmp_path: Path
) -> None:
    given = {"policy": tiny_policy, "baseline": tiny_policy, "prompts": tiny_prompts, "evaluated": evaluated}
    metrics = run(CONFIG, **given, evaluation=tmp_path / "out")
    assert (metrics["kl"], metrics["kl_per_token"]) == (0.0, 0.0)


def test_responses_that_are_not_the_policys_as_it_is_are_refused(
    tiny_policy: Path, other: Path, tiny_prompts: Path, evaluated: Path, tmp_path: Path
) -> None:
    given: dict[str, Any] = {"baseline": tiny_policy, "prompts": tiny_prompts, "evaluation": tmp_path / "out"}
    with pytest.raises(ArtifactError, match="was not made with the policy in"):
        run(CONFIG, policy=other, evaluated=evaluated, **given)
    for number, settings in enumerate(({"temperature": 0.8}, {"top_p": 0.9})):
        cold = _evaluated(tiny_policy, tiny_prompts, tmp_path / str(number), **settings)
        with pytest.raises(ArtifactError, match=r"sampled at temperature .* not from the policy as it is"):
            run(CONFIG, policy=tiny_policy, evaluated=cold, **given)
