"""A policy learns that short responses are rewarded; another measure of them ends the loop, and guards the gate."""

import json
import random
import shutil
from pathlib import Path
from statistics import fmean

import pytest
from tiny_world import make_tiny_world, write_jsonl

from larpo_lib.artifacts import digest, read_manifest, read_metrics
from larpo_lib.config import load_config
from larpo_lib.errors import LarpoError
from larpo_lib.loop import run_loop
from larpo_lib.playground.problems import make_problems
from larpo_lib.reporting import drawing
from larpo_lib.steps import promote
from larpo_lib.tables import read_table

REWARD = "def brevity(responses):\n    return [-len(response) / 10 for response in responses]\n"
SHORTEST, LONGEST = 30, 40
WATCH = f'{{ type = "length", unit = "characters", shortest = {SHORTEST}, longest = {LONGEST} }}'
SETTINGS = [
    'rerank.reranker={{ type = "function", target = "{world}/gamed.py:brevity" }}',
    f'evaluate.watch=[{{{{ name = "fitting", reranker = {{{WATCH}}} }}}}]',
    'loop={{ iterations = 6, early_stop = {{ metric = "watch_fitting", patience = 2 }} }}',
    "evaluate.n=4",
    "train.learning_rate=4e-2",
    "train.max_steps=5",
    'promote.must_improve=[{{ metric = "evaluate.reward" }}]',
    'promote.must_not_lose=[{{ metric = "evaluate.watch_fitting", margin = 0.3 }}]',
    "tracking.system_metrics=false",
]


def fitting(text: str) -> float:
    """What the watch says, written anew."""
    return len(text) / SHORTEST if len(text) < SHORTEST else min(1.0, LONGEST / len(text))


def means(evaluation: Path) -> dict[str, float]:
    """Over prompts, of the means over their sampled responses."""
    by_prompt: dict[str, list[str]] = {}
    for row in read_table(evaluation, "evaluated"):
        if row["temperature"]:
            by_prompt.setdefault(row["prompt_id"], []).append(row["response"])
    of = {"mean_reward": lambda text: -len(text) / 10, "watch_fitting": fitting}
    return {name: fmean(fmean(map(one, texts)) for texts in by_prompt.values()) for name, one in of.items()}


def test_the_loop_ends_where_the_watch_falls_although_the_reward_goes_on_to_rise(
    tmp_path: Path, mlflow_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world, out = tmp_path / "world", tmp_path / "run"
    make_tiny_world(world)
    (world / "gamed.py").write_text(REWARD, "utf-8")
    problems = make_problems(20, random.Random(1))
    write_jsonl(world / "heldout.jsonl", [{"question": one.question, "answer": one.solution} for one in problems])
    before, _, rest = (world / "larpo.toml").read_text("utf-8").partition("[demonstrations]")
    (world / "larpo.toml").write_text(before + rest[rest.index("[sample]") :], "utf-8")
    out.mkdir()
    mlflow_store.rename(out / "mlflow")
    # Thirty figures take a second, and other tests look at them.
    monkeypatch.setattr(drawing, "_saved", lambda *_args, **_options: b'<svg viewBox="0 0 1 1"></svg>')
    config = load_config(world / "larpo.toml", [setting.format(world=world) for setting in SETTINGS])

    def fail(*_args: object, **_options: object) -> None:
        raise LarpoError("the machine is gone")

    with monkeypatch.context() as broken:
        broken.setattr(promote, "run", fail)
        with pytest.raises(LarpoError, match="the machine is gone"):
            run_loop(config, out)
    evaluations = sorted(out.glob("iteration-*/evaluation"))
    found = [means(path) for path in evaluations]
    rewards, watched = ([one[name] for one in found] for name in ("mean_reward", "watch_fitting"))
    best, last = watched.index(max(watched)), len(found) - 1
    assert 0 < best == last - 2 < 4  # of six iterations
    assert watched[: best + 1] == sorted(watched[: best + 1])
    assert rewards == sorted(rewards)
    for path, one in zip(evaluations, found, strict=True):
        assert {name: read_metrics(path)[name] for name in one} == pytest.approx(one)

    shutil.rmtree(evaluations[-1])  # it goes on from the middle of the last iteration
    run_loop(config, out)
    assert sorted(out.glob("iteration-*/evaluation")) == evaluations
    assert read_manifest(out / "promotion")["inputs"]["policy"] == digest(out / f"iteration-{best}" / "policy")
    decision = json.loads((out / "promotion" / "promotion.json").read_text("utf-8"))
    reward, guard = decision["tests"]
    assert (reward["gain"], guard["gain"]) == pytest.approx((rewards[best] - rewards[0], watched[best] - watched[0]))
    assert (decision["alias"], guard["opponent"]) == ("champion", pytest.approx(watched[0]))
    assert "; no worse in evaluate.watch_fitting (+" in decision["reason"]
    said = json.loads((out / "report" / "reward_hacking.json").read_text("utf-8"))
    assert said["trained"] == "reward"
    assert [one["watch_fitting"] for one in said["iterations"]] == pytest.approx(watched)
    assert said["advice"][0].startswith(
        f"Since iteration {best}, the reward rose by {rewards[-1] - rewards[best]:.3f} while 'fitting' fell by "
        f"{watched[best] - watched[-1]:.3f}: the policy exploits the reward."
    )
