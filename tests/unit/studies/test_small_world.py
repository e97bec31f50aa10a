"""The scale `small`, with a policy of two layers in place of the real one."""

import json
import shutil
from pathlib import Path

import pytest
from small_study import STUDY, write_study

from larpo_lib.artifacts import read_metrics
from larpo_lib.config import LarpoConfig
from larpo_lib.errors import ConfigError
from larpo_lib.models import hub
from larpo_lib.playground.policy import write_policy
from larpo_lib.playground.smollm import HUB_NAME
from larpo_lib.presets import FOLDER
from larpo_lib.reporting import drawing
from larpo_lib.studies import small
from larpo_lib.studies.preferences.policy import make_tokenizer
from larpo_lib.studies.run import Request, run_study
from larpo_lib.studies.small import choose_policy, load_world, make_small_world
from larpo_lib.studies.study import Cell, cells, load_study
from larpo_lib.studies.worlds import check_worlds, placed
from larpo_lib.tables import read_table

SMALL = ["table3", "table4", "fig3b"]
MEASURES = ["reward", "greedy_reward", "other_rules", "preference", "kl"]
LITTLE = {
    "sample": {"k": 6, "prompts_per_iteration": 8, "max_new_tokens": 32},
    "evaluate": {"resamples": 10},
    "evaluation_prompts": {"limit": 2},
    "train": {"max_steps": 1},
    "loop": {"iterations": 1},
    "model": {"device": "cpu"},
}


@pytest.fixture(scope="module")
def preferences(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty instructions with four scored responses each."""
    path = tmp_path_factory.mktemp("preferences") / "lists.jsonl"
    rows = [
        {
            "instruction": f"Say something about the number {i}.",
            "candidates": [{"response": f"The number {i} is {i + j}.", "score": j / 4} for j in range(4)],
        }
        for i in range(20)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory, preferences: Path) -> Path:
    directory = tmp_path_factory.mktemp("policy") / "policy"
    tokenizer = make_tokenizer([preferences.read_text("utf-8")], 400)
    write_policy(directory, tokenizer, 0, hidden=16, layers=1, heads=2, positions=512)
    return directory


def _over(policy: Path, preferences: Path) -> dict[str, object]:
    world = {
        "preferences": str(preferences), "requests": 8, "heldout_requests": 2, "other_requests": 2,
        "heldout_instructions": 2, "reward_model": {"max_steps": 1, "model": {"pad_token": None}},
    }  # fmt: skip
    return {**LITTLE, "policy": str(policy), "world": world}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, policy: Path, preferences: Path) -> Path:
    """A world; not to be written to."""
    directory = tmp_path_factory.mktemp("world") / "worlds" / "seed0"
    over = _over(policy, preferences)
    listed = cells(load_study(FOLDER / "studies" / "table3.toml"), "small", 1, over=over)
    cell = placed(listed[0], "small", directory.parents[1])
    make_small_world(directory, load_world(dict(over["world"])), cell)  # type: ignore[call-overload]
    return directory


def _prompts(part: Path, table: str = "prompts") -> set[str]:
    return {row["prompt_id"] for row in read_table(part, table)}


def test_the_instructions_of_a_world_are_divided_into_three(made: Path) -> None:
    parts = [_prompts(made / name) for name in ("lessons", "instructions", "heldout-all")]
    assert [len(part) for part in parts] == [8, 8, 4]
    assert set.union(*parts) == _prompts(made / "preferences")
    assert len(set.union(*parts)) == 20
    for model, lists, part in zip(("reward-model", "judge"), ("lessons", "instructions"), parts, strict=False):
        assert _prompts(made / f"{lists}-lists", "lists") == part
        assert read_metrics(made / model)["lists"] == 8
    assert _prompts(made / "heldout-lists", "lists") == parts[2]
    first, second = ((made / name / "model.safetensors").read_bytes() for name in ("reward-model", "judge"))
    assert first != second
    assert len(_prompts(made / "heldout")) == 2
    assert _prompts(made / "heldout") <= parts[2]


def test_no_rule_is_stated_in_training_and_among_the_other_rules(made: Path) -> None:
    kinds = {}
    for name in ("requests", "heldout-requests", "other-requests"):
        rows = [json.loads(line) for line in (made / f"{name}.jsonl").read_text("utf-8").splitlines()]
        kinds[name] = {kind for row in rows for kind in row["instruction_id_list"]}
    assert not kinds["other-requests"] & (kinds["requests"] | kinds["heldout-requests"])
    assert len(_prompts(made / "other-rules")) == 2


def test_a_study_of_two_rewards_measures_both_alike_and_is_found_when_it_is_run_again(
    made: Path, policy: Path, preferences: Path, tmp_path: Path, mlflow_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_uri)
    monkeypatch.setattr(drawing, "png", lambda _panel: b"")
    shutil.copytree(made, tmp_path / "out" / "worlds" / "seed0")
    found = load_study(FOLDER / "studies" / "table3.toml")
    (objectives,) = found.axes
    one = objectives.model_copy(update={"variants": objectives.variants[:1]})
    study = found.model_copy(update={"axes": (one,), "orderings": ()})
    request = Request("small", seeds=1, over=_over(policy, preferences))
    table = run_study(study, request, tmp_path / "out", "larpo reproduce")
    head, *rows = table.splitlines()
    assert head.split()[:2] == ["reward", "objective"]
    cells_shown = [(reward, label) for reward in ("rules", "preferences") for label in ("start", "pairwise")]
    assert [tuple(row.split()[:2]) for row in rows] == cells_shown
    results = json.loads((tmp_path / "out" / "results" / "results.json").read_text("utf-8"))
    assert results["measures"] == MEASURES
    assert str(tmp_path) not in json.dumps(results["settings"])  # whose places say nothing elsewhere
    before = {tuple(row["labels"]): row["estimates"] for row in results["starts"]}
    for measure in ("other_rules", "preference"):  # of one policy, on the same prompts
        assert before["rules", "start"][measure] == before["preferences", "start"][measure]
    assert before["rules", "start"]["kl"]["mean"] == 0.0
    assert {row["estimates"]["kl"]["mean"] != 0.0 for row in results["rows"]} == {True}
    page = (tmp_path / "out" / "results" / "README.md").read_text("utf-8")
    for model in ("reward-model", "judge"):
        accuracy = read_metrics(tmp_path / "out" / "worlds" / "seed0" / f"{model}-quality")["pair_accuracy"]
        assert f"the {model.replace('-', ' ')} orders {accuracy:.3f} [" in page
    first, second = (tmp_path / "out" / "runs" / f"{name}-pairwise-seed0" for name in ("rules", "preferences"))
    shared = "iteration-0/other-rules/evaluated.parquet"
    assert (first / shared).samefile(second / shared)
    monkeypatch.setattr("larpo_lib.studies.run.run_loop", lambda *_: pytest.fail("a finished run is run again"))
    assert run_study(study, request, tmp_path / "out", "larpo reproduce") == table


@pytest.mark.parametrize("name", SMALL)
def test_every_cell_of_the_scale_is_a_valid_run_that_is_measured_in_other_ways(name: str, tmp_path: Path) -> None:
    study = load_study(FOLDER / "studies" / f"{name}.toml")
    made = [placed(cell, "small", tmp_path) for cell in cells(study, "small")]
    assert {cell.labels[0] for cell in made} == {"rules", "preferences"}
    assert len({cell.key for cell in made}) == len(made)
    assert [*study.scale("small").measures] == MEASURES
    for cell in made:
        config = cell.config()
        assert "{" not in config.model_dump_json(include={"policy", "prepare", "rerank", "evaluate"}).replace('{"', "")
        assert (config.policy, config.evaluate.temperature, config.evaluate.top_p) == (HUB_NAME, 1.0, 1.0)
        assert config.train.max_tokens >= config.train.max_prompt_tokens + config.sample.max_new_tokens


def test_without_preferences_nothing_is_begun(tmp_path: Path) -> None:
    study = load_study(FOLDER / "studies" / "table3.toml")
    over = {"world": {"preferences": str(tmp_path / "none.jsonl")}}
    with pytest.raises(ConfigError, match=r"none.jsonl: no such file; .*Pass --set world.preferences=FILE"):
        run_study(study, Request("small", over=over), tmp_path / "out", "larpo reproduce")
    assert not (tmp_path / "out").exists()
    with pytest.raises(ConfigError, match="unknown setting 'other'"):
        check_worlds("small", {"world": {"other": 1}})


def test_a_study_without_the_scale_says_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="the study 'small' has no scale 'small'"):
        cells(load_study(write_study(tmp_path, STUDY)), "small")


def test_the_model_is_looked_for_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(small, "find_smollm", lambda: "org/first@1")
    assert choose_policy(HUB_NAME, tmp_path) == "org/first@1"
    monkeypatch.setattr(small, "find_smollm", lambda: pytest.fail("it is looked for again"))
    assert choose_policy(HUB_NAME, tmp_path) == "org/first@1"
    monkeypatch.setattr(hub, "pin", lambda name: f"{name}@2")
    assert choose_policy("org/mine", tmp_path) == "org/mine@2"


def test_both_reward_models_are_loaded_as_the_run_loads_models() -> None:
    cell = Cell(("rules",), 3, {"policy": "p", "seed": 3, "prepare": {"source": "s"}, "model": {"dtype": "bfloat16"}})
    training = load_world({}).training(cell)
    assert (training.model.dtype, training.model.pad_token, training.seed) == ("bfloat16", "<|endoftext|>", 0)
    assert isinstance(cell.config(), LarpoConfig)


@pytest.mark.parametrize("setting", ["requests", "heldout_requests", "other_requests"])
def test_a_world_is_not_made_with_other_numbers_of_requests_than_it_was_begun_with(
    made: Path, policy: Path, preferences: Path, tmp_path: Path, setting: str
) -> None:
    shutil.copytree(made, tmp_path / "worlds" / "seed0")
    over = _over(policy, preferences)
    more = {**over, "world": {**over["world"], setting: 9}}  # type: ignore[dict-item]
    cell = placed(cells(load_study(FOLDER / "studies" / "table3.toml"), "small", 1, over=over)[0], "small", tmp_path)
    with pytest.raises(ConfigError, match=r"requests.jsonl: has [28] requests, which are not the 9 that"):
        make_small_world(tmp_path / "worlds" / "seed0", load_world(more["world"]), cell)  # type: ignore[arg-type]
