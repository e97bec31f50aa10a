"""The gate asks for a watch: what it reads of an evaluation, and that only one and the same watch is compared."""

import json
from pathlib import Path
from typing import Any

import pytest
from promotions import PROMPTS, row

from larpo_lib.artifacts import Metrics, WorkDir, produce
from larpo_lib.config import EvaluateConfig, PromoteConfig
from larpo_lib.errors import ConfigError
from larpo_lib.steps import promote, watching
from larpo_lib.steps.gate import Decision, Opponent, decide_by_all
from larpo_lib.steps.judgements import Judgement, by_name, kept_judgement, read_judgement, read_whole_judgement
from larpo_lib.tables import Row, write_table

GATE = PromoteConfig.model_validate(
    {
        "must_improve": [{"metric": "evaluate.reward"}],
        "must_not_lose": [{"metric": "evaluate.watch_rules", "margin": 0.2}],
    }
)
LENGTH = {"type": "length", "longest": 30}
OTHER = {"name": "other", "reranker": {"type": "regex", "pattern": "x"}}


def watched(prompt: str, reward: float, reranker: str, temperature: float = 1.0, watch: str = "rules") -> Row:
    return {"watch": watch, "prompt_id": prompt, "sample_index": 0, "temperature": temperature, "reranker": reranker,
            "reward": reward}  # fmt: skip


def evaluation(
    folder: Path, reward: float, rows: list[Row], reranker: dict[str, Any] = LENGTH, *before: dict[str, Any]
) -> Path:
    """An artifact whose settings have the watches `before`, and then "rules", with rows of `watched`."""
    config = EvaluateConfig.model_validate({"watch": [*before, {"name": "rules", "reranker": reranker}]})

    def make(work: WorkDir) -> Metrics:
        write_table(work.data / "evaluated.parquet", "evaluated", [row(prompt, reward) for prompt in PROMPTS])
        write_table(work.data / "watched.parquet", "watched", rows)
        return {}

    produce("evaluate", config, watching.models(config), folder, make)
    return folder


def rules(value: float, reranker: str = "length") -> list[Row]:
    """Each prompt has the mean `value`, of two responses; the greedy one does not count, nor does another watch."""
    return [
        one
        for prompt in reversed(PROMPTS)
        for one in (
            watched(prompt, value - 0.25, reranker),
            watched(prompt, value + 0.25, reranker),
            watched(prompt, 9.0, reranker, temperature=0.0),
            watched(prompt, 7.0, "regex", watch="other"),
        )
    ]


def read(
    folder: Path, reward: float, value: float, reranker: dict[str, Any] = LENGTH, name: str = "length"
) -> Judgement:
    return read_whole_judgement(evaluation(folder, reward, rules(value, name), reranker, OTHER))


def decided(new: Judgement, old: Judgement) -> Decision:
    kept = kept_judgement(json.loads(json.dumps(old.to_json())))  # as the registry has it
    assert kept == old
    return decide_by_all(GATE, by_name([new]), Opponent("version 3", kept))


@pytest.mark.parametrize(("reranker", "characters"), [({}, 3.0), ({"thinking": "keep"}, 22.0)])
def test_lengths_are_of_what_the_reward_is_of(tmp_path: Path, reranker: dict[str, Any], characters: float) -> None:
    """`<think>`, `</think>` and the thought are 19 characters, the reply is 3."""
    settings = {"reranker": {**LENGTH, **reranker}}

    def make(work: WorkDir) -> Metrics:
        rows = [{**row(prompt, 0.5), "response": "<think>abcd</think>yes"} for prompt in PROMPTS]
        write_table(work.data / "evaluated.parquet", "evaluated", rows)
        return {}

    produce("evaluate", EvaluateConfig.model_validate(settings), {}, tmp_path / "evaluation", make)
    assert read_whole_judgement(tmp_path / "evaluation").values["length"] == dict.fromkeys(PROMPTS, characters)


def test_the_values_of_a_watch_are_means_over_sampled_responses_by_prompt(tmp_path: Path) -> None:
    found = read(tmp_path / "evaluation", 0.5, 0.75)
    assert found.values["watch_rules"] == dict.fromkeys(PROMPTS, 0.75)
    assert found.values["watch_other"] == dict.fromkeys(PROMPTS, 7.0)
    assert (found.watched["watch_rules"]["reranker"], found.watched["watch_other"]["reranker"]) == ("length", "regex")
    assert found.watched["watch_rules"]["settings"]["longest"] == 30
    assert set(read_judgement(tmp_path / "evaluation").values) == {"reward"}


def test_a_better_reward_is_promoted_only_if_the_watch_is_no_worse(tmp_path: Path) -> None:
    old = read(tmp_path / "old", 0.5, 0.75)
    kept = decided(read(tmp_path / "kept", 1.0, 0.625), old)
    assert kept.promoted
    assert "no worse in evaluate.watch_rules (-0.125 [-0.1" in kept.reason
    assert kept.reason.endswith("], allowed: -0.2)")
    lost = decided(read(tmp_path / "lost", 1.0, 0.25), old)
    assert not lost.promoted
    assert lost.reason.startswith(
        "evaluate.watch_rules is worse by 0.5, where less than 0.2 is allowed: 0.25 against 0.75 of version 3, "
    )


def test_prompts_are_paired_by_their_ids(tmp_path: Path) -> None:
    rising = [watched(prompt, float(place), "length") for place, prompt in enumerate(PROMPTS)]
    new, old = evaluation(tmp_path / "new", 1.0, rising), evaluation(tmp_path / "old", 0.5, rising[::-1])
    test = decided(read_whole_judgement(new), read_whole_judgement(old)).tests[1]
    assert (test.gain, test.low) == (0.0, pytest.approx(-19 * (1 - 0.05 ** (1 / 20)), abs=0.3))  # no prompt changed
    fewer = evaluation(tmp_path / "fewer", 0.5, rising[1:])
    found = decided(read_whole_judgement(new), read_whole_judgement(fewer)).tests[1]
    assert found.obstacle == "it was evaluated on different prompts (19 of 20 in common)"


def function(root: Path, folder: str, code: str = "") -> dict[str, Any]:
    (root / folder / "rules.py").write_text(
        f"def check(responses):\n    return [0.0 for _ in responses]{code}\n", "utf-8"
    )
    return {"type": "function", "target": f"{root / folder}/rules.py:check"}


def model(root: Path, folder: str, weights: str) -> dict[str, Any]:
    (root / folder / "rm").mkdir(parents=True)
    (root / folder / "rm" / "model.safetensors").write_text(weights)
    return {"type": "classifier", "path": str(root / folder / "rm")}


def test_watches_of_one_name_with_other_rerankers_are_not_compared(tmp_path: Path) -> None:
    new = read(tmp_path / "new", 1.0, 0.75, name="length 30")
    old = read(tmp_path / "old", 0.5, 0.75, {"type": "length", "longest": 5}, "length 5")
    found = decided(new, old)
    assert not found.promoted
    assert found.reason == (
        "evaluate.watch_rules cannot be compared with version 3: its watch_rules comes from length 5, not from "
        "length 30 (longest 5 instead of 30)"
    )
    assert found.tests[0].passed
    unwatched = Judgement("verifier", {"reward": dict.fromkeys(PROMPTS, 0.5)})
    assert "its evaluation has no watch_rules" in decided(new, unwatched).reason


def test_what_a_watch_is_made_of_is_compared_by_its_content_wherever_it_lies(tmp_path: Path) -> None:
    """The names of the rerankers are the same, as two models in folders of one name have."""

    def ensemble(folder: str, weights: str, code: str = "") -> dict[str, Any]:
        parts = model(tmp_path, folder, weights), function(tmp_path, folder, code)
        return {"type": "ensemble", "members": [{"reranker": one, "mean": 0.0, "std": 1.0} for one in parts]}

    def judgement(folder: str, reward: float, *content: str) -> Judgement:
        return read(tmp_path / f"{folder}-evaluation", reward, 0.75, ensemble(folder, *content), "one name")

    new = judgement("new", 1.0, "x")
    assert decided(new, judgement("moved", 0.5, "x")).promoted
    for folder, content, what in (
        ("other model", ("y",), "content.reranker_0"),
        ("other function", ("x", "  # other"), "content.reranker.members.1.reranker"),
    ):
        found = decided(new, judgement(folder, 0.5, *content)).tests[1].obstacle
        assert found is not None
        assert found.startswith(f"its watch_rules comes from another one name ({what} ")


def test_a_missing_watch_is_told_before_anything_is_registered(tmp_path: Path) -> None:
    gate = PromoteConfig.model_validate({"must_improve": [{"metric": "evaluate.watch_judge"}]})
    made = evaluation(tmp_path / "evaluation", 0.5, rules(0.5), LENGTH, OTHER)
    with pytest.raises(
        ConfigError, match=r"has no watch_judge.*, evaluate\.watch_rules, or add it to evaluate\.watch and"
    ):
        promote._require_metrics(gate, by_name([read_whole_judgement(made)]), made)
