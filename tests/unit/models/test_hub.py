"""Models by name, against a hub on loopback."""

import hashlib
import json
import subprocess
from pathlib import Path

import pytest
from hub_double import MODEL, HubDouble

from larpo_lib.artifacts import digest, produce, recorded_digest
from larpo_lib.config import ModelConfig, Section
from larpo_lib.errors import ArtifactError, LarpoError, ModelError
from larpo_lib.manifest import verify_input
from larpo_lib.models.hub import HubModel, fetch, label, local_model, pin
from larpo_lib.models.model_dir import ModelDir, check_weights


def _files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("HuggingFaceTB/SmolLM2-135M-Instruct", ("HuggingFaceTB/SmolLM2-135M-Instruct", "main")),
        ("org/name@v1.0", ("org/name", "v1.0")),
        ("org/name@refs/pr/1", ("org/name", "refs/pr/1")),
        *((text, None) for text in ("./org/name", "~/name", "/org/name", "org/name/", "../name", "s3://bucket/name")),
        *(
            (text, None)
            for text in ("name", "models/policy", "a/b/c", "org/name@", "org/a--b", "org/na..me", "-org/name", "")
        ),
    ],
)
def test_what_is_a_name_and_what_is_a_path(text, expected):
    model = HubModel.parse(text)
    assert (model and (model.name, model.revision)) == expected


def test_a_directory_wins_over_a_name(hub: HubDouble, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    hub.push("org/name", MODEL)
    (tmp_path / "org" / "name").mkdir(parents=True)
    assert local_model("org/name") == Path("org/name")
    assert pin("org/name") == "org/name"
    for text in ("./org/other", str(tmp_path / "org" / "other"), "org/other/", "one/two/three"):
        assert local_model(text) == Path(text)
    assert hub.asked == []


def test_only_the_files_that_a_model_is_read_from_are_fetched(hub: HubDouble):
    names = (
        "pytorch_model.bin optimizer.pt modeling_own.py README.md consolidated.safetensors onnx/model.onnx "
        "onnx/config.json generation_config.json chat_template.jinja merges.txt tokenizer.model "
        "additional_chat_templates/tool.jinja"
    )
    more = {name: name.encode() for name in names.split()}
    commit = hub.push("org/name", MODEL | more)
    folder = fetch(HubModel("org/name"))
    read = {*MODEL, "generation_config.json", "chat_template.jinja", "merges.txt", "tokenizer.model"}
    assert _files(folder) == read | {"additional_chat_templates/tool.jinja", ".larpo-hub.json"}
    assert set(hub.files_asked()) == _files(folder) - {".larpo-hub.json"}
    assert folder.name == "name"
    assert recorded_digest(folder) == f"org/name@{commit}"


def test_the_commit_decides_what_a_model_is_also_where_its_files_say_otherwise(hub: HubDouble):
    said = {"artifact.json": b'{"files": {}, "fingerprint": "f"}', ".larpo-hub.json": b'{"model": "org/other@main"}'}
    first = hub.push("org/name", MODEL | said)
    before = fetch(HubModel("org/name"))
    second = hub.push("org/name", MODEL | said | {"model.safetensors": b"y"})
    after = fetch(HubModel("org/name"))
    assert [recorded_digest(folder) for folder in (before, after)] == [f"org/name@{first}", f"org/name@{second}"]
    assert digest(before) != digest(after)


@pytest.mark.parametrize("place", ["/etc/place", "../../place", "..\\..\\place", "\\place", "C:\\place"])
def test_files_of_other_directories_are_none_of_the_model(place, hub: HubDouble):
    modules = json.dumps([{"path": place}]).encode()
    hub.push("org/name", MODEL | {f"{place}/x.json": b"{}", f"{place}.json": b"{}", "modules.json": modules})
    assert _files(fetch(HubModel("org/name"))) <= {*MODEL, "modules.json", ".larpo-hub.json"}


def test_weights_in_several_files_are_those_of_their_index(hub: HubDouble):
    index = {
        "weight_map": {
            "a": "model-1-of-2.safetensors",
            "b": "model-2-of-2.safetensors",
            "c": "model-1-of-2.safetensors",
        }
    }
    parts = dict.fromkeys(index["weight_map"].values(), b"w")
    hub.push("org/large", {"config.json": b"{}", "model.safetensors.index.json": json.dumps(index).encode(), **parts})
    assert set(parts) < _files(fetch(HubModel("org/large")))
    hub.push("org/torn", {"config.json": b"{}", "model.safetensors.index.json": json.dumps(index).encode()})
    with pytest.raises(ModelError, match=r"org/torn@\w{40}: has no model-1-of-2.safetensors"):
        fetch(HubModel("org/torn"))


def test_a_commit_is_the_identity_wherever_it_is_kept(hub: HubDouble, tmp_path, monkeypatch):
    commit = hub.push("org/name", MODEL)
    hub.push("org/name", MODEL, "v1")
    first = fetch(HubModel("org/name"))
    monkeypatch.setenv("LARPO_CACHE", str(tmp_path / "another"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "elsewhere"))
    second = fetch(HubModel("org/name", commit))
    assert first != second
    assert digest(first) == digest(second)
    (second / "README.md").write_text("what another program put there")
    assert digest(first) == digest(second)
    moved = hub.push("org/name", MODEL | {"tokenizer.json": b'{"new": 1}'})
    assert pin("org/name") == f"org/name@{moved}"
    assert digest(fetch(HubModel("org/name"))) != digest(first)
    assert fetch(HubModel("org/name", commit)) == second


def test_a_pinned_model_that_is_there_is_not_asked_for(hub: HubDouble):
    commit = hub.push("org/name", MODEL)
    folder = fetch(HubModel("org/name", commit))
    hub.asked.clear()
    assert fetch(HubModel("org/name", commit)) == folder
    assert hub.asked == []
    (folder / "config.json").resolve().unlink()  # somebody cleared a part of the cache
    assert (fetch(HubModel("org/name", commit)) / "config.json").read_bytes() == MODEL["config.json"]


def test_progress_is_told_in_megabytes(hub: HubDouble, caplog):
    hub.push("org/name", MODEL)
    fetch(HubModel("org/name"))
    assert "MB: 3/3 in" in caplog.text


def test_a_model_is_loaded_by_its_name(hub: HubDouble, tiny_policy):
    hub.push("org/tiny", tiny_policy)
    there, own = ModelDir(local_model("org/tiny"), ModelConfig()), ModelDir(tiny_policy, ModelConfig())
    check_weights(there.path)
    assert there.tokenizer.get_vocab() == own.tokenizer.get_vocab()
    assert there.tokenizer.chat_template == own.tokenizer.chat_template
    ours, theirs = (each.load_policy().state_dict() for each in (own, there))
    assert all(bool((ours[name] == theirs[name]).all()) for name in ours)


def test_adapters_bring_their_base(hub: HubDouble, tmp_path):
    base = hub.push("org/base", MODEL)
    settings = {"peft_type": "LORA", "base_model_name_or_path": "org/base"}
    adapters = {"adapter_config.json": json.dumps(settings).encode(), "adapter_model.safetensors": b"a"}
    commit = hub.push("org/adapters", adapters)
    assert recorded_digest(fetch(HubModel("org/adapters"))) == f"org/adapters@{commit} on org/base@{base}"
    for name, content in adapters.items():  # a local folder of adapters, too
        (tmp_path / name).write_bytes(content)
    assert local_model(str(tmp_path)) == tmp_path
    assert digest(tmp_path)


def test_a_model_of_sentences_has_its_modules(hub: HubDouble):
    modules = [{"type": "sentence_transformers.models.Transformer", "path": ""}] + [
        {"type": f"sentence_transformers.models.{kind}", "path": f"{i}_{kind}"}
        for i, kind in enumerate(("Pooling", "Dense"), start=1)
    ]
    files = MODEL | {
        "modules.json": json.dumps(modules).encode(),
        "1_Pooling/config.json": b"{}",
        "2_Dense/config.json": b"{}",
    }
    hub.push("org/sentences", files | {"2_Dense/model.safetensors": b"d"})
    found = _files(fetch(HubModel("org/sentences")))
    assert {"1_Pooling/config.json", "2_Dense/config.json", "2_Dense/model.safetensors"} < found
    hub.push("org/pickled", files | {"2_Dense/pytorch_model.bin": b"d"})
    with pytest.raises(LarpoError, match=r"has no 2_Dense/model.safetensors, only 2_Dense/pytorch_model.bin"):
        fetch(HubModel("org/pickled"))


def test_the_name_in_results_is_short(tmp_path):
    assert label("org/name") == "name"
    assert label("org/name@v1") == "name@v1"
    assert label(f"org/name@{'0123456789' * 4}") == "name@01234567"
    assert label(str(tmp_path / "reward")) == "reward"


@pytest.mark.parametrize(
    ("name", "by"),
    [
        ("model.safetensors", "SHA-256"),
        ("config.json", "git"),
        ("config.json", "SHA-1"),
        ("config.json", "something else"),
    ],
)
def test_a_flipped_bit_in_a_cached_file_is_told(hub: HubDouble, tmp_path, name, by):
    """The hub names weights by their SHA-256 and other files by git; larpo's double names all by SHA-256."""
    hub.push("org/name", MODEL)
    folder = fetch(HubModel("org/name"))
    content = MODEL[name]
    if by != "SHA-256":
        git = subprocess.run(["git", "hash-object", "--stdin"], input=content, capture_output=True, check=True).stdout
        names = {
            "git": git.decode().strip(),
            "SHA-1": hashlib.sha1(content, usedforsecurity=False).hexdigest(),
            "something else": "W-17",
        }
        renamed = (folder / name).resolve().with_name(names[by])
        (folder / name).resolve().rename(renamed)
        (folder / name).unlink()
        (folder / name).symlink_to(renamed)
    verify_input(folder)
    blob = (folder / name).resolve()
    blob.write_bytes(bytes([content[0] ^ 1]) + content[1:])
    if by == "something else":
        verify_input(folder)
        return
    commit = pin("org/name")
    with pytest.raises(ArtifactError) as caught:
        produce("next", Section(), {"policy": folder}, tmp_path / "out", None)
    problem = f"{blob} ({name} of {commit}): differs from its checksum."
    assert str(caught.value) == f"{problem} Delete this file and run the same command again, which fetches it."
    if by == "SHA-256":
        blob.unlink()
        verify_input(fetch(HubModel("org/name")))
