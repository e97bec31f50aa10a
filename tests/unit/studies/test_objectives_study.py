"""The study `objectives` from its file to its page, with two objectives and real steps."""

import json
from pathlib import Path
from typing import Any

import pytest
from our_objectives import OURS
from pretended_place import Pretended
from small_lists import write_lists
from tiny_world import Larpo

from larpo_lib.errors import ConfigError
from larpo_lib.playground import world
from larpo_lib.presets import FOLDER
from larpo_lib.studies.objectives.playground import Playground
from larpo_lib.studies.objectives.run import run
from larpo_lib.studies.objectives.study import ObjectivesStudy, Setting, compared, load, strength_of
from larpo_lib.studies.preferences.runs import BROKEN

pytestmark = pytest.mark.usefixtures("saved_figures")

STUDY = FOLDER / "studies" / "objectives.toml"
SMALL: dict[str, Any] = {
    "only": ["listmle", "simpo"],
    "seeds": 1,
    "playground": {
        "settings": {
            "sft": {"max_steps": 4, "batch_size": 16},
            "prepare": {"limit": 24},
            "sample": {"k": 4, "prompts_per_iteration": 24, "max_new_tokens": 12},
            "evaluate": {"n": 2, "limit": 6, "resamples": 50, "max_new_tokens": 12},
        },
        "search": {"evaluate": {"limit": 4}},
        "reach": {"learning_rates": 1, "strengths": 1},
    },
    "published": {"vocabulary": 280, "reach": {"learning_rates": 1, "strengths": 1}},
}


def small(source: Path | str, **changes: Any) -> ObjectivesStudy:
    """The study that comes with the library, made small."""
    return load(STUDY, {**SMALL, "prepare": {"source": str(source)}, **changes})


def test_it_compares_every_objective_of_the_library() -> None:
    assert set(small("lists.jsonl", only=[]).objectives) == set(compared()) == set(OURS)


def test_of_every_objective_one_setting_is_searched_besides_the_learning_rate() -> None:
    found = {name: strength_of(name) for name in compared()}
    others = {
        "ipo": ("tau", 0.1),
        "slic_hf": ("delta", 1.0),
        "rrhf": ("sft_weight", 1.0),
        "simpo": ("beta", 2.0),
    }
    assert found == dict.fromkeys(found, ("beta", 0.1)) | others


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"prepare": None}, "needs a file of prompts"),
        ({"only": ["dpoo"]}, "'dpoo' is not one of the objectives"),
        ({"strength_ratio": 1.0}, "strength_ratio"),
    ],
)
def test_what_cannot_be_run_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        small("lists.jsonl", **changes)


def test_before_it_is_run_the_study_says_what_it_would_train(larpo: Larpo) -> None:
    told = larpo("reproduce", "objectives", "--set", "prepare.source=lists.jsonl", "--seeds", "2", "--dry-run").out
    head, *rows = told.splitlines()
    assert head == "Every objective on the same footing: 20 objectives, 80 runs, after at least 200 of the search"
    assert "  ipo: tau around 0.1" in rows


def test_from_its_file_to_its_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("larpo_lib.studies.objectives.run.Playground", lambda *_: Pretended())
    study, out = small(write_lists(tmp_path)), tmp_path / "out"
    text = run(study, out, 1, "larpo reproduce objectives")
    told = json.loads((out / "results" / "results.json").read_text("utf-8"))
    found = told["found"]["lists"]
    assert found["search"]["seed"] == 3
    for line in ("learning_rates", "strengths"):
        assert found["search"][line]["places"] == [-1, 0, 1]
        for tried in found["search"][line]["tried"].values():
            assert {*tried} == {"-1", "0", "1"}
    assert {*found["objectives"]} == {"listmle", "simpo"}
    assert {*found["objectives"]["simpo"]["by_seed"]} == {"0"}
    assert len([*(out / "lists" / "seed3" / "runs").iterdir()]) == 2 * 5
    page = (out / "results" / "README.md").read_text("utf-8")
    assert "5 trials for each objective" in page
    assert "Published lists" in text
    assert run(study, out, 1, "larpo reproduce objectives") == text
    with pytest.raises(ConfigError, match="was run with other settings"):
        run(
            small(study.preferences().prepared.source, published={**SMALL["published"], "vocabulary": 300}),
            out,
            1,
            "larpo",
        )


def test_objectives_train_on_the_same_responses_of_a_world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, number in (("DEMONSTRATIONS", 64), ("PROMPTS", 24), ("HELDOUT", 6)):
        monkeypatch.setattr(world, name, number)
    place = Playground(small("lists.jsonl"), tmp_path, 1)
    listmle, simpo = Setting("listmle", 1e-3, 0.1), Setting("simpo", 1e-3, 2.0)
    broken = tmp_path / "playground" / "seed0" / "runs" / simpo.folder / BROKEN
    broken.parent.mkdir(parents=True)
    broken.write_text("{}")
    place.run([listmle, simpo], [0])
    before, after = place.before(0), place.read(listmle, 0)
    assert after is not None
    assert {*after} == {"reward", "accuracy", "greedy_accuracy"}
    assert after["reward"].keys() == before["reward"].keys()
    assert len(after["reward"]) == 6
    assert place.read(simpo, 0) is None
    lists = tmp_path / "playground" / "seed0" / "lists"
    assert {path.name for path in lists.glob("[!.]*")} == {"best_worst", "top1_bottom3", "top2_bottom2"}
