"""What a step has read, with digests by hashlib, against files that are changed, missing, or elsewhere."""

import hashlib
import json
import shutil
from pathlib import Path

import pytest

from larpo_lib.candidates.selections.coreset import CoresetConfig
from larpo_lib.config import EvaluateConfig, ListsConfig, PrepareConfig, RerankConfig
from larpo_lib.run_inputs import changed_input, digest_there


def _file(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _folder(path: Path) -> str:
    """The hash of names, hashes and sizes, as a manifest lists them."""
    files = {
        one.relative_to(path).as_posix(): {"sha256": _file(one), "bytes": len(one.read_bytes())}
        for one in path.rglob("*")
        if one.is_file()
    }
    return hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()


@pytest.fixture
def model(tmp_path):
    folder = tmp_path / "rm"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(b"weights")
    return folder


def _retrain(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"heavier")


def _changed(config, recorded, **given):
    return changed_input(config, given, recorded, digest_there)


def test_a_model_of_another_content_is_found_in_every_place_that_settings_have_for_one(model):
    classifier = {"type": "classifier", "path": str(model)}
    of_members = {
        "type": "ensemble",
        "members": [{"reranker": {"type": "length", "longest": 9}}, {"reranker": classifier}],
    }
    watch = [{"name": "helpful", "reranker": classifier}]
    cases = [
        (RerankConfig(reranker=classifier), "reranker"),
        (RerankConfig(reranker=of_members), "reranker_1"),
        (EvaluateConfig(reranker={"type": "length", "longest": 9}, watch=watch), "watch_helpful_reranker"),
    ]
    before = _folder(model)
    for config, name in cases:
        assert _changed(config, {"prompts": "0" * 64, name: before}) == ""
    _retrain(model)
    for config, name in cases:
        assert _changed(config, {"prompts": "0" * 64, name: before}) == str(model)
        assert _changed(config, {"prompts": "0" * 64}) == ""  # the step has not read it
    shutil.rmtree(model)  # a finished run needs none
    assert all(_changed(config, {name: before}) == "" for config, name in cases)


def test_a_model_of_a_retriever_counts_where_it_was_used(model):
    retriever = {"type": "embedding", "path": str(model)}
    config = ListsConfig(
        negatives={"kind": "related", "retriever": retriever}, selection=CoresetConfig(retriever=retriever)
    )
    before = _folder(model)
    _retrain(model)
    assert _changed(config, {"ranked_0": "0" * 64}) == ""
    for name in ("retriever", "selection_retriever"):
        assert _changed(config, {name: before}) == str(model)


def test_a_judges_template_of_another_text_is_found(tmp_path):
    template = tmp_path / "judge.txt"
    template.write_text("Grade {response} of {prompt}.")
    judge = {"type": "llm_judge", "base_url": "http://h/v1", "model": "m", "mode": "pointwise"}
    config = RerankConfig(reranker=judge | {"template": str(template)})
    before = {"reranker": _file(template)}
    assert _changed(config, before) == ""
    template.write_text("Grade {response} of {prompt} harshly.")
    assert _changed(config, before) == str(template)


def test_a_source_is_compared_file_by_file(tmp_path):
    for name in ("a", "b"):
        (tmp_path / f"{name}.jsonl").write_text(f'{{"prompt": "{name}"}}\n')
    pattern = PrepareConfig(source=str(tmp_path / "*.jsonl"))
    files = {f"source/{name}.jsonl": _file(tmp_path / f"{name}.jsonl") for name in ("a", "b")}
    one, of_one = PrepareConfig(source=str(tmp_path / "a.jsonl")), {"source": files["source/a.jsonl"]}
    folder, of_folder = PrepareConfig(source=str(tmp_path)), {"source": _folder(tmp_path)}
    assert [_changed(pattern, files), _changed(one, of_one), _changed(folder, of_folder)] == ["", "", ""]
    (tmp_path / "c.jsonl").write_text('{"prompt": "c"}\n')
    assert [bool(_changed(pattern, files)), bool(_changed(one, of_one))] == [True, False]
    assert _changed(folder, of_folder) == str(tmp_path)
    (tmp_path / "a.jsonl").write_text('{"prompt": "another"}\n')
    assert _changed(one, of_one) == str(tmp_path / "a.jsonl")
    for elsewhere in ("s3://bucket/p.jsonl", "org/data", str(tmp_path / "gone.jsonl")):
        assert _changed(PrepareConfig(source=elsewhere), of_one) == ""


def test_what_is_given_from_outside_of_the_run_is_compared_by_its_name(model, tmp_path):
    before = {"policy": _folder(model)}
    config = EvaluateConfig(reranker={"type": "length", "longest": 9})
    assert _changed(config, before, policy=str(model)) == ""
    _retrain(model)
    assert _changed(config, before, policy=str(model)) == str(model)
    assert _changed(config, {}, policy=str(model)) == ""
    assert _changed(config, before, policy="org/model@" + "a" * 40) == ""
