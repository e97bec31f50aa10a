import json

import pytest
import torch
from peft import LoraConfig as PeftConfig
from peft import PeftModel
from small_models import make_model
from training_lists import PLAIN, Killed, kill_at, publish, random_lists, train, with_reference
from transformers import AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel, PhimoeConfig, PhimoeForCausalLM

from larpo_lib.adapters import is_adapter
from larpo_lib.config import LaunchConfig, LoraConfig, ModelConfig, TrainConfig
from larpo_lib.errors import ConfigError, ModelError
from larpo_lib.models.layout import padded_layout
from larpo_lib.models.model_dir import ModelDir
from larpo_lib.models.scoring import attach_scorer
from larpo_lib.training import trainable
from larpo_lib.training.collator import TrainingList
from larpo_lib.training.kept_adapters import keep_adapters
from larpo_lib.training.ranks import Ranks
from larpo_lib.training.reference import reference_logps
from larpo_lib.training.trainable import add_adapters, check_finite, check_trainable, load_trainable, moved_weights

LORA = LoraConfig(r=4, alpha=12)
LINEAR = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
LISTS = random_lists(6)


@pytest.fixture(scope="module")
def adapted(tiny_policy, tmp_path_factory):
    """A training with adapters, and where it was."""
    scratch = tmp_path_factory.mktemp("adapted")
    lists = with_reference(tiny_policy, LISTS)
    return train(tiny_policy, lists, scratch, "listmle", lora=LORA, learning_rate=1e-2), scratch


def _logps(model):
    return reference_logps(model, [item.tokens for item in LISTS], padded_layout(0), [range(len(LISTS))], Ranks())


def _adapted(family, dtype):
    model = make_model(family).to(dtype)
    add_adapters(model, LORA)
    return model


def test_adapters_are_float32_and_start_where_the_model_is():
    model = _adapted("llama", torch.bfloat16)
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    assert {name.split(".")[-4] for name in trained} == set(LINEAR)
    assert {p.dtype for p in trained.values()} == {torch.float32}
    assert all(not p.any() for name, p in trained.items() if ".lora_B." in name)
    assert all(p.any() for name, p in trained.items() if ".lora_A." in name)


@pytest.mark.parametrize("targets", [None, ("q_proj", "down_proj")])
def test_how_far_a_weight_goes_is_counted_of_what_is_published(targets):
    """Entries of B that have gone 1e-3 up or down, by what peft makes of them."""
    model, lora = make_model("llama"), LORA.model_copy(update={"targets": targets})
    add_adapters(model, lora)
    reaches = {id(weight): reach for weight, reach in moved_weights(model, lora)}
    layers = [module for module in model.modules() if hasattr(module, "base_layer")]
    assert reaches.keys() == {id(layer.base_layer.weight) for layer in layers}
    for layer in layers:
        weight = layer.lora_B["default"].weight
        weight.data = 1e-3 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(0)).sign()
        moved = layer.get_delta_weight("default").square().mean().sqrt().item()
        assert reaches[id(layer.base_layer.weight)] * 1e-3 == pytest.approx(moved, rel=0.2)


def test_of_all_weights_each_goes_as_far_as_its_rate():
    model = make_model("llama")
    assert [(id(weight), reach) for weight, reach in moved_weights(model, None)] == [
        (id(parameter), 1.0) for parameter in model.parameters()
    ]


def test_only_adapters_are_trained(tiny_policy, adapted):
    fitted, _ = adapted
    before = ModelDir(tiny_policy, PLAIN).load_policy().state_dict()
    after = fitted.model.state_dict()
    frozen = {name.replace(".base_layer.", "."): value for name, value in after.items() if ".lora_" not in name}
    assert frozen.keys() == before.keys()
    assert all(torch.equal(value, before[name]) for name, value in frozen.items())
    trained = {name for name, parameter in fitted.model.named_parameters() if parameter.requires_grad}
    assert trained == {name for name in after if ".lora_" in name}
    assert all(value.any() for name, value in after.items() if ".lora_B." in name)
    held = sum(parameter.numel() for group in fitted.trainer.optimizer.param_groups for parameter in group["params"])
    assert held == sum(after[name].numel() for name in trained)


def test_training_with_adapters_starts_from_the_reference(tiny_policy, tmp_path):
    """The reference is the plain policy; adapters that did not start at 0 would have drifted from it."""
    model = attach_scorer(ModelDir(tiny_policy, PLAIN).load_policy(), 64)
    values = iter(_logps(model))
    exact = [TrainingList(item, [next(values) for _ in item.responses]) for item in LISTS]
    settings = {"lora": LORA, "learning_rate": 0.1, "warmup_ratio": 0.0, "batch_size": 6}
    history = train(tiny_policy, exact, tmp_path, "listmle", **settings).history
    for name in ("kl", "chosen_logp_drift", "margin"):
        assert history[0][name] == pytest.approx(0.0, abs=1e-5)
        assert abs(history[1][name]) > 1e-3
    assert history[1]["loss"] < history[0]["loss"]


def test_a_published_policy_is_plain_and_says_what_the_adapted_one_says(tiny_policy, adapted):
    fitted, scratch = adapted
    saved = publish(fitted, tiny_policy, scratch, lora=LORA)
    names = {path.name for path in saved.iterdir()}
    assert "model.safetensors" in names
    assert {name for name in names if "adapter" in name} == {"adapter"}
    assert not is_adapter(saved)
    plain, found = AutoModelForCausalLM.from_pretrained(saved, output_loading_info=True)
    assert not any(found[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert plain.state_dict().keys() == ModelDir(tiny_policy, PLAIN).load_policy().state_dict().keys()
    says = _logps(attach_scorer(ModelDir(saved, PLAIN).load_policy(), 64))
    assert says == pytest.approx(_logps(fitted.model.eval()), abs=1e-4)
    said = _logps(attach_scorer(ModelDir(tiny_policy, PLAIN).load_policy(), 64))
    assert max(abs(one - other) for one, other in zip(says, said, strict=True)) > 0.1


def test_adapters_are_kept_as_peft_reads_them(tiny_policy, adapted, tmp_path):
    """peft puts them onto the policy that was trained, and gets the policy that was published."""
    saved = publish(adapted[0], tiny_policy, tmp_path, lora=LORA)
    config = PeftConfig.from_pretrained(str(saved / "adapter"))
    assert (config.r, config.lora_alpha, set(config.target_modules)) == (4, 12, set(LINEAR))
    base = AutoModelForCausalLM.from_pretrained(tiny_policy, dtype="float32")
    loaded = PeftModel.from_pretrained(base, str(saved / "adapter"), low_cpu_mem_usage=False)
    assert any(value.any() for name, value in loaded.state_dict().items() if ".lora_B." in name)
    merged = loaded.merge_and_unload().state_dict()
    published = ModelDir(saved, PLAIN).load_policy().state_dict()
    assert merged.keys() == published.keys()
    for name, value in published.items():
        torch.testing.assert_close(merged[name], value, atol=1e-6, rtol=1e-5)
    (saved / "adapter" / "adapter_config.json").write_text(
        json.dumps(json.loads((saved / "adapter" / "adapter_config.json").read_text())
                   | {"base_model_name_or_path": str(tiny_policy)}))  # fmt: skip
    again = ModelDir(saved / "adapter", PLAIN).load_policy().state_dict()
    for name, value in published.items():
        torch.testing.assert_close(again[name], value, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize(
    ("targets", "expected"),
    [(None, list(LINEAR)), (("layers.1.mlp.down_proj",), ["model.layers.1.mlp.down_proj"]), (("q_proj",), ["q_proj"])],
)
def test_kept_adapters_name_their_modules_and_no_others(tmp_path, targets, expected):
    model = make_model("llama")
    add_adapters(model, LORA.model_copy(update={"targets": targets}))
    (tmp_path / ".larpo-hub.json").write_text(json.dumps({"model": f"org/name@{'a' * 40}"}))
    keep_adapters(model.state_dict(), LORA, tmp_path, tmp_path)
    config = PeftConfig.from_pretrained(str(tmp_path / "adapter"))
    assert sorted(config.target_modules) == sorted(expected)
    assert (config.base_model_name_or_path, config.revision) == ("org/name", "a" * 40)


def test_a_killed_training_of_adapters_goes_on_and_ends_the_same(tiny_policy, tmp_path, adapted):
    lists = with_reference(tiny_policy, LISTS)
    settings = {"lora": LORA, "learning_rate": 1e-2, "save_steps": 1}
    with pytest.raises(Killed):
        train(tiny_policy, lists, tmp_path, "listmle", kill_at(3), **settings)
    checkpoints = [*(tmp_path / "checkpoints").iterdir()]
    assert len(checkpoints) == 2
    for checkpoint in checkpoints:
        size = sum(path.stat().st_size for path in checkpoint.iterdir())
        assert size < (tiny_policy / "model.safetensors").stat().st_size
    resumed = train(tiny_policy, lists, tmp_path, "listmle", **settings)
    assert resumed.history == adapted[0].history
    expected = adapted[0].model.state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in resumed.model.state_dict().items())


def test_gradient_checkpointing_reaches_adapters(tiny_policy, tmp_path, adapted):
    """The layers' inputs need no gradient where the embeddings are frozen; reentrant checkpoints would stop there."""
    lists = with_reference(tiny_policy, LISTS)
    again = train(tiny_policy, lists, tmp_path, "listmle", lora=LORA, learning_rate=1e-2, gradient_checkpointing=True)
    for one, other in zip(again.history, adapted[0].history, strict=True):
        assert one == pytest.approx(other, rel=1e-4, abs=1e-6)


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        (("nope",), "the model has no module nope"),
        (("q_proj", "nope"), "the model has no module nope"),
        (("proj",), "the model has no module proj"),
        (("norm",), "lora.targets: Target module LlamaRMSNorm"),
        (("embed_tokens",), "model.embed_tokens of a llama model is a Embedding layer, not a Linear layer"),
    ],
)
def test_targets_that_cannot_be_adapted_are_refused(targets, message):
    with pytest.raises(ConfigError, match=message) as told:
        add_adapters(make_model("llama"), LoraConfig(targets=targets))
    assert "remove it" in str(told.value)


def test_layers_that_are_not_linear_are_refused_before_training():
    """GPT-2's hold their weights the other way round."""
    sizes = {"n_embd": 32, "n_layer": 1, "n_head": 4, "n_positions": 64, "vocab_size": 61}
    with pytest.raises(ConfigError, match="is a Conv1D layer, not a Linear layer"):
        add_adapters(GPT2LMHeadModel(GPT2Config(**sizes, bos_token_id=1, eos_token_id=2)), LORA)


def test_routers_that_are_linear_layers_and_give_more_are_refused_before_training():
    """PhiMoE's return a tuple of three; peft notices in the first forward pass."""
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "vocab_size": 61}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 2, "num_local_experts": 2}
    with pytest.raises(ConfigError, match="is a PhimoeTopKRouter layer, not a Linear layer"):
        add_adapters(PhimoeForCausalLM(PhimoeConfig(**sizes, **heads)), LORA)


def test_an_output_layer_that_is_tied_cannot_be_adapted():
    """The published model would have only one of the two weights that training has made of one."""
    tied = make_model("llama", tie_word_embeddings=True)
    with pytest.raises(ConfigError, match="lm_head shares its weights with the embeddings"):
        add_adapters(tied, LoraConfig(targets=("lm_head",)))
    add_adapters(make_model("llama"), LoraConfig(targets=("lm_head",)))


@pytest.mark.parametrize(
    ("package", "changes", "message"),
    [
        ("peft", {"lora": LORA}, r"peft is not installed\. pip install 'larpo\[lora\]'"),
        (
            "deepspeed",
            {"launch": LaunchConfig(launcher="deepspeed")},
            r"DeepSpeed is not installed\. pip install 'larpo\[deepspeed\]'",
        ),
    ],
)
def test_a_library_that_is_not_installed_is_told(tiny_policy, monkeypatch, package, changes, message):
    check_trainable(ModelDir(tiny_policy, PLAIN), TrainConfig(model=PLAIN, **changes))
    monkeypatch.setattr(trainable, "find_spec", lambda name: None if name == package else True)
    with pytest.raises(ConfigError, match=message):
        check_trainable(ModelDir(tiny_policy, PLAIN), TrainConfig(model=PLAIN, **changes))


def test_bfloat16_is_not_trained_in_by_deepspeeds_stage_0(tiny_policy):
    """`FP16_UnfusedOptimizer` begins with a step of AdamW by itself, so that step 1 is corrected as a step 2."""
    stage_0 = LaunchConfig(launcher="deepspeed", zero_stage=0)
    half = ModelConfig(device="cpu", dtype="bfloat16")
    with pytest.raises(ConfigError, match=r"zero_stage = 0 cannot train in bfloat16\. Set zero_stage to 1 or 2, or "):
        check_trainable(ModelDir(tiny_policy, half), TrainConfig(model=half, launch=stage_0))
    check_trainable(ModelDir(tiny_policy, PLAIN), TrainConfig(model=PLAIN, launch=stage_0))
    torchrun = LaunchConfig(launcher="torchrun", zero_stage=0)
    check_trainable(ModelDir(tiny_policy, half), TrainConfig(model=half, launch=torchrun))


def test_float16_is_not_trained_in(tiny_policy):
    half = ModelConfig(device="cpu", dtype="float16")
    with pytest.raises(ConfigError, match="training with float16 is not supported"):
        check_trainable(ModelDir(tiny_policy, half), TrainConfig(model=half))


@pytest.mark.parametrize(
    ("dtype", "lora", "expected"),
    [
        ("float32", None, torch.float32),
        ("bfloat16", None, torch.float32),  # with all weights trained, bfloat16 is for the passes only
        ("bfloat16", LORA, torch.bfloat16),
        ("float32", LORA, torch.float32),
    ],
)
def test_weights_that_are_trained_are_float32(tiny_policy, dtype, lora, expected):
    config = TrainConfig(model=ModelConfig(device="cpu", dtype=dtype), lora=lora)
    model = load_trainable(AutoModelForCausalLM, ModelDir(tiny_policy, config.model), config)
    assert {p.dtype for p in model.parameters() if p.requires_grad} == {torch.float32}
    assert model.get_input_embeddings().weight.dtype is expected


def test_weights_that_are_no_numbers_are_not_saved(tiny_policy):
    weights = {**ModelDir(tiny_policy, PLAIN).load_policy().state_dict()}
    check_finite(weights)
    weights["model.norm.weight"] = weights["model.norm.weight"].clone()
    weights["model.norm.weight"][3] = float("inf")
    with pytest.raises(ModelError, match=r"weights of model.norm.weight infinite or NaN\. .* --discard-partial"):
        check_finite(weights)


def test_quantized_weights_are_not_trained(tiny_policy, tmp_path):
    """What would be published were whole weights under a config.json that says otherwise."""
    settings = json.loads((tiny_policy / "config.json").read_text("utf-8"))
    quantized = {**settings, "quantization_config": {"quant_method": "gptq", "bits": 4}}
    (tmp_path / "config.json").write_text(json.dumps(quantized), "utf-8")
    with pytest.raises(ModelError, match=r"its weights are quantized \(gptq\)"):
        check_trainable(ModelDir(tmp_path, PLAIN), TrainConfig(model=PLAIN))
