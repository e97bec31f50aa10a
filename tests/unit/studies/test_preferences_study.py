"""The study on published preferences, from a small file of lists to its results."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from our_objectives import OURS
from scipy.stats import kendalltau
from small_lists import SMALL_SETTINGS, write_lists
from table_rows import ranked, with_table
from tiny_world import Larpo
from transformers import AutoModelForCausalLM, AutoTokenizer

from larpo_lib.config import PrepareConfig
from larpo_lib.errors import ConfigError, LarpoError, ModelError
from larpo_lib.presets import FOLDER
from larpo_lib.steps import prepare
from larpo_lib.studies.preferences import results, steps
from larpo_lib.studies.preferences.run import listing, run
from larpo_lib.studies.preferences.runs import Places, Task, train_unless_broken
from larpo_lib.studies.preferences.study import PolicyConfig, PreferenceStudy, load
from larpo_lib.tables import read_table, write_table

pytestmark = pytest.mark.usefixtures("saved_figures")

_LIMIT = 26
"""Tokens that about half of the small file's responses fit into."""

STUDY = FOLDER / "studies" / "preferences.toml"
SMALL = {**SMALL_SETTINGS, "seeds": 1, "learning_rates": [3e-3, 1e-2], "only": ["listmle", "simpo"]}


def small(source: Path | str, **changes: Any) -> PreferenceStudy:
    """The study that comes with the library, made small."""
    return load(STUDY, {**SMALL, "prepare": {"source": str(source)}, **changes})


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty prompts with five responses each, by five models."""
    return write_lists(tmp_path_factory.mktemp("source"))


@pytest.fixture(scope="module")
def finished(source: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any], str]:
    out = tmp_path_factory.mktemp("out")
    table = run(small(source), out, 1, "larpo reproduce preferences")
    return out, json.loads((out / "results" / "results.json").read_text("utf-8")), table


def test_every_objective_of_the_library_is_in_it() -> None:
    study = load(STUDY, {"prepare": {"source": "lists.jsonl"}})
    assert [*study.trained] == [*study.objectives]
    assert set(study.objectives) == set(OURS)
    for name, one in study.objectives.items():
        assert (one.score == "implicit_reward") == OURS[name].reads_reference


def test_before_it_is_run_the_study_says_what_it_would_train() -> None:
    head, *rows, search = listing(small("lists.jsonl"))
    assert head == "Objectives on published preferences: 2 runs, after 4 runs of the search"
    assert rows == ["  listmle: top2_bottom2, ranks by implicit reward", "  simpo: best_worst, ranks by logp per token"]
    assert search.endswith("on seed 4: 0.003, 0.01")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"prepare": None}, "needs a file of prompts"),
        ({"seeds": 5}, "at most 4"),
        ({"only": ["dpoo"]}, "'dpoo' is not one of the objectives"),
        ({"objectives": {"dpo": {"lists": "pairs"}}}, "'pairs' is not one of the lists"),
    ],
)
def test_what_cannot_be_run_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load(STUDY, {**SMALL, "prepare": {"source": "lists.jsonl"}, **changes})


def test_the_command_takes_the_study_by_name(larpo: Larpo) -> None:
    told = larpo("reproduce", "preferences", "--set", "prepare.source=lists.jsonl", "--seeds", "2", "--dry-run").out
    assert told.startswith("Objectives on published preferences: 40 runs, after 80 runs of the search\n")
    refused = larpo("reproduce", "preferences", "--set", "prepare.source=lists.jsonl", "--scale", "paper")
    assert refused.code == 2
    assert "has only one scale" in refused.err


def test_folds_part_the_prompts(source: Path, tmp_path: Path) -> None:
    prepare.ranked(PrepareConfig(source=str(source)), prompts=tmp_path / "prompts", ranked=tmp_path / "ranked")
    heldout: list[str] = []
    for number in range(5):
        parts = {}
        for name in ("training", "heldout"):
            part = tmp_path / f"{name}{number}"
            config = steps.FoldConfig(folds=5, fold=number, heldout=name == "heldout")
            steps.fold(config, prompts=tmp_path / "prompts", ranked=tmp_path / "ranked", part=part)
            parts[name] = {row["prompt_id"] for row in read_table(part, "prompts")}
            assert {row["prompt_id"] for row in read_table(part, "ranked")} == parts[name]
            assert len(read_table(part, "demonstrations")) == 5 * len(parts[name])
        assert len(parts["heldout"]) == 4
        assert not parts["heldout"] & parts["training"]
        assert len(parts["heldout"] | parts["training"]) == 20
        heldout += parts["heldout"]
    assert len(set(heldout)) == 20


def test_scores_are_the_models_own_and_what_does_not_fit_is_counted(source: Path, tmp_path: Path) -> None:
    prepare.ranked(PrepareConfig(source=str(source)), prompts=tmp_path / "prompts", ranked=tmp_path / "ranked")
    part, policy = tmp_path / "part", tmp_path / "policy"
    config = steps.FoldConfig(folds=5, fold=0, heldout=True)
    steps.fold(config, prompts=tmp_path / "prompts", ranked=tmp_path / "ranked", part=part)
    steps.policy(PolicyConfig(vocabulary=280, hidden=8, layers=1, heads=1), part=part, made=policy)
    scoring = steps.ScoreConfig(max_prompt_tokens=60, max_tokens=_LIMIT, batch_tokens=100)
    counts = steps.score(scoring, policy=policy, part=part, scores=tmp_path / "scores")
    found = {row["candidate_id"]: row for row in read_table(tmp_path / "scores", "logps")}
    tokenizer, model = AutoTokenizer.from_pretrained(policy), AutoModelForCausalLM.from_pretrained(policy)
    prompts = {row["prompt_id"]: row for row in read_table(part, "prompts")}
    dropped = 0
    for row in read_table(part, "ranked"):
        prompt = tokenizer(f"<user>{prompts[row['prompt_id']]['messages'][0]['content']}<assistant>")["input_ids"]
        response = tokenizer(row["response"] + "<end>")["input_ids"]
        if len(prompt) + len(response) > _LIMIT:
            dropped += 1
            assert row["candidate_id"] not in found
            continue
        with torch.no_grad():
            logps = model(torch.tensor([prompt + response])).logits[0].log_softmax(-1)
        expected = sum(float(logps[len(prompt) + i - 1, token]) for i, token in enumerate(response))
        assert found[row["candidate_id"]]["logp"] == pytest.approx(expected, rel=1e-4)
        assert found[row["candidate_id"]]["num_tokens"] == len(response)
    assert 0 < dropped == counts["responses_too_long_dropped"] < 20
    assert counts["responses"] == 20 - dropped


def test_a_run_measures_everybody_on_the_same_responses(finished: tuple[Path, dict[str, Any], str]) -> None:
    out, told, table = finished
    assert set(told["objectives"]) == {*SMALL["only"]}
    home = out / "seed0"
    reference = {row["candidate_id"]: row for row in read_table(home / "scores", "logps")}
    rate = told["objectives"]["listmle"]["learning_rate"]
    trained = read_table(home / "runs" / f"listmle-{rate:g}" / "scores", "logps")
    rewards = {row["candidate_id"]: row["reward"] for row in read_table(home / "heldout", "ranked")}
    taus = []
    for prompt in {row["prompt_id"] for row in trained}:
        rows = [row for row in trained if row["prompt_id"] == prompt]
        implicit = [row["logp"] - reference[row["candidate_id"]]["logp"] for row in rows]
        taus.append(kendalltau(implicit, [rewards[row["candidate_id"]] for row in rows]).statistic)
    assert told["objectives"]["listmle"]["estimates"]["kendall_tau"]["mean"] == pytest.approx(sum(taus) / len(taus))
    assert told["objectives"]["listmle"]["by_own_score"]["estimates"] == told["objectives"]["listmle"]["estimates"]
    assert told["objectives"]["simpo"]["by_own_score"]["estimates"] != told["objectives"]["simpo"]["estimates"]
    assert told["baselines"]["random order"]["estimates"]["pair_accuracy"]["mean"] == 0.5
    assert told["baselines"]["length"]["estimates"]["kendall_tau_given_length"] is None
    assert "model identity" in table
    assert {path.name for path in (out / "results").iterdir()} == {
        "results.json",
        "table.txt",
        "figure.png",
        "figure.svg",
        "study.html",
        "README.md",
    }


def test_the_search_is_on_a_fold_of_its_own_and_takes_the_best(finished: tuple[Path, dict[str, Any], str]) -> None:
    out, told, _ = finished
    assert told["search"]["seed"] == 4
    for found in told["search"]["objectives"].values():
        known = {float(rate): value for rate, value in found["tried"].items() if value is not None}
        assert set(map(float, found["tried"])) == {*SMALL["learning_rates"]}
        assert known[found["learning_rate"]] == max(known.values())
    assert not (out / "seed1").exists()


def test_a_finished_run_is_not_made_again(finished: tuple[Path, dict[str, Any], str], source: Path) -> None:
    out, _, table = finished
    before = {path: path.stat().st_mtime_ns for path in out.rglob("artifact.json")}
    assert run(small(source), out, 1, "larpo reproduce preferences") == table
    assert {path: path.stat().st_mtime_ns for path in out.rglob("artifact.json")} == before


def test_a_broken_run_of_the_search_is_not_chosen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = small("lists.jsonl", only=["dpo"])
    broken, other = (
        Places(tmp_path).run(Task(4, "dpo", rate, searching=True)) for rate in reversed(study.learning_rates)
    )
    for place in (broken, other):
        place.mkdir(parents=True)
    (broken / "broken.json").write_text("{}", "utf-8")
    monkeypatch.setattr(results, "read_heldout", lambda *_: None)
    monkeypatch.setattr(results, "trained_scores", lambda *_: {})
    monkeypatch.setattr(results, "measure", lambda *_: {"kendall_tau": {"a": 0.25}})
    assert results.choose(study, tmp_path)["dpo"] == {"learning_rate": 3e-3, "tried": {"0.003": 0.25, "0.01": None}}
    (other / "broken.json").write_text("{}", "utf-8")
    with pytest.raises(LarpoError, match=r"no learning rate in 0\.003, 0\.01"):
        results.choose(study, tmp_path)


def test_a_training_that_breaks_down_is_noted_and_not_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[int] = []

    def breaks(*_: Any, **__: Any) -> None:
        tried.append(1)
        raise ModelError("the loss became nan at step 3 (its prompts are in ...)", remedy="Reduce the learning rate")

    monkeypatch.setattr("larpo_lib.steps.train.run", breaks)
    config = small("lists.jsonl").train_config("dpo", 1e-3, 0)
    for _ in range(2):
        assert not train_unless_broken(config, tmp_path / "policy", tmp_path / "lists", tmp_path / "known", tmp_path)
    assert tried == [1]
    with pytest.raises(LarpoError, match=r"the loss became nan at step 3\. "):
        results.trained_scores(results.Heldout({}, {}, {}, {}), tmp_path, "implicit_reward")


def test_models_are_known_from_the_training_lists_alone(tmp_path: Path) -> None:
    home = Places(tmp_path).seed(0)

    def answer(prompt: str, place: int, reward: float) -> dict[str, Any]:
        text = f"{prompt}{place}"
        return ranked(prompt, text, reward, place, candidate_id=text, policy=f"model {place}", temperature=None)

    parts = {
        "training": [answer("a", 0, 0.25), answer("a", 1, 0.75)],
        "heldout": [answer("b", 0, 1.0), answer("b", 1, 0.0), answer("c", 0, 0.5), answer("c", 1, 0.5)],
    }
    for name, rows in parts.items():
        with_table(home / name, "ranked", rows)
    (home / "scores").mkdir()
    logps = [
        {**{name: one[name] for name in ("prompt_id", "candidate_id", "sample_index")}, "logp": -1.0, "num_tokens": 2}
        for one in parts["heldout"]
    ]
    write_table(home / "scores" / "logps.parquet", "logps", logps)
    heldout = results.read_heldout(Places(tmp_path), 0)
    assert heldout.means == {"model 0": 0.25, "model 1": 0.75}
    assert set(heldout.judged) == {"b"}  # all preferences of c are equal
    found = results.baselines(heldout)
    assert found["model identity"]["kendall_tau"] == {"b": -1.0}
    assert found["reference logp"]["pair_accuracy"] == {"b": 0.5}
