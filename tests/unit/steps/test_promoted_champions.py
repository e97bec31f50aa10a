"""Who the champion is, whom it is compared with, and what the registry keeps of it."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from promotions import CONFIG, World, evaluated, policy, rewards

from larpo_lib.errors import DataError
from larpo_lib.pipeline.execute import promotion_text
from larpo_lib.registry import Registry
from larpo_lib.steps import promote

pytestmark = pytest.mark.usefixtures("saved_figures")


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
        "reason": "no champion and no baseline to compare with",
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
    aliases = MlflowClient(world.uri).get_registered_model("larpo-policy").aliases
    assert aliases == {"champion": 3, "challenger": 2}
    assert registry.rollback("larpo-policy") == (3, 1)


def test_a_champion_that_another_version_registered_is_compared_by_what_is_known_of_it(world: World) -> None:
    world.promote("first", 1.0)
    registry = Registry(world.uri, world.run_id)
    evaluation = {**registry.evaluation(CONFIG.model_name, 1), "added_later": 1}
    registry.register(world.folder / "first", model_name=CONFIG.model_name, evaluation=evaluation)
    decision = world.promote("second", 2.0)
    assert (decision["alias"], decision["opponent"], decision["difference"]) == ("champion", "version 1", 1.0)


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"temperature": 0.5}, "its responses were sampled with other settings: temperature 1.0 instead of 0.5"),
        (
            {"reranker": {"type": "verifier", "format_weight": 5.0}},
            "its rewards come from another one name (format_weight 0.1 instead of 5.0)",
        ),
        ({"n": 4}, None),
    ],
)
def test_the_registry_keeps_how_a_champion_was_sampled_and_scored(
    world: World, tmp_path: Path, settings: dict[str, Any], reason: str | None
) -> None:
    for name, reward, of in (("first", 0.5, {}), ("second", 1.0, settings)):
        promote.run(
            CONFIG,
            policy=policy(tmp_path / name, name),
            evaluation=evaluated(tmp_path / f"{name}-evaluation", reward, **of),
            baseline=None,
            promotion=tmp_path / f"{name}-promotion",
            registry=Registry(world.uri, world.run_id),
        )
    found = json.loads((tmp_path / "second-promotion" / "promotion.json").read_text("utf-8"))
    assert found["alias"] == ("champion" if reason is None else "challenger")
    assert reason is None or found["reason"] == f"cannot be compared with version 1: {reason}"


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
    with pytest.raises(DataError, match=r"has no accuracy\. Set evaluate\.judge"):
        world.promote("first", 0.5, metric="accuracy")
    assert MlflowClient(world.uri).search_registered_models() == []


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
        "cannot be compared with version 1: it was evaluated on different prompts (0 of 20 in common)"
    )
    assert Registry(world.uri).champion("larpo-policy") == 1


def test_a_champion_that_is_evaluated_again_elsewhere_stays_what_later_policies_are_compared_with(
    world: World, tmp_path: Path
) -> None:
    others = [f"q{number}" for number in range(20)]
    registry = Registry(world.uri, world.run_id)

    def elsewhere(name: str, reward: float) -> dict[str, Any]:
        promotion = tmp_path / f"{name}-elsewhere"
        promote.run(
            CONFIG,
            policy=tmp_path / name,
            evaluation=rewards(tmp_path / f"{name}-evaluation-elsewhere", reward, others),
            baseline=None,
            promotion=promotion,
            registry=registry,
        )
        found: dict[str, Any] = json.loads((promotion / "promotion.json").read_text())
        return found

    world.promote("first", 0.5)
    won = world.promote("second", 0.75)
    again = elsewhere("second", 0.6)
    assert (again["promoted"], again["alias"], again["version"]) == (False, "champion", 2)
    assert again["reason"].startswith("cannot be compared with version 1: it was evaluated on different prompts")
    assert promotion_text(again).startswith("**larpo-policy** version 2 stays **champion**: cannot be compared with")
    client = MlflowClient(world.uri)
    assert client.get_registered_model("larpo-policy").aliases == {"champion": 2}
    assert client.get_model_version("larpo-policy", "2").tags["larpo.gate"] == won["reason"]
    third = world.promote("third", 0.95)  # on the usual prompts
    assert (third["alias"], third["opponent"], third["difference"]) == ("champion", "version 2", pytest.approx(0.2))
    registry.rollback("larpo-policy")
    policy(tmp_path / "fourth", "fourth")
    fourth = elsewhere("fourth", 0.7)  # on the others
    assert (fourth["alias"], fourth["opponent"], fourth["difference"]) == (
        "champion", "version 2", pytest.approx(0.1)
    )  # fmt: skip


def test_a_champion_stays_where_a_stricter_gate_does_not_let_it_pass(world: World) -> None:
    world.promote("first", 0.5)
    world.promote("second", 0.75)
    shutil.rmtree(world.folder / "second-0.75-promotion")
    shutil.rmtree(world.folder / "second-0.75-evaluation")
    again = world.promote("second", 0.75, margin=0.5)
    assert (again["promoted"], again["alias"], again["opponent"]) == (False, "champion", "version 1")
    assert again["reason"].startswith("does not beat version 1 by more than 0.5")
    assert MlflowClient(world.uri).get_registered_model("larpo-policy").aliases == {"champion": 2}
    kept = Registry(world.uri).evaluation("larpo-policy", 2)
    assert "earlier" not in kept  # the same prompts: the new one stands in for the old one


def test_a_damaged_evaluation_of_the_policy_itself_is_put_back(
    world: World, mlflow_store: Path, caplog: pytest.LogCaptureFixture
) -> None:
    world.promote("first", 0.5)
    (stored,) = mlflow_store.rglob("evaluation.json")
    before = stored.read_bytes()
    stored.write_bytes(before[:40])
    shutil.rmtree(world.folder / "first-0.5-promotion")
    shutil.rmtree(world.folder / "first-0.5-evaluation")
    assert world.promote("first", 0.5)["alias"] == "champion"
    assert stored.read_bytes() == before
    assert "larpo-policy version 1: larpo-evaluation/evaluation.json cannot be read" in caplog.text
