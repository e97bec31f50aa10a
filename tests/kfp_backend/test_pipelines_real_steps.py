"""The pipeline `larpo` on the emulated backend with its real steps: what it makes is what `larpo run` makes.

Every part of it that can be a user's own is: the code is sent to the pipeline, and stands in a file for `larpo run`.
"""

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
from backend_emulator import Backend
from compiled_ir import load
from hub_double import HubDouble
from larpo_runs import COMPILED
from tiny_world import SETTINGS, files

from larpo_lib.artifacts import read_manifest
from larpo_lib.config import LarpoConfig, apply_settings, load_config
from larpo_lib.config.toml import inline
from larpo_lib.errors import ArtifactError
from larpo_lib.loop import run_loop
from larpo_lib.pipeline.earlier_results import check_earlier_results
from larpo_lib.pipeline.functions import with_local_code
from larpo_lib.pipeline.parameters import compose
from larpo_lib.plan import Plan
from larpo_lib.steps import build_lists, rerank, sample, train
from larpo_lib.tables import read_table

CHANGED: dict[str, Any] = {
    "sample": {"k": 6},
    "lists": {"memory": "previous", "selection": {"type": "whole_list"}},
    "train": {"objective": {"type": "listmle", "top": 2, "beta": 2.0, "length_normalized": True, "sft_weight": 0.1}},
}
"""What the second iteration has in place of these parts: more responses, and an objective with options."""
LOOP = {
    "iterations": 2,
    "promote": "every_iteration",
    "benchmarks": ["retrieval"],
    "changes": [{"iteration": 2, **CHANGED}],
}
GATE: dict[str, Any] = {
    "must_improve": [{"metric": "evaluate.reward"}],
    "must_not_lose": [{"metric": "divergence.kl", "margin": 0.5}],
}
OVER = {"loop": LOOP, "evaluate": {"n": 2, "resamples": 50}, "promote": GATE}
PARTS = """
import torch
from larpo_lib.objectives.masked import differences, log_ratios, ordered_pairs
from larpo_lib.objectives.terms import reduce_terms
from larpo_lib.samplers.hf import HfSamplerConfig

class Sampler:
    def __init__(self, policy, limits, batch_size):
        self.own = HfSamplerConfig(batch_size=batch_size, model={"device": "cpu"}).make(policy, limits)
    def __call__(self, requests):
        return self.own.sample(requests)

def near(responses, goal):
    return [-abs(len(text) - goal) for text in responses]

def short(responses):
    return [len(text) < 20 for text in responses]

def ends(candidates):
    return [candidates[0], candidates[-1]] if len(candidates) > 1 else candidates

def hinge(batch, margin: float):
    return reduce_terms(torch.relu(margin - differences(0.1 * log_ratios(batch))), ordered_pairs(batch), "sum")
"""


def mine(name: str, **settings: Any) -> dict[str, Any]:
    return {"type": "function", "target": f"mine.py:{name}", "settings": settings}


MINE = {
    "sample": {"sampler": mine("Sampler", batch_size=8)},
    "rerank": {"reranker": mine("near", goal=20)},
    "lists": {"selection": mine("ends")},
    "train": {"objective": mine("hinge", margin=2.0)},
    "evaluate": {"judge": mine("short")},
}


def without_card(artifact: Path) -> dict[str, bytes]:
    """The files of an artifact; a model card names the registered model, which is another one in each run."""
    return {name: content for name, content in files(artifact).items() if name != "README.md"}


def changed() -> list[str]:
    """The settings of the second iteration, of a run that has them throughout."""
    return [
        "loop.changes=[]",
        *(f"{section}.{name}={inline(value)}" for section, table in CHANGED.items() for name, value in table.items()),
    ]


def by_hand(config: LarpoConfig, run: Path) -> None:
    """The second iteration step by step with settings that do not change: every file is that of the run."""
    first, second, own = run / "iteration-1", run / "iteration-2", run.parent / "by hand"
    sampled = {"policy": first / "policy", "prompts": run / "prompts", "candidates": own / "candidates"}
    sample.run(config.sample, **sampled, iteration=2)
    ranked = [first / "ranked", own / "ranked"]
    rerank.run(config.rerank, prompts=run / "prompts", candidates=[own / "candidates"], ranked=ranked[1])
    build_lists.run(config.lists, prompts=run / "prompts", ranked=ranked, lists=own / "lists")
    train.run(config.train, policy=first / "policy", lists=own / "lists", reference=None, trained=own / "policy")
    for name in ("candidates", "ranked", "lists", "policy"):
        assert without_card(own / name) == without_card(second / name), name
    rows = {name: read_table(run / name / "lists", "lists") for name in ("iteration-1", "iteration-2")}
    assert {len(row["responses"]) for row in rows["iteration-1"]} == {2}
    assert max(len(row["responses"]) for row in rows["iteration-2"]) > 6  # also of the first iteration


def test_policies_and_evaluations_are_those_of_larpo_run_to_the_byte(
    tiny_world: Path, hub: HubDouble, mlflow_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = hub.push("org/tiny", tiny_world / "policy")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_uri)
    monkeypatch.setenv("LARPO_CACHE", str(tmp_path / "cache"))
    (tmp_path / "mine.py").write_text(PARTS, "utf-8")
    monkeypatch.chdir(tmp_path)
    settings = apply_settings(tomllib.loads(SETTINGS.format(root=tiny_world)), with_local_code(MINE))
    (tmp_path / "mine.py").rename(tmp_path / "kept.py")
    given = {"root": str(tmp_path / "runs"), "run_id": "one", "shards": 2, "rounds": 2}
    given["policy"] = "org/tiny"
    given["settings"] = json.dumps({**settings, **{k: {**settings[k], **v} for k, v in OVER.items()}})
    lost = {"*/sample-driver": ["lost"], "*/train-driver": ["lost"]}
    outcome = Backend(tmp_path / "kfp", seed=5).run(load(COMPILED / "larpo.yaml"), given, lost)
    assert (outcome.phase, outcome.messages) == ("Succeeded", {})
    assert hub.files_asked().count("model.safetensors") == 1  # by all pods together
    (text,) = outcome.outputs["final-report"]["artifacts"]["text"]["artifacts"]
    report = Path(text["uri"]).read_text("utf-8")
    assert report.startswith("# Run one: SUCCEEDED")
    assert "| divergence.kl ↓ | loss < 0.5 |" in report

    (tmp_path / "kept.py").rename(tmp_path / "mine.py")
    parts = [f"{section}.{name}={inline(part)}" for section, both in MINE.items() for name, part in both.items()]
    parts += [f"promote.{name}={inline(metrics)}" for name, metrics in GATE.items()]
    own = [
        *parts,
        'policy="org/tiny"',
        'promote.model_name="other"',
        *(f"loop.{n}={inline(v)}" for n, v in LOOP.items()),
    ]
    run_loop(load_config(tiny_world / "larpo.toml", own), tmp_path / "expected")
    by_hand(load_config(tiny_world / "larpo.toml", [*own, *changed()]), tmp_path / "expected")
    made = tmp_path / "runs" / "one"
    assert read_manifest(made / "sft")["inputs"]["policy"] == f"org/tiny@{commit}"
    for name in ("sft", "heldout", *(f"iteration-{i}/{what}" for i in (1, 2) for what in ("lists", "policy"))):
        assert without_card(made / name) == without_card(tmp_path / "expected" / name), name
    for i in (0, 1, 2):
        for name in (f"iteration-{i}/{what}/metrics.json" for what in ("evaluation", "retrieval", "divergence")):
            assert (made / name).read_bytes() == (tmp_path / "expected" / name).read_bytes()
    rows = json.loads((made / "report" / "reward_hacking.json").read_text("utf-8"))["iterations"]
    assert len(rows) == 3
    for row in rows:
        assert any(name.startswith("retrieval_") and value is not None for name, value in row.items())
    decisions = [
        json.loads((run / "promotion" / "promotion.json").read_text("utf-8"))["tests"]
        for run in (made, tmp_path / "expected", made / "iteration-2", tmp_path / "expected" / "iteration-2")
    ]
    assert decisions[0] == decisions[1]
    assert decisions[2] == decisions[3]

    asked = compose({"root": given["root"], "settings": given["settings"], "rounds": 2})
    check_earlier_results(Plan(asked, str(made)), 2)  # as the first task of a second run of that name
    for change, shards, told in (
        ({"k": 5}, 2, r"config\.k"),
        ({"rounds": 3}, 2, "shorter run"),
        ({}, 3, "in 2 shards"),
    ):
        other = compose({"root": given["root"], "settings": given["settings"], "rounds": 2, **change})
        with pytest.raises(ArtifactError, match=told):
            check_earlier_results(Plan(other, str(made)), shards)
