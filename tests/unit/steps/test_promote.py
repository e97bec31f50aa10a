"""The gate by hand-made evaluations; its registry is a real MLflow database."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import larpo_lib.registry
from larpo_lib.artifacts import produce
from larpo_lib.config import PromoteConfig, Section, TrackingConfig
from larpo_lib.errors import DataError
from larpo_lib.evaluation.report import EvaluationReport
from larpo_lib.registry import Registry
from larpo_lib.reporting.benchmark import write
from larpo_lib.steps import promote
from larpo_lib.steps.promote import Judgement, Opponent, decide, read_judgement
from larpo_lib.tables import write_table
from larpo_lib.tracking import Client, Tracker

PROMPTS = [f"p{number:02d}" for number in range(20)]
CONFIG = PromoteConfig()
Row = dict[str, Any]


def row(prompt: str, reward: float, *, temperature: float = 1.0, correct: bool | None = None, index: int = 0) -> Row:
    return {
        "prompt_id": prompt,
        "candidate_id": f"{prompt}-{index}-{temperature}",
        "iteration": 0,
        "sample_index": index,
        "temperature": temperature,
        "response": "text",
        "finish_reason": "stop",
        "policy": "policy",
        "reranker": "verifier",
        "list_relative": False,
        "reward": reward,
        "rank": 1,
        "correct": correct,
    }


def evaluation(folder: Path, rows: list[Row]) -> Path:
    def make(work: Any) -> dict[str, Any]:
        write_table(work.data / "evaluated.parquet", "evaluated", rows)
        return {}

    produce("evaluate", Section(), {}, folder, make, arguments={"rows": rows})
    return folder


def rewards(folder: Path, reward: float, prompts: list[str] = PROMPTS) -> Path:
    """One sampled response a prompt, its rewards spread evenly around `reward`."""
    spread = [reward + (0.1 if number % 2 else -0.1) for number in range(len(prompts))]
    return evaluation(folder, [row(prompt, value) for prompt, value in zip(prompts, spread, strict=True)])


def policy(folder: Path, weights: str) -> Path:
    folder.mkdir()
    (folder / "model.safetensors").write_text(weights)
    return folder


def judgement(values: Mapping[str, float], metric: str = "reward", reranker: str = "verifier") -> Judgement:
    return Judgement(reranker, {metric: dict(values)})


class World:
    """A store with one run, in which policies are promoted one after the other."""

    def __init__(self, folder: Path, store: Path) -> None:
        tracker = Tracker(TrackingConfig(), store)
        self.folder, self.uri = folder, tracker.uri
        self.begin_run()

    def begin_run(self) -> None:
        client = reader(self.uri)
        self.experiment = client.get_experiment_by_name("larpo").experiment_id
        self.run_id = client.create_run(self.experiment).info.run_id

    def promote(self, name: str, reward: float, baseline: Path | None = None, **settings: Any) -> dict[str, Any]:
        """promotion.json of a policy whose rewards lie around `reward`."""
        if not (self.folder / name).exists():
            policy(self.folder / name, name)
        self.metrics = promote.run(
            PromoteConfig(**settings),
            policy=self.folder / name,
            evaluation=rewards(self.folder / f"{name}-{reward}-evaluation", reward),
            baseline=baseline,
            promotion=self.folder / f"{name}-{reward}-promotion",
            registry=Registry(self.uri, self.run_id),
        )
        text = (self.folder / f"{name}-{reward}-promotion" / "promotion.json").read_text("utf-8")
        found: dict[str, Any] = json.loads(text)
        return found


def reader(uri: str) -> Any:
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=uri)


@pytest.fixture
def world(mlflow_store: Path, tmp_path: Path) -> World:
    return World(tmp_path, mlflow_store)


def test_values_are_means_over_sampled_responses_and_the_greedy_ones_correctness(tmp_path: Path) -> None:
    found = read_judgement(
        evaluation(
            tmp_path / "evaluation",
            [
                row("a", 0.25, correct=True, index=0),
                row("a", 0.75, correct=False, index=1),
                row("a", 9.0, temperature=0.0, correct=False),
                row("b", 1.0, correct=True),
                row("b", 9.0, temperature=0.0, correct=True),
            ],
        )
    )
    assert found == Judgement(
        "verifier",
        {
            "reward": {"a": 0.5, "b": 1.0},
            "accuracy": {"a": 0.5, "b": 1.0},
            "greedy_accuracy": {"a": 0.0, "b": 1.0},
        },
    )


def test_an_evaluation_without_a_judge_or_greedy_responses_gives_rewards_only(tmp_path: Path) -> None:
    assert set(read_judgement(evaluation(tmp_path / "evaluation", [row("a", 0.5)])).values) == {"reward"}


def test_rewards_that_hold_only_within_a_list_are_refused(tmp_path: Path) -> None:
    rows = [row("p0", 1.0), {**row("p1", 1.0), "list_relative": True}]
    with pytest.raises(
        DataError, match=r"row 1, field 'list_relative': .* cannot compare two policies\. Evaluate with"
    ):
        read_judgement(evaluation(tmp_path / "evaluation", rows))


def test_an_evaluation_without_responses_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no sampled response"):
        read_judgement(evaluation(tmp_path / "evaluation", []))


@given(st.dictionaries(st.sampled_from(PROMPTS), st.floats(-5, 5), min_size=1), st.floats(0.01, 3))
def test_a_constant_gain_passes_exactly_if_it_exceeds_the_margin(old: dict[str, float], gain: float) -> None:
    new = {prompt: value + gain for prompt, value in old.items()}
    opponent = Opponent("baseline", judgement(old))
    below = decide(PromoteConfig(margin=gain * 0.99), judgement(new), opponent)
    assert (below.promoted, below.probability) == (True, 1.0)
    assert below.difference == pytest.approx(gain)
    above = decide(PromoteConfig(margin=gain * 1.01), judgement(new), opponent)
    assert (above.promoted, above.probability) == (False, 0.0)


def test_the_probability_is_the_binomial_one() -> None:
    # 3 prompts gain 1 and 1 loses 1. The mean of n = 4 draws is positive if at most one of them is the loser:
    # P = .75^4 + 4 * .25 * .75^3 = 0.7383.
    new = judgement({"a": 1.0, "b": 1.0, "c": 1.0, "d": 0.0})
    old = judgement({"a": 0.0, "b": 0.0, "c": 0.0, "d": 1.0})
    decision = decide(PromoteConfig(resamples=20_000, confidence=0.7), new, Opponent("baseline", old))
    assert decision.probability == pytest.approx(0.7383, abs=0.01)
    assert decision.promoted
    assert (decision.policy_mean, decision.opponent_mean, decision.difference) == (0.75, 0.25, 0.5)
    assert not decide(PromoteConfig(resamples=20_000, confidence=0.8), new, Opponent("baseline", old)).promoted


def test_pairs_are_made_by_prompt_whatever_the_order() -> None:
    new, old = {"a": 1.0, "b": 0.0}, {"b": 0.0, "a": 1.0}
    decision = decide(CONFIG, judgement(new), Opponent("baseline", judgement(old)))
    assert (decision.difference, decision.probability, decision.promoted) == (0.0, 0.0, False)


def test_with_nothing_to_beat_the_gate_is_open() -> None:
    decision = decide(CONFIG, judgement({"a": -3.0}), None)
    assert (decision.promoted, decision.policy_mean, decision.probability) == (True, -3.0, None)


@pytest.mark.parametrize(
    ("known", "reason"),
    [
        (None, "its evaluation is not in the registry"),
        (judgement({"a": 0.0, "c": 0.0}), "other prompts (1 of 2 in common)"),
        (judgement({"a": 0.0}), "other prompts (1 of 2 in common)"),
        (judgement({"a": 0.0, "b": 0.0}, reranker="pairrm"), "its rewards come from pairrm, not from verifier"),
        (judgement({"a": 0.0, "b": 0.0}, metric="accuracy"), "its evaluation gives no reward"),
    ],
)
def test_what_cannot_be_compared_is_not_promoted_and_says_why(known: Judgement | None, reason: str) -> None:
    decision = decide(CONFIG, judgement({"a": 1.0, "b": 1.0}), Opponent("version 3", known))
    assert (decision.promoted, decision.probability, decision.difference) == (False, None, None)
    assert decision.reason.startswith("cannot be compared with version 3: ")
    assert reason in decision.reason


def test_accuracies_of_other_rerankers_can_be_compared() -> None:
    new, old = judgement({"a": 1.0}, "accuracy"), judgement({"a": 0.0}, "accuracy", reranker="pairrm")
    assert decide(PromoteConfig(metric="accuracy"), new, Opponent("version 3", old)).promoted


def benchmark(folder: Path, gain: float = 0.0, **changes: Any) -> Path:
    """A benchmark's artifact: 20 items' win rates around 50 + `gain`, and what `changes` says of the report."""
    values = {"win_rate": {prompt: 40.0 + gain + number for number, prompt in enumerate(PROMPTS)}}
    report = EvaluationReport(
        **{
            "benchmark": "alpaca_eval", "title": "", "policy": "p", "judged_by": "gpt", "scores": [], "counts": {},
            "values": values, "version": "2", **changes,
        }
    )  # fmt: skip
    produce(
        "alpaca_eval", Section(), {}, folder, lambda work: write(report, work.data), arguments={"name": folder.name}
    )
    return folder


def test_a_benchmark_says_how_a_policy_did_on_each_item(tmp_path: Path) -> None:
    found = read_judgement(benchmark(tmp_path / "b"))
    assert (found.reranker, found.benchmark) == ("gpt", "alpaca_eval 2")
    assert found.values["win_rate"]["p03"] == 43.0


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"judged_by": "llama"}, "it was judged by llama, not by gpt"),
        ({"version": "1"}, "it was evaluated by alpaca_eval 1, not by alpaca_eval 2"),
        ({"values": {"win_rate": {"p00": 1.0}}}, "it was evaluated on other items (1 of 20 in common)"),
        ({"values": {"lc_win_rate": {"p00": 1.0}}}, "its evaluation gives no win_rate"),
    ],
)
def test_scores_of_other_judges_editions_and_items_are_not_compared(
    changes: dict[str, Any], reason: str, tmp_path: Path
) -> None:
    new, old = read_judgement(benchmark(tmp_path / "new")), read_judgement(benchmark(tmp_path / "old", **changes))
    decision = decide(PromoteConfig(metric="win_rate"), new, Opponent("version 3", old))
    assert (decision.promoted, decision.reason) == (False, f"cannot be compared with version 3: {reason}")


def test_a_benchmark_is_not_compared_with_an_evaluation(tmp_path: Path) -> None:
    scores = {"accuracy": dict.fromkeys(PROMPTS, 1.0)}
    new = read_judgement(benchmark(tmp_path / "new", benchmark="gsm8k", version="", values=scores))
    old = judgement(dict.fromkeys(PROMPTS, 0.0), "accuracy")
    decision = decide(PromoteConfig(metric="accuracy"), new, Opponent("baseline", old))
    assert decision.reason == "cannot be compared with baseline: it was evaluated by the step evaluate, not by gsm8k"


def test_a_benchmark_decides_and_the_registry_keeps_its_values(world: World, tmp_path: Path) -> None:
    gate = PromoteConfig(metric="win_rate")
    registry = Registry(world.uri, world.run_id)

    def run(name: str, gain: float, baseline: Path | None = None) -> dict[str, Any]:
        promotion = tmp_path / f"{name}-promotion"
        promote.run(
            gate,
            policy=policy(tmp_path / name, name),
            evaluation=benchmark(tmp_path / f"{name}-evaluation", gain),
            baseline=baseline,
            promotion=promotion,
            registry=registry,
        )
        found: dict[str, Any] = json.loads((promotion / "promotion.json").read_text())
        return found

    first = run("first", 1.0, benchmark(tmp_path / "baseline"))
    assert (first["alias"], first["opponent"], first["difference"]) == ("champion", "baseline", 1.0)
    assert run("worse", 0.5)["alias"] == "challenger"
    better = run("better", 2.0)
    assert (better["alias"], better["opponent"], better["difference"]) == ("champion", "version 1", 1.0)
    with pytest.raises(DataError, match=r"gives no reward\. Set promote\.metric to one of win_rate"):
        promote.run(
            CONFIG,
            policy=tmp_path / "first",
            evaluation=tmp_path / "first-evaluation",
            baseline=None,
            promotion=tmp_path / "again",
            registry=registry,
        )


def test_the_champion_is_whoever_beat_the_champion(world: World) -> None:
    registry = Registry(world.uri)
    first = world.promote("first", 0.5)
    assert world.metrics == {"promoted": 1, "probability": None, "difference": None, "prompts": 20}
    assert first == {
        "promoted": True,
        "alias": "champion",
        "model_name": "larpo-policy",
        "version": 1,
        "metric": "reward",
        "opponent": None,
        "means": {"policy": pytest.approx(0.5), "opponent": None},
        "difference": None,
        "probability": None,
        "margin": 0.0,
        "confidence": 0.95,
        "reason": "there is no champion and no baseline to beat",
    }
    worse = world.promote("worse", 0.25)
    assert (worse["promoted"], worse["alias"], worse["opponent"]) == (False, "challenger", "version 1")
    assert worse["means"] == {"policy": pytest.approx(0.25), "opponent": pytest.approx(0.5)}
    assert registry.champion("larpo-policy") == 1
    better = world.promote("better", 0.75)
    assert (better["promoted"], better["version"], better["probability"]) == (True, 3, 1.0)
    assert better["difference"] == pytest.approx(0.25)
    assert world.metrics["promoted"] == 1
    assert registry.champion("larpo-policy") == 3
    aliases = reader(world.uri).get_registered_model("larpo-policy").aliases
    assert aliases == {"champion": 3, "challenger": 2}
    assert registry.rollback("larpo-policy") == (3, 1)


def test_the_first_policy_has_to_beat_the_baseline(world: World, tmp_path: Path) -> None:
    baseline = rewards(tmp_path / "baseline", 0.5)
    assert world.promote("worse", 0.25, baseline)["alias"] == "challenger"
    better = world.promote("better", 0.75, baseline)
    assert (better["alias"], better["opponent"], better["version"]) == ("champion", "baseline", 2)
    # From now on the champion is the one to beat, not the baseline.
    between = world.promote("between", 0.6, baseline)
    assert (between["alias"], between["opponent"]) == ("challenger", "version 2")


def test_a_margin_is_asked_for(world: World) -> None:
    world.promote("first", 0.5)
    assert world.promote("second", 0.75, margin=0.3)["alias"] == "challenger"
    assert world.promote("third", 0.85, margin=0.3)["alias"] == "champion"


def test_a_metric_that_was_not_evaluated_is_told_before_anything_is_registered(world: World) -> None:
    with pytest.raises(DataError, match=r"gives no accuracy\. Set evaluate\.judge"):
        world.promote("first", 0.5, metric="accuracy")
    assert reader(world.uri).search_registered_models() == []


def test_a_champion_judged_on_other_prompts_stays(world: World, tmp_path: Path) -> None:
    promote.run(
        CONFIG,
        policy=policy(tmp_path / "first", "first"),
        evaluation=rewards(tmp_path / "elsewhere", 0.5, [f"q{number}" for number in range(20)]),
        baseline=None,
        promotion=tmp_path / "promotion",
        registry=Registry(world.uri, world.run_id),
    )
    better = world.promote("better", 0.75)
    assert (better["alias"], better["probability"]) == ("challenger", None)
    assert better["reason"] == (
        "cannot be compared with version 1: it was evaluated on other prompts (0 of 20 in common)"
    )
    assert Registry(world.uri).champion("larpo-policy") == 1


def test_a_finished_promotion_asks_mlflow_nothing(world: World, mlflow_store: Path) -> None:
    before = world.promote("first", 0.5)
    shutil.rmtree(mlflow_store)
    assert world.promote("first", 0.5) == before


class Killed(BaseException):
    """Stands for kill -9: no handler of the code under test catches it."""


def mortal(calls: int) -> Callable[[str], Client]:
    """A client whose process dies right after `calls` calls and one more."""

    class Mortal(Client):
        left = calls

        def __getattr__(self, name: str) -> Any:
            call = super().__getattr__(name)

            def dying(*args: Any, **kwargs: Any) -> Any:
                answer = call(*args, **kwargs)
                if Mortal.left == 0:
                    raise Killed
                Mortal.left -= 1
                return answer

            return dying

    return Mortal


def test_killed_after_any_call_to_mlflow_the_promotion_ends_the_same(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.promote("old", 0.5)
    expected = world.promote("new", 0.75)
    assert expected["alias"] == "champion"
    client = reader(world.uri)
    client.delete_model_version("larpo-policy", "2")
    client.set_registered_model_alias("larpo-policy", "champion", "1")

    deaths, survived = 0, False
    while not survived:
        shutil.rmtree(world.folder / "new-0.75-promotion")
        world.begin_run()
        monkeypatch.setattr(larpo_lib.registry, "Client", mortal(deaths))
        try:
            world.promote("new", 0.75)
            survived = True
        except Killed:
            deaths += 1
        monkeypatch.setattr(larpo_lib.registry, "Client", Client)
        after = world.promote("new", 0.75)
        champion = Registry(world.uri).champion("larpo-policy")
        assert after == {**expected, "version": champion}  # MLflow does not give a deleted version's number again
        versions = [version.version for version in client.search_model_versions("name = 'larpo-policy'")]
        assert versions == [champion, 1]
        uploaded = client.search_logged_models([world.experiment], f"source_run_id = '{world.run_id}'")
        assert [model.status.value for model in uploaded] == ["READY"]
        assert Registry(world.uri).rollback("larpo-policy") == (champion, 1)
        client.delete_model_version("larpo-policy", str(champion))
    assert deaths >= 12  # finding, uploading, finalizing, registering, asking, noting, pointing
