"""The gate by hand-made evaluations; its registry is a real MLflow database."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from promotions import CONFIG, World, benchmark, policy, rewards

from larpo_lib.config import PromoteConfig
from larpo_lib.errors import ConfigError, DataError
from larpo_lib.pool import use_pool
from larpo_lib.registry import Registry
from larpo_lib.reporting import drawing
from larpo_lib.steps import promote

pytestmark = pytest.mark.usefixtures("saved_figures")


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
