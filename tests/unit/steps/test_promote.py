"""The gate by hand-made evaluations; its registry is a real MLflow database."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from promotions import CONFIG, World, benchmark, evaluated, policy, rewards

import larpo_lib.registry.versions
from larpo_lib.config import PromoteConfig
from larpo_lib.errors import ConfigError, DataError
from larpo_lib.pipeline.execute import promotion_text
from larpo_lib.pool import use_pool
from larpo_lib.registry import Registry
from larpo_lib.reporting import drawing
from larpo_lib.steps import promote
from larpo_lib.tracking import TrackingClient

pytestmark = pytest.mark.usefixtures("saved_figures")


@pytest.fixture
def world(mlflow_store: Path, tmp_path: Path) -> World:
    return World(tmp_path, mlflow_store)


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
    with pytest.raises(DataError, match=r"has no reward\. Set promote\.metric to one of win_rate"):
        promote.run(
            CONFIG,
            policy=tmp_path / "first",
            evaluation=tmp_path / "first-evaluation",
            baseline=None,
            promotion=tmp_path / "again",
            registry=registry,
        )


def test_of_several_metrics_the_registry_keeps_all_and_the_loss_of_one_leaves_the_champion(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = PromoteConfig.model_validate(
        {
            "must_improve": [{"metric": "evaluate.reward"}],
            "must_not_lose": [
                {"metric": "alpaca_eval.win_rate", "margin": 2},
                {"metric": "evaluate.length", "margin": 5},
            ],
        }
    )

    def run(name: str, reward: float, gain: float, **changes: Any) -> dict[str, Any]:
        promotion = tmp_path / f"{name}-promotion"
        metrics = promote.run(
            gate,
            policy=tmp_path / "first" if name == "again" else policy(tmp_path / name, name),
            evaluation=rewards(tmp_path / f"{name}-evaluation", reward),
            baseline=None,
            promotion=promotion,
            registry=Registry(world.uri, world.run_id),
            benchmarks=[benchmark(tmp_path / f"{name}-benchmark", gain, **changes)],
        )
        found: dict[str, Any] = json.loads((promotion / "promotion.json").read_text())
        assert metrics["alpaca_eval.win_rate/passed"] == int(found["tests"][1]["passed"])
        assert (promotion / "gate.png").read_bytes().startswith(b"\x89PNG")
        monkeypatch.setattr(drawing, "png", lambda _panel: b"\x89PNG")  # once is enough
        return found

    world.promote("first", 0.5)  # by a gate of one metric
    unknown = run("unknown", 0.75, 0.0)
    assert (unknown["alias"], unknown["tests"][0]["passed"]) == ("challenger", True)
    assert unknown["reason"].startswith(
        "alpaca_eval.win_rate cannot be compared with version 1: it has no evaluation by alpaca_eval; evaluate.length"
    )
    again = run("again", 0.5, 0.0)
    assert (again["version"], again["alias"], again["reason"]) == (
        1, "champion", "no champion and no baseline to compare with"
    )  # fmt: skip
    greedy = run("greedy", 0.75, -3.0)
    assert (greedy["alias"], greedy["opponent"]) == ("challenger", "version 1")
    assert greedy["reason"].startswith(
        "alpaca_eval.win_rate is worse by 3, where less than 2 is allowed: 46.5 against 49.5 of version 1, gain -3 ["
    )
    version = MlflowClient(world.uri).get_model_version("larpo-policy", "3")
    assert version.tags["larpo.gate"] == greedy["reason"]
    interval = "{low:+.4g} to {high:+.4g}".format(**greedy["tests"][1])
    line = f"| alpaca_eval.win_rate | loss < 2 | 46.5 | 49.5 | -3 | {interval} | 1 | 1 | no |"
    assert line in version.description
    assert line in (tmp_path / "greedy-promotion" / "gate.md").read_text("utf-8")
    better = run("better", 0.75, -1.0)
    assert (better["alias"], better["opponent"], better["difference"]) == ("champion", "version 1", 0.25)
    assert better["reason"].startswith("better than version 1 in evaluate.reward by 0.25; no worse in alpaca_eval")
    assert run("other", 1.0, 0.0, judged_by="llama")["reason"].startswith(
        "alpaca_eval.win_rate cannot be compared with version 4: it was judged by gpt, not by llama; "
    )


def test_of_several_metrics_a_missing_evaluation_is_told_before_anything_is_registered(
    world: World, tmp_path: Path
) -> None:
    given = {"policy": policy(tmp_path / "policy", "weights"), "evaluation": rewards(tmp_path / "evaluation", 0.5)}
    for metric, problem in (
        ("gsm8k.accuracy", r"no evaluation by gsm8k was given.*Pass the artifact of `larpo benchmark gsm8k`"),
        ("evaluate.accuracy", r"has no accuracy.*Ask for one of evaluate\.length, evaluate\.reward; accuracies need"),
    ):
        gate = PromoteConfig.model_validate({"must_improve": [{"metric": metric}]})
        registry = Registry(world.uri, world.run_id)
        with pytest.raises(ConfigError, match=problem):
            promote.run(gate, **given, baseline=None, promotion=tmp_path / "promotion", registry=registry)
    assert MlflowClient(world.uri).search_registered_models() == []


def test_the_gate_of_one_metric_does_not_take_growth_for_a_gain_where_lower_is_better(
    world: World, tmp_path: Path
) -> None:
    values = {"kl": {"p00": 1.0}}
    given = {
        "policy": policy(tmp_path / "policy", "weights"),
        "evaluation": benchmark(tmp_path / "evaluation", benchmark="divergence", values=values),
    }
    registry = Registry(world.uri, world.run_id)
    with pytest.raises(ConfigError, match=r"metric is kl, of which a lower value is better.*Ask for divergence\.kl in"):
        promote.run(
            PromoteConfig(metric="kl"), **given, baseline=None, promotion=tmp_path / "promotion", registry=registry
        )


def test_a_decision_is_never_taken_from_a_pool(mlflow_store: Path, tmp_path: Path) -> None:
    """A run of the same settings has a registry of its own, in which its policy must be, too."""
    given = {"policy": policy(tmp_path / "policy", "weights"), "evaluation": rewards(tmp_path / "evaluation", 0.5)}
    shutil.copytree(mlflow_store, tmp_path / "another")
    for store in (mlflow_store, tmp_path / "another"):
        world = World(tmp_path, store)
        registry, promotion = Registry(world.uri, world.run_id), tmp_path / f"{store.name}-promotion"
        with use_pool(tmp_path / "pool"):
            promote.run(CONFIG, **given, baseline=None, promotion=promotion, registry=registry)
        assert len(MlflowClient(world.uri).search_model_versions("name='larpo-policy'")) == 1


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


def test_a_finished_promotion_asks_mlflow_nothing(world: World, mlflow_store: Path) -> None:
    before = world.promote("first", 0.5)
    shutil.rmtree(mlflow_store)
    assert world.promote("first", 0.5) == before


class Killed(BaseException):
    """Stands for kill -9: no handler of the code under test catches it."""


def mortal(calls: int) -> Callable[[str], TrackingClient]:
    """A client whose process dies right after `calls` calls and one more."""

    class Mortal(TrackingClient):
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
    client = MlflowClient(world.uri)
    client.delete_model_version("larpo-policy", "2")
    client.set_registered_model_alias("larpo-policy", "champion", "1")

    deaths, survived = 0, False
    while not survived:
        shutil.rmtree(world.folder / "new-0.75-promotion")
        world.begin_run()
        monkeypatch.setattr(larpo_lib.registry.versions, "TrackingClient", mortal(deaths))
        try:
            world.promote("new", 0.75)
            survived = True
        except Killed:
            deaths += 1
        monkeypatch.setattr(larpo_lib.registry.versions, "TrackingClient", TrackingClient)
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
