"""lm-eval's back end `vllm` on a policy of larpo's."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tiny_world import files, write_jsonl

from larpo_lib.evaluation.lm_eval.settings import LmEvalConfig
from larpo_lib.evaluation.lm_eval.step import run

MODEL = {"device": "cpu", "stop_tokens": ["more"]}
SAMPLERS: dict[str, dict[str, Any]] = {
    "hf": {"type": "hf", "batch_size": 2, "model": MODEL},
    "vllm": {"type": "vllm", "enforce_eager": True, "model": MODEL},
}
DRAWN = {"max_gen_toks": 8, "do_sample": True, "temperature": 1.0}


def write_data(root: Path) -> Path:
    sums = [{"question": f"What is {i} + 2 ?", "answer": f"#### {i + 2}"} for i in range(6)]
    choices = {"choices": ["Ann has 2 pens .", "Ben", "Eva has coins"], "labels": [1, 0, 0]}
    truths = [{"question": f"How many pens ? {i}", "mc1_targets": choices, "mc2_targets": choices} for i in range(3)]
    for place, rows in {
        "openai/gsm8k/main/test": sums,
        "openai/gsm8k/main/train": sums,
        "truthfulqa/truthful_qa/multiple_choice/validation": truths,
    }.items():
        path = root / f"{place}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_jsonl(path, rows)
    return root


def read(evaluation: Path, task: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (evaluation / "samples" / f"{task}.jsonl").read_text("utf-8").splitlines()]


def evaluated(kind: str, policy: Path, data: Path, out: Path, **changes: Any) -> Path:
    given = {"tasks": ("gsm8k", "truthfulqa_mc1"), "examples": 0, "gen_kwargs": {"max_gen_toks": 8}, "resamples": 10}
    settings = LmEvalConfig.model_validate({**given, "sampler": SAMPLERS[kind], **changes})
    run(settings, policy=policy, data=data, evaluation=out)
    return out


def test_both_back_ends_say_the_same(model_directory: Callable[[str], Path], tmp_path: Path) -> None:
    """The same prompts, the same greedy responses, ended by the same tokens, and the same log-probabilities."""
    policy, data = model_directory("llama"), write_data(tmp_path / "data")
    both = [evaluated(kind, policy, data, tmp_path / kind) for kind in SAMPLERS]
    for hf, vllm in zip(*(read(out, "gsm8k") for out in both), strict=True):
        assert hf["arguments"] == vllm["arguments"]
        # vLLM tells a word behind a prompt with the space between them.
        assert hf["resps"][0][0].strip() == vllm["resps"][0][0].strip()
    for hf, vllm in zip(*(read(out, "truthfulqa_mc1") for out in both), strict=True):
        ours, theirs = ([choice[0][0] for choice in sample["resps"]] for sample in (vllm, hf))
        assert ours == pytest.approx(theirs, abs=2e-3)
    responses = {sample["resps"][0][0] for sample in read(both[0], "gsm8k")}
    assert len(responses) > 1
    assert (
        min(len(text.split()) for text in responses) < 8
    )  # a token that is none of the tokenizer's specials ends some
    assert not any("more" in text for text in responses)


def test_sampled_responses_do_not_depend_on_where_a_run_was_stopped(
    model_directory: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lm_eval.models.vllm_causallms import VLLM

    monkeypatch.setattr("larpo_lib.evaluation.lm_eval.policy._REQUESTS", 4)
    policy, data, whole, calls = model_directory("llama"), write_data(tmp_path / "data"), VLLM.generate_until, []
    sampled: dict[str, Any] = {"tasks": ("gsm8k",), "gen_kwargs": DRAWN}
    evaluated("vllm", policy, data, tmp_path / "a", **sampled)

    def stopped(*args: Any, **more: Any) -> Any:
        calls.append(args)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return whole(*args, **more)

    with monkeypatch.context() as patch:
        patch.setattr(VLLM, "generate_until", stopped)
        with pytest.raises(KeyboardInterrupt):
            evaluated("vllm", policy, data, tmp_path / "b", **sampled)
    evaluated("vllm", policy, data, tmp_path / "b", **sampled)
    assert files(tmp_path / "a") == files(tmp_path / "b")
