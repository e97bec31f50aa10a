"""A policy is promoted again, by another evaluation or another gate: everything then says what is known of it now."""

from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from promotions import World, benchmark, policy, rewards

from larpo_lib.api import steps
from larpo_lib.api.artifacts import Artifact
from larpo_lib.artifacts import WorkDir, produce
from larpo_lib.config import LarpoConfig, PromoteConfig, Section, TrackingConfig
from larpo_lib.errors import TrackingError
from larpo_lib.files import read_json
from larpo_lib.registry import Registry, VersionFacts
from larpo_lib.reporting.evaluation import Score
from larpo_lib.statistics.estimates import Estimate

NAME = "larpo-policy"


def trained(folder: Path) -> Path:
    """A policy as the step `train` publishes it."""

    def make(work: WorkDir) -> dict[str, Any]:
        (work.data / "config.json").write_text("{}")
        (work.data / "model.safetensors").write_text(folder.name)
        return {}

    produce("train", Section(), {}, folder, make, arguments={"weights": folder.name})
    return folder


class Store:
    """A store on a disk, in which `larpo promote` registers policies."""

    def __init__(self, folder: Path, store: Path) -> None:
        self.folder, self._store, self.uri = folder, store, f"sqlite:///{store / 'mlflow.db'}"
        self.client = MlflowClient(self.uri)

    def promote(self, name: str, evaluation: Path, place: str, run: LarpoConfig | None = None, **gate: Any) -> Artifact:
        policy = self.folder / name
        return steps.promote(
            PromoteConfig(**gate),
            policy=policy if policy.exists() else trained(policy),
            evaluation=evaluation,
            promotion=self.folder / place,
            tracking=TrackingConfig(system_metrics=False),
            store=self._store,
            run=run,
        )

    def decision(self, place: str) -> dict[str, Any]:
        found: dict[str, Any] = read_json(self.folder / place / "promotion.json", remedy="")
        return found

    @property
    def aliases(self) -> dict[str, int]:
        return dict(self.client.get_registered_model(NAME).aliases)

    def decisions(self) -> list[tuple[str, float]]:
        """The status of every step that was logged, and whether it promoted, in their order."""
        experiment = self.client.get_experiment_by_name("larpo").experiment_id
        runs = self.client.search_runs([experiment], "tags.`larpo.step` = 'promote'", order_by=["start_time ASC"])
        return [(run.info.status, run.data.metrics["promoted"]) for run in runs]


@pytest.fixture
def store(tmp_path: Path, mlflow_store: Path) -> Store:
    return Store(tmp_path, mlflow_store)


def newest(client: MlflowClient, version: Any) -> dict[str, float]:
    """The last value of each of a model's numbers, as MLflow searches models by it: by their time."""
    metrics = client.get_logged_model(version.tags["larpo.model_id"]).metrics
    return {one.key: one.value for one in sorted(metrics, key=lambda one: one.timestamp)}


def test_by_another_evaluation_all_that_is_kept_is_of_the_new_one(store: Store, tmp_path: Path) -> None:
    run = LarpoConfig.model_validate({"policy": "org/base", "prepare": {"source": "org/prompts"}})
    store.promote("old", rewards(tmp_path / "e0", 0.5), "first")
    store.promote("new", rewards(tmp_path / "e1", 0.9), "second", run)
    fewer = LarpoConfig.model_validate({"policy": "org/base", "prepare": {"source": "org/others"}})
    store.promote("new", rewards(tmp_path / "e2", 0.3), "third", fewer)
    assert store.decision("third")["reason"].startswith("does not beat version 1 by more than 0")
    assert store.aliases == {"champion": 2}
    assert store.decisions() == [("FINISHED", 1.0), ("FINISHED", 1.0), ("FINISHED", 0.0)]

    version = store.client.get_model_version(NAME, "2")
    found = newest(store.client, version)
    assert found == {name: pytest.approx(value) for name, value in (
        ("mean_reward", 0.3), ("mean_reward_low", 0.2), ("mean_reward_high", 0.4), ("prompts", 20))}  # fmt: skip
    fetched = Registry(store.uri).download(f"models:/{NAME}@champion", tmp_path / "fetched")
    for text in (version.description, (fetched / "README.md").read_text(), (tmp_path / "new/README.md").read_text()):
        assert "| mean reward | 0.300 [0.200, 0.400] |" in text
        assert "0.9" not in text
    assert version.tags["larpo.prompts"] == "org/others"

    store.promote("new", rewards(tmp_path / "e3", 0.7), "fourth")  # whoever promotes does not know of the run
    tags = store.client.get_model_version(NAME, "2").tags
    assert (tags["larpo.base_model"], tags["larpo.prompts"]) == ("org/base", "org/others")
    assert tags["larpo.base_licence"] == version.tags["larpo.base_licence"]


def test_one_run_of_mlflow_takes_several_evaluations_of_a_policy(world: World) -> None:
    """As the loop has it where evaluation and promotion were deleted; a value that comes again is the newest, too."""
    client = MlflowClient(world.uri)
    for place, reward in enumerate((0.5, 0.75, 0.5)):
        world.promote("first", reward, resamples=100 + place)
        if place == 1:
            for folder in ("first-0.5-evaluation", "first-0.5-promotion"):
                (world.folder / folder).rename(world.folder / f"earlier-{folder}")
        version = client.get_model_version("larpo-policy", "1")
        assert newest(client, version)["mean_reward"] == pytest.approx(reward)
        assert client.get_run(world.run_id).data.metrics["mean_reward"] == pytest.approx(reward)


def test_numbers_with_names_that_mlflow_refuses_are_logged_once_for_each_value(world: World) -> None:
    registry, new = Registry(world.uri, world.run_id), policy(world.folder / "new", "new")
    for value in (0.5, 0.75, 0.75):
        facts = VersionFacts(metrics={"mutual.r@1": value, "mutual.r_1": 0.25, "mutual.mrr": value, "other": None})
        assert registry.register(new, model_name=NAME, evaluation={}, facts=facts) == 1
    client = MlflowClient(world.uri)
    found = newest(client, client.get_model_version(NAME, "1"))
    (marked,) = found.keys() - {"mutual.r_1", "mutual.mrr"}
    assert marked.startswith("mutual.r_1-")
    assert found == {marked: 0.75, "mutual.r_1": 0.25, "mutual.mrr": 0.75}
    logged = {name: [one.value for one in client.get_metric_history(world.run_id, name)] for name in found}
    assert logged == {marked: [0.5, 0.75], "mutual.r_1": [0.25], "mutual.mrr": [0.5, 0.75]}


def test_a_benchmark_decides_some_of_whose_numbers_mlflow_cannot_name(store: Store, tmp_path: Path) -> None:
    for name, right in (("old", 0.0), ("new", 1.0)):
        values = {"acc": {f"document {number}": right for number in range(20)}}
        scores = [Score("mutual.r@1", "R@1", Estimate(right), "", "")]
        measured = benchmark(tmp_path / f"of-{name}", benchmark="lm_eval", values=values, scores=scores)
        store.promote(name, measured, f"by-{name}", metric="acc")
    assert store.aliases == {"champion": 2}
    version = store.client.get_model_version(NAME, "2")
    assert newest(store.client, version)["mutual.r_1"] == 1.0


def test_by_another_gate_the_decision_is_logged_and_no_challenger_is_left(store: Store, tmp_path: Path) -> None:
    store.promote("old", rewards(tmp_path / "e0", 0.5), "first")
    evaluation = rewards(tmp_path / "e1", 0.9)
    store.promote("new", evaluation, "strict", margin=0.6)
    assert store.aliases == {"champion": 1, "challenger": 2}
    for _ in range(2):  # what was promoted is not logged again
        store.promote("new", evaluation, "lax", margin=0.1)
        assert store.aliases == {"champion": 2}
        assert store.decisions() == [("FINISHED", 1.0), ("FINISHED", 0.0), ("FINISHED", 1.0)]


def test_against_another_champion_the_decision_is_logged_by_the_same_gate(store: Store, tmp_path: Path) -> None:
    evaluations = [rewards(tmp_path / f"e{place}", reward) for place, reward in enumerate((0.5, 0.9, 0.7))]
    for place, name in enumerate(("low", "high", "middle")):
        store.promote(name, evaluations[place], f"p{place}")
    assert store.aliases == {"champion": 2, "challenger": 3}
    Registry(store.uri).rollback(NAME)
    store.promote("middle", evaluations[2], "again")
    assert store.aliases == {"champion": 3}
    assert [promoted for _, promoted in store.decisions()] == [1.0, 1.0, 0.0, 1.0]
    assert store.decision("again")["opponent"] == "version 1"


def test_rollback_leaves_no_challenger_on_the_champion(world: World) -> None:
    world.promote("first", 0.5)
    world.promote("second", 0.75)
    assert world.promote("first", 0.25)["alias"] == "challenger"
    registry = Registry(world.uri)
    registry.rollback("larpo-policy")
    assert MlflowClient(world.uri).get_registered_model("larpo-policy").aliases == {"champion": 1}


def test_without_the_version_before_it_a_champion_stays_and_rollback_says_why(store: Store, tmp_path: Path) -> None:
    store.promote("old", rewards(tmp_path / "e0", 0.5), "first")
    store.promote("new", rewards(tmp_path / "e1", 0.9), "second")
    before = store.client.get_model_version(NAME, "2").tags["larpo.gate"]
    store.client.delete_model_version(NAME, "1")
    with pytest.raises(TrackingError, match="version 1 of model 'larpo-policy', which version 2 replaced, was deleted"):
        Registry(store.uri).rollback(NAME)
    store.promote("new", rewards(tmp_path / "e2", 0.95), "third")
    decision = store.decision("third")
    assert (decision["promoted"], decision["alias"], decision["version"]) == (False, "champion", 2)
    assert decision["reason"] == (
        "cannot be compared with version 1, which was deleted in MLflow: its evaluation is not in the registry"
    )
    assert store.client.get_model_version(NAME, "2").tags["larpo.gate"] == before
    assert newest(store.client, store.client.get_model_version(NAME, "2"))["mean_reward"] == pytest.approx(0.95)
    assert store.aliases == {"champion": 2}
