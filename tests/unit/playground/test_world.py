import json

import pytest
from our_objectives import OURS

from larpo_lib.candidates.selections.by_rank import TopBottomConfig
from larpo_lib.config import LarpoConfig, load_config
from larpo_lib.evaluation.retrieval.files import read_collection
from larpo_lib.playground import world
from larpo_lib.playground.world import make_world, world_documents, world_settings
from larpo_lib.presets import preset_file


@pytest.fixture
def small(monkeypatch):
    for name, count in (("DEMONSTRATIONS", 30), ("PROMPTS", 10), ("HELDOUT", 5)):
        monkeypatch.setattr(world, name, count)


def _bytes(directory):
    return {path.relative_to(directory): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def _lines(path):
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def test_a_world_has_all_a_run_needs(small, tmp_path):
    make_world(tmp_path / "world", 0)
    demonstrations, prompts, heldout = (
        _lines(tmp_path / "world" / f"{name}.jsonl") for name in ("demonstrations", "prompts", "heldout")
    )
    assert (len(demonstrations), len(prompts), len(heldout)) == (30, 10, 5)
    questions = [row["prompt"] for row in demonstrations] + [row["question"] for row in prompts + heldout]
    assert len(set(questions)) == 45
    assert (tmp_path / "world" / "policy" / "model.safetensors").is_file()


def test_the_same_seed_gives_the_same_world(small, tmp_path):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        make_world(tmp_path / name, seed)
    assert _bytes(tmp_path / "a") == _bytes(tmp_path / "b")
    assert _bytes(tmp_path / "a") != _bytes(tmp_path / "c")


def test_a_world_that_is_there_is_left_alone_and_a_torn_one_made_again(small, tmp_path):
    make_world(tmp_path, 0)
    whole = _bytes(tmp_path)
    (tmp_path / "prompts.jsonl").write_text("mine")
    make_world(tmp_path, 0)
    assert (tmp_path / "prompts.jsonl").read_text() == "mine"
    (tmp_path / "world.json").unlink()
    make_world(tmp_path, 0)
    assert _bytes(tmp_path) == whole


@pytest.mark.parametrize("objective", OURS)
def test_every_objective_has_settings_that_the_preset_accepts(tmp_path, objective):
    config = load_config(preset_file("quickstart"), world_settings(tmp_path, objective))
    assert isinstance(config, LarpoConfig)
    assert config.train.objective.type == objective
    assert config.policy == str(tmp_path / "policy")
    assert config.evaluation_prompts is not None
    assert config.evaluation_prompts.source == str(tmp_path / "heldout.jsonl")


def test_lists_are_those_of_the_paper(tmp_path):
    def selection(objective):
        return load_config(preset_file("quickstart"), world_settings(tmp_path, objective)).lists.selection

    assert selection("contrastive") == TopBottomConfig(top=1, bottom=3)
    assert selection("listmle") == selection("lambdarank") == TopBottomConfig(top=2, bottom=2)
    assert selection("dpo").type == "best_worst"


def test_each_held_out_question_has_its_right_solution_among_the_documents(small, tmp_path):
    make_world(tmp_path, 0)
    found = read_collection(**world_documents(tmp_path))
    heldout = {row["question"]: row["answer"] for row in _lines(tmp_path / "heldout.jsonl")}
    prompts = _lines(tmp_path / "prompts.jsonl")
    assert set(found.queries.values()) == set(heldout)
    assert set(found.documents.values()) == {*heldout.values(), *(row["answer"] for row in prompts)}
    assert len(set(found.documents.values())) == len(found.documents)
    for query, relevant in found.relevant.items():
        assert [found.documents[name] for name in relevant] == [heldout[found.queries[query]]]
