"""The API for Python: what it exports, whole runs, and their results."""

import inspect
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest
from notebook import NotebookRun

import larpo_lib
from larpo_lib import RunResult
from larpo_lib.api import steps as api_steps
from larpo_lib.artifacts import digest
from larpo_lib.errors import ArtifactError, ConfigError
from larpo_lib.steps.declarations import STEPS

HEAVY = ("torch", "transformers", "pydantic", "pyarrow", "mlflow", "datasets", "pandas", "larpo_lib.config")
_EXAMINE = f"""
import sys, larpo_lib
print([name for name in {HEAVY} if name in sys.modules], set(larpo_lib.__all__) <= set(dir(larpo_lib)))
"""


def test_importing_the_library_loads_nothing() -> None:
    done = subprocess.run([sys.executable, "-c", _EXAMINE], capture_output=True, text=True, check=True)
    assert done.stdout == "[] True\n"


def test_every_exported_name_is_there() -> None:
    assert sorted(larpo_lib.__all__) == list(larpo_lib.__all__)
    assert [name for name in larpo_lib.__all__ if getattr(larpo_lib, name, None) is None] == []
    assert (Path(larpo_lib.__file__).parent / "py.typed").is_file()
    with pytest.raises(AttributeError, match="has no attribute 'no_such_name'"):
        getattr(larpo_lib, "no_such_name")  # noqa: B009


@pytest.mark.parametrize("name", [name for name in STEPS if name != "promote"])
def test_a_function_of_a_step_takes_what_its_declaration_says(name: str) -> None:
    step = STEPS[name]
    function = {"reward_model": api_steps.train_reward_model}.get(name) or getattr(api_steps, name.replace("-", "_"))
    arguments = {one.name for one in (*step.inputs, *step.outputs, *step.options)}
    assert set(inspect.signature(function).parameters) == arguments | ({"config"} if step.section else set())


def test_a_run_leaves_the_process_of_a_notebook_as_it_was(notebook_run: NotebookRun) -> None:
    assert notebook_run.after == notebook_run.before


def test_a_run_inside_a_running_event_loop_gives_typed_results(tiny_run: RunResult) -> None:
    out = tiny_run.out
    assert tiny_run.iterations == 1
    assert tiny_run.policies == [out / "sft", out / "iteration-1" / "policy"]
    assert [*tiny_run.evaluations] == [0, 1]
    stated = json.loads((out / "iteration-1" / "evaluation" / "metrics.json").read_text("utf-8"))
    assert tiny_run.evaluations[1].metrics == stated
    assert tiny_run.report.read_text("utf-8").startswith("<!doctype html>")
    decision = json.loads((out / "promotion" / "promotion.json").read_text("utf-8"))
    assert tiny_run.promotion.version == decision["version"]
    assert tiny_run.champion == (tiny_run.policies[1] if decision["promoted"] else None)
    assert tiny_run.config.train.max_steps == 2
    champion = tiny_run.registry.champion("tiny-policy")
    assert champion == (decision["version"] if decision["promoted"] else None)


def test_the_tables_of_a_run_are_those_of_its_files(tiny_run: RunResult) -> None:
    tables = tiny_run.tables()
    assert [*tables] == ["candidates", "ranked", "lists", "history", "evaluated", "metrics"]
    for name in ("candidates", "ranked", "lists"):
        rows = pq.read_table(tiny_run.out / "iteration-1" / name / f"{name}.parquet").to_pandas()
        assert len(tables[name]) == len(rows) > 0
        assert set(tables[name]["iteration"]) == {1}
    ranked = pq.read_table(tiny_run.out / "iteration-1" / "ranked" / "ranked.parquet").to_pandas()
    pd.testing.assert_series_equal(tables["ranked"]["reward"], ranked["reward"])
    of_each = 6 * (2 + 1)  # held-out prompts, and their sampled responses and the greedy one
    assert tables["evaluated"].groupby("iteration").size().to_dict() == {0: of_each, 1: of_each}
    assert tables["history"]["step"].tolist() == [1, 2]
    assert tables["metrics"]["mean_reward"].tolist() == [tiny_run.evaluations[i].metrics["mean_reward"] for i in (0, 1)]


def test_a_table_of_no_name_and_a_run_that_is_not_finished_are_refused(tiny_run: RunResult, tmp_path: Path) -> None:
    wrong: Any = "candidate"
    with pytest.raises(ConfigError, match=r"a run has no table 'candidate'. Use one of candidates, ranked"):
        tiny_run.table(wrong)
    with pytest.raises(ArtifactError, match=r"has no config.toml. Use the directory of a finished run"):
        larpo_lib.read_run(tmp_path)


def test_a_finished_run_is_read_and_not_run_again(tiny_run: RunResult) -> None:
    before = (tiny_run.out / "seconds.json").read_bytes()
    again = larpo_lib.run_loop(tiny_run.config, str(tiny_run.out))
    assert again.summary == tiny_run.summary
    assert (tiny_run.out / "seconds.json").read_bytes() == before


def test_a_finished_run_takes_no_other_policy_or_loop_and_the_policy_from_anywhere(
    tiny_run: RunResult, tmp_path: Path
) -> None:
    config, policy = tiny_run.config, Path(tiny_run.config.policy)
    shutil.copytree(policy, tmp_path / "moved")
    moved = config.model_copy(update={"policy": str(tmp_path / "moved")})
    assert larpo_lib.run_loop(moved, tiny_run.out).summary == tiny_run.summary
    with (tmp_path / "moved" / "config.json").open("a") as file:
        file.write("\n")
    with pytest.raises(ArtifactError, match=r"is finished, but was made with policy .* instead of .*moved"):
        larpo_lib.run_loop(moved, tiny_run.out)
    loop = config.loop.model_copy(update={"reference": "initial"})
    with pytest.raises(ArtifactError, match=r'made with loop\.reference "current" instead of "initial"'):
        larpo_lib.run_loop(config.model_copy(update={"loop": loop}), tiny_run.out)


def test_a_copied_run_promotes_and_reports_in_its_own_place(tiny_run: RunResult, tmp_path: Path) -> None:
    def files(folder: Path) -> dict[Path, tuple[int, int]]:
        found = {path: path.stat() for path in folder.rglob("*") if path.is_file()}
        return {path: (stat.st_mtime_ns, stat.st_size) for path, stat in found.items()}

    origin, before = tiny_run.out, files(tiny_run.out)
    copy = Path(shutil.copytree(origin, tmp_path / "copy"))
    for name in ("promotion", "report"):
        shutil.rmtree(copy / name)
    result = larpo_lib.run_loop(tiny_run.config, copy)
    source = result.registry.source(f"models:/{result.promotion.model_name}/{result.promotion.version}")
    assert source.location.startswith((copy / "mlflow" / "artifacts").as_uri())
    fetched = result.registry.download(source.uri, tmp_path / "fetched")
    assert digest(fetched) == digest(copy / "iteration-1" / "policy")
    assert str(origin) not in result.report.read_text("utf-8")
    assert files(origin) == before


def test_settings_come_from_a_file_texts_or_mappings(tiny_world: Path, tmp_path: Path) -> None:
    file = tiny_world / "larpo.toml"
    mapping = {"train.learning_rate": 1e-3, "train": {"objective": {"type": "dpo", "beta": 0.3}}, "policy": tmp_path}
    by_mapping = larpo_lib.load_config(file, mapping)
    texts = ["train.learning_rate=1e-3", "train.objective.type=dpo", "train.objective.beta=0.3", f"policy={tmp_path}"]
    assert by_mapping == larpo_lib.load_config(str(file), texts)
    assert (by_mapping.train.learning_rate, by_mapping.train.objective.type) == (1e-3, "dpo")
    assert larpo_lib.load_config(preset="quickstart", settings={"policy": "p", "prepare.source": "s"}).policy == "p"
    function = {"type": "function", "target": f"{__file__}:f", "settings": {"weights": {"gpt-4.1": 0.5, "a.b.c": 1}}}
    for named in ({"rerank.reranker": function}, {"rerank": {"reranker": function}}):
        assert larpo_lib.load_config(file, named).rerank.reranker.model_dump()["settings"] == function["settings"]
    members = [{"reranker": {"type": "classifier", "path": tmp_path}}]
    several = larpo_lib.load_config(file, {"rerank.reranker": {"type": "ensemble", "members": members * 2}})
    assert several.rerank.reranker.model_dump()["members"][1]["reranker"]["path"] == str(tmp_path)
    with pytest.raises(ConfigError, match=r"unknown setting 'train\.objective\.type'"):
        larpo_lib.load_config(file, {"train": {"objective.type": "dpo"}})
    with pytest.raises(ConfigError, match=r"unknown setting 'train.objective.bta'. Did you mean 'beta'\?"):
        larpo_lib.load_config(file, {"train.objective": {"type": "dpo", "bta": 0.3}})
    with pytest.raises(ConfigError, match="path and preset cannot be used together"):
        larpo_lib.load_config(file, preset="quickstart")


def test_a_step_by_text_paths_gives_its_artifact_and_its_table(prepared_world: Path, tmp_path: Path) -> None:
    config = larpo_lib.load_config(prepared_world / "larpo.toml")
    made = larpo_lib.build_lists(
        config.lists,
        prompts=str(prepared_world / "prompts"),
        ranked=prepared_world / "ranked",
        lists=tmp_path / "lists",
    )
    assert made.path == tmp_path / "lists"
    assert made.metrics == json.loads((prepared_world / "lists" / "metrics.json").read_text("utf-8"))
    assert made.manifest["step"] == "build_lists"
    assert (tmp_path / "lists" / "lists.parquet").read_bytes() == (
        prepared_world / "lists" / "lists.parquet"
    ).read_bytes()
    assert made.tables == ["lists"]
    assert made.table(columns=["prompt_id"]).columns.tolist() == ["prompt_id"]
    with pytest.raises(ArtifactError, match=r"has no table 'ranked'. Its tables: lists"):
        made.table("ranked")
    with pytest.raises(ArtifactError, match=r"Use an artifact that contains prompts.parquet"):
        larpo_lib.build_lists(config.lists, prompts=tmp_path, ranked=tmp_path, lists=tmp_path / "others")


def test_a_promotion_takes_text_paths_and_decides_as_a_run_does(
    tiny_run: RunResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    run = tiny_run.out
    made = larpo_lib.promote(
        tiny_run.config.promote,
        policy=f"{run}/iteration-1/policy",
        evaluation=f"{run}/iteration-1/evaluation",
        baseline=f"{run}/iteration-0/evaluation",
        promotion=f"{tmp_path}/promotion",
        store=f"{tmp_path}/store",
    )
    ours, theirs = (json.loads((one / "promotion.json").read_text("utf-8")) for one in (made.path, run / "promotion"))
    assert {**ours, "version": theirs["version"]} == theirs
    assert (tmp_path / "store" / "mlflow.db").is_file()


def test_shards_are_texts_too_and_iterations_begin_with_one(prepared_world: Path, tmp_path: Path) -> None:
    config = larpo_lib.load_config(prepared_world / "larpo.toml")
    places: dict[str, Any] = {"prompts": prepared_world / "prompts", "candidates": prepared_world / "candidates"}
    for shard in ("0/2", "1/2"):
        larpo_lib.rerank(config.rerank, **places, ranked=tmp_path / shard[0], shard=shard)
    merged = larpo_lib.merge_shards(shards=[tmp_path / "0", tmp_path / "1"], merged=tmp_path / "merged")
    assert digest(merged.path) == digest(prepared_world / "ranked")
    with pytest.raises(ConfigError, match="shard 'half' is not in the form i/n"):
        larpo_lib.rerank(config.rerank, **places, ranked=tmp_path / "half", shard="half")
    assert larpo_lib.Shard.parse("0/2") == larpo_lib.Shard(0, 2)
    sampled = {"policy": prepared_world / "policy", "prompts": prepared_world / "prompts"}
    with pytest.raises(ConfigError, match="iteration is 0, but the first one is 1"):
        larpo_lib.sample(config.sample, **sampled, candidates=tmp_path / "c", iteration=0)


@pytest.mark.parametrize(
    "given",
    [
        {"train.objective.beta": 0.5, "train.objective.type": "dpo"},
        {"rerank.reranker.mode": "exact", "rerank.reranker.type": "verifier"},
        {"lists.selection.top": 1, "lists.selection.type": "top_bottom"},
    ],
)
def test_the_order_of_a_mapping_decides_nothing(tiny_world: Path, given: dict[str, Any]) -> None:
    texts = [f"{name}={value}" for name, value in given.items()]
    expected = larpo_lib.load_config(tiny_world / "larpo.toml", texts)
    for mapping in (given, dict(reversed(given.items()))):
        found = larpo_lib.load_config(tiny_world / "larpo.toml", mapping)
        assert found == expected
        for name, value in given.items():
            section, part, setting = name.split(".")
            assert getattr(getattr(getattr(found, section), part), setting) == value
