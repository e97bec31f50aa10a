"""A promotion that is killed and sent again ends as if nothing had happened."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from promotions import World

import larpo_lib.registry.versions
from larpo_lib.registry import Registry
from larpo_lib.tracking import TrackingClient

pytestmark = pytest.mark.usefixtures("saved_figures")


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


def test_killed_after_any_call_a_version_that_is_there_gets_all_that_is_new(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A challenger becomes champion, by one evaluation and another in turn, so that what is old is seen."""
    world.promote("old", 0.5)
    world.promote("new", 0.25)
    client, deaths, survived = MlflowClient(world.uri), 0, False
    model_id = client.get_model_version("larpo-policy", "2").tags["larpo.model_id"]
    while not survived:
        reward = (0.75, 0.875)[deaths % 2]
        for folder in world.folder.glob("new-0.[78]*"):
            shutil.rmtree(folder)
        client.set_registered_model_alias("larpo-policy", "champion", "1")
        client.set_registered_model_alias("larpo-policy", "challenger", "2")
        monkeypatch.setattr(larpo_lib.registry.versions, "TrackingClient", mortal(deaths))
        try:
            world.promote("new", reward)
            survived = True
        except Killed:
            deaths += 1
        monkeypatch.setattr(larpo_lib.registry.versions, "TrackingClient", TrackingClient)
        assert world.promote("new", reward)["difference"] == reward - 0.5
        model = client.get_registered_model("larpo-policy")
        assert model.aliases == {"champion": 2}
        row = f"| mean reward | {reward:.3f} ["
        assert row in client.get_model_version("larpo-policy", "2").description
        (card,) = {file.read_text() for file in (world.folder / "mlflow").rglob(f"{model_id}/artifacts/README.md")}
        assert row in card
        numbers = {
            one.timestamp: one.value for one in client.get_logged_model(model_id).metrics if one.key == "mean_reward"
        }
        assert numbers[max(numbers)] == pytest.approx(reward)
        kept = Registry(world.uri).evaluation("larpo-policy", 2)["values"]["reward"]
        assert sum(kept.values()) / len(kept) == pytest.approx(reward)
    assert deaths >= 15
