import json
import shutil

import pytest
import torch
from peft import LoraConfig as Adapters
from peft import get_peft_model
from small_models import write_prompts
from table_rows import preferences, with_table

from larpo_lib.artifacts import digest
from larpo_lib.config import (
    EvaluateConfig,
    LaunchConfig,
    LoraConfig,
    ModelConfig,
    PromoteConfig,
    RewardModelConfig,
    SampleConfig,
    TrackingConfig,
    TrainConfig,
    load_config,
)
from larpo_lib.errors import ConfigError, ModelError
from larpo_lib.loop import run_loop
from larpo_lib.models.model_dir import ModelDir, check_weights
from larpo_lib.registry import Registry
from larpo_lib.samplers import SamplingLimits
from larpo_lib.samplers.engines.vllm import check_vllm
from larpo_lib.samplers.hf import HfSamplerConfig
from larpo_lib.samplers.vllm import VllmSamplerConfig
from larpo_lib.steps import evaluate, promote, reward_model, sample, train
from larpo_lib.tables import read_table
from larpo_lib.tracking import Tracker
from larpo_lib.training.trainable import check_trainable

PLAIN = ModelConfig(device="cpu")
IDS = torch.arange(5, 25)[None]
KINDS = {
    "plain": {"target_modules": "all-linear"},
    "rank-stabilised": {"target_modules": ["q_proj"], "use_rslora": True},
    "dora": {"target_modules": ["q_proj", "v_proj"], "use_dora": True},
    "with-a-whole-module": {"target_modules": ["q_proj"], "modules_to_save": ["lm_head"]},
}


def _write(directory, base, **settings):
    """Adapters far from 0 as peft writes them; returns the logits that peft gives by them."""
    model = get_peft_model(
        ModelDir(base, PLAIN).load_policy(), Adapters(r=4, lora_alpha=12, task_type="CAUSAL_LM", **settings)
    )
    generator = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data.normal_(0, 0.3, generator=generator)
    model.peft_config["default"].base_model_name_or_path = str(base)
    model.save_pretrained(directory)
    with torch.no_grad():
        return model.eval()(IDS).logits


@pytest.fixture
def base(tiny_policy, tmp_path):
    return shutil.copytree(tiny_policy, tmp_path / "base")


@pytest.fixture
def adapter(base, tmp_path):
    _write(tmp_path / "adapter", base, **KINDS["plain"])
    return tmp_path / "adapter"


def _change(directory, **changes):
    path = directory / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text("utf-8")), **changes}), "utf-8")


@pytest.mark.parametrize("kind", KINDS)
def test_a_policy_with_its_adapters_merged_is_the_one_that_peft_runs(base, tmp_path, kind):
    expected = _write(tmp_path / "adapter", base, **KINDS[kind])
    with torch.no_grad():
        model, without = ModelDir(tmp_path / "adapter", PLAIN).load_policy(), ModelDir(base, PLAIN).load_policy()
        torch.testing.assert_close(model(IDS).logits, expected, atol=2e-5, rtol=1e-4)
        assert (without(IDS).logits - expected).abs().max() > 0.01
    assert type(model) is type(without)
    assert not any("lora" in name for name, _ in model.named_parameters())


def test_what_adapters_leave_out_is_their_bases(base, adapter):
    tokenizer = ModelDir(adapter, PLAIN).tokenizer
    assert tokenizer.get_vocab() == ModelDir(base, PLAIN).tokenizer.get_vocab()
    (base / "generation_config.json").write_text('{"eos_token_id": [2, 4]}', "utf-8")
    assert ModelDir(adapter, PLAIN).stop_ids == [2, 4]


def test_a_tokenizer_beside_adapters_is_theirs(base, adapter):
    tokenizer = ModelDir(base, PLAIN).tokenizer
    tokenizer.chat_template = "{{ messages[0]['content'] }}"
    tokenizer.save_pretrained(adapter)
    assert ModelDir(adapter, PLAIN).tokenizer.chat_template == tokenizer.chat_template


def test_the_content_of_adapters_and_base_decides_the_identity(base, adapter):
    first = digest(adapter)
    assert digest(adapter) == first
    (base / "generation_config.json").write_text('{"eos_token_id": 2}', "utf-8")
    second = digest(adapter)
    _change(adapter, lora_alpha=13)
    assert len({first, second, digest(adapter)}) == 3


def test_a_base_is_found_beside_the_adapters_too(base, adapter, tmp_path_factory, monkeypatch):
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))  # a "../base" of the current directory comes first
    _change(adapter, base_model_name_or_path="../base")
    assert ModelDir(adapter, PLAIN).load_policy().config.model_type == "llama"


def test_a_base_is_found_in_the_cache_of_the_hub(base, adapter, tmp_path, monkeypatch):
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    stored = tmp_path / "hub" / "models--someone--base"
    shutil.copytree(base, stored / "snapshots" / "0123")
    (stored / "refs").mkdir()
    (stored / "refs" / "main").write_text("0123")
    _change(adapter, base_model_name_or_path="someone/base")
    assert ModelDir(adapter, PLAIN).load_policy().config.model_type == "llama"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"base_model_name_or_path": "someone/nothing"},
            "its base 'someone/nothing' is neither a local directory nor in",
        ),
        (
            {"base_model_name_or_path": "/nowhere/at/all"},
            "its base '/nowhere/at/all' is neither a local directory nor in",
        ),
        ({"base_model_name_or_path": None}, "does not name a base model.*Set base_model_name_or_path"),
        ({"peft_type": "IA3"}, "adapters of type IA3 cannot be merged, only LORA"),
        ({"task_type": "SEQ_CLS"}, "the adapters are for a model of the task SEQ_CLS, not CAUSAL_LM"),
    ],
)
def test_adapters_that_cannot_be_used_are_refused_in_one_line(adapter, changes, message):
    _change(adapter, **changes)
    for use in (
        digest,
        check_weights,
        lambda path: ModelDir(path, PLAIN).load_policy(),
        lambda path: ModelDir(path, PLAIN).tokenizer,
    ):
        with pytest.raises(ModelError, match=message) as told:
            use(adapter)
        assert "\n" not in str(told.value)


def test_adapters_of_another_model_are_refused(base, adapter, tmp_path):
    """peft drops what has no place, and goes on."""
    settings = json.loads((base / "config.json").read_text("utf-8"))
    (base / "config.json").write_text(json.dumps({**settings, "num_hidden_layers": 1}), "utf-8")
    with pytest.raises(ModelError, match=r"the adapters do not fit their base model: .*layers\.1\..* and \d+ more"):
        ModelDir(adapter, PLAIN).load_policy()


def test_weights_that_are_not_there_are_refused(adapter):
    weights = adapter / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(ModelError, match="the weights cannot be read"):
        check_weights(adapter)
    weights.rename(adapter / "adapter_model.bin")
    with pytest.raises(ModelError, match=r"adapters' weights are missing \(adapter_model.safetensors\)"):
        check_weights(adapter)


def test_a_whole_model_beside_adapters_is_refused(base, adapter):
    shutil.copy(base / "model.safetensors", adapter)
    with pytest.raises(ModelError, match=r"contains both adapters \(adapter_config.json\) and a complete model"):
        ModelDir(adapter, PLAIN).load_policy()


def test_vllm_and_zero_3_refuse_adapters(adapter):
    with pytest.raises(ConfigError, match=r"sampling with vLLM needs a complete model.*hf"):
        check_vllm(ModelDir(adapter, ModelConfig()), VllmSamplerConfig(), SamplingLimits(8, 8, 1.0))
    launch = LaunchConfig(launcher="deepspeed", zero_stage=3)
    with pytest.raises(ConfigError, match=r"divided by zero_stage = 3.*Set zero_stage to 2"):
        check_trainable(ModelDir(adapter, PLAIN), TrainConfig(model=PLAIN, launch=launch))


def _lists(prompts, directory):
    rows = [preferences(row["messages"], ["1 2", "3"], [1.0, 0.0]) for row in read_table(prompts, "prompts")]
    return with_table(directory, "lists", rows)


@pytest.fixture
def merged(adapter, tmp_path):
    """The same policy as a plain directory."""
    ModelDir(adapter, PLAIN).load_policy().save_pretrained(tmp_path / "merged")
    ModelDir(adapter, PLAIN).tokenizer.save_pretrained(tmp_path / "merged")
    return tmp_path / "merged"


SAMPLER = HfSamplerConfig(model=PLAIN)


def test_every_step_takes_adapters_as_it_takes_the_merged_policy(adapter, merged, tmp_path):
    """Also with new adapters trained on top, which are merged into a policy that needs no base."""
    prompts = write_prompts(tmp_path / "prompts", [("Ann has 3", "3"), ("Ben has 4", "4")])
    lists = _lists(prompts, tmp_path / "lists")
    short = {"max_new_tokens": 4, "max_prompt_tokens": 64}
    training = {"model": PLAIN, "max_steps": 1, "max_prompt_tokens": 32, "max_tokens": 64}
    made = {}
    for name, policy in (("adapter", adapter), ("merged", merged)):
        out = tmp_path / f"out-{name}"
        config = SampleConfig(sampler=SAMPLER, k=2, **short)
        sample.run(config, policy=policy, prompts=prompts, candidates=out / "candidates", iteration=1)
        evaluate.run(
            EvaluateConfig(sampler=SAMPLER, n=2, **short), policy=policy, prompts=prompts, evaluation=out / "e"
        )
        train.run(TrainConfig(**training), policy=policy, lists=lists, trained=out / "trained")
        lora = TrainConfig(**training, lora=LoraConfig(r=2))
        train.run(lora, policy=policy, lists=lists, trained=out / "with-lora")
        reward_model.run(RewardModelConfig(**training), policy=policy, lists=lists, trained=out / "reward-model")
        rows = read_table(out / "candidates", "candidates")
        made[name] = (
            [row["token_ids"] for row in rows],
            [ModelDir(out / trained, PLAIN).load_policy().state_dict() for trained in ("trained", "with-lora")],
        )
        assert not (out / "trained" / "adapter_config.json").exists()
    (ids, weights), (expected_ids, expected) = made["adapter"], made["merged"]
    assert ids == expected_ids
    for one, other in zip(weights, expected, strict=True):
        for name, value in one.items():
            torch.testing.assert_close(value, other[name], atol=1e-5, rtol=1e-4)


def test_adapters_are_registered_as_a_policy_that_needs_no_base(adapter, base, tmp_path, mlflow_uri):
    prompts = write_prompts(tmp_path / "prompts", [("Ann has 3", "3"), ("Ben has 4", "4")])
    evaluation = tmp_path / "evaluation"
    config = EvaluateConfig(sampler=SAMPLER, n=2, max_new_tokens=4, max_prompt_tokens=64)
    evaluate.run(config, policy=adapter, prompts=prompts, evaluation=evaluation)
    tracker = Tracker(TrackingConfig(uri=mlflow_uri), tmp_path / "unused")
    with tracker.run("promote", "1", PromoteConfig()) as run:
        registry = Registry(tracker.uri, run.run_id)
        paths = {"policy": adapter, "evaluation": evaluation, "baseline": None}
        promote.run(PromoteConfig(), promotion=tmp_path / "promotion", registry=registry, **paths)
    found = registry.download("models:/larpo-policy@champion", tmp_path / "champion")
    expected = ModelDir(adapter, PLAIN).load_policy().state_dict()
    shutil.rmtree(base)
    for name, value in ModelDir(found, PLAIN).load_policy().state_dict().items():
        assert torch.equal(value, expected[name])
    assert ModelDir(found, PLAIN).tokenizer.chat_template


def test_a_whole_run_begins_with_adapters(tiny_world, tmp_path, mlflow_uri):
    """Its prompts are rendered for them; it samples from them, trains them, and holds every iteration against them."""
    world = shutil.copytree(tiny_world, tmp_path / "world")
    shutil.copytree(tiny_world / "policy", tmp_path / "base")
    _write(tmp_path / "adapter", tmp_path / "base", **KINDS["plain"])
    settings = [f"policy={tmp_path / 'adapter'}", f"tracking.uri={mlflow_uri}", "loop.reference=initial"]
    config = load_config(world / "larpo.toml", settings)
    summary = run_loop(config, tmp_path / "out")
    assert [row["iteration"] for row in summary["iterations"]] == [0, 1]
    assert not list((tmp_path / "out").rglob("adapter_config.json"))
