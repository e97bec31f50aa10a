import json
import shutil

import pytest
import torch
from small_models import FAMILIES, make_classifier, random_model
from transformers import BloomConfig, Gemma2Config, LlamaConfig, VaultGemmaConfig

from larpo_lib.config import ModelConfig
from larpo_lib.errors import ConfigError, ModelError
from larpo_lib.models.device import attention, model_dtype, training_attention
from larpo_lib.models.model_dir import ModelDir

PLAIN = ModelConfig(device="cpu")


@pytest.fixture
def policy(tiny_policy, tmp_path):
    return shutil.copytree(tiny_policy, tmp_path / "policy")


def _edit(path, **changes):
    settings = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({key: value for key, value in settings.items() if value is not None}))


def test_a_policy_loads_on_its_device_in_evaluation_mode(policy):
    model = ModelDir(policy, PLAIN).load_policy()
    assert not model.training
    assert model.dtype == torch.float32
    assert model.device.type == "cpu"
    assert ModelDir(policy, ModelConfig(device="cpu", dtype="bfloat16")).load_policy().dtype == torch.bfloat16


@pytest.mark.parametrize("load", [ModelDir.load_policy, lambda source: source.tokenizer])
def test_a_missing_directory_is_named(tmp_path, load):
    with pytest.raises(ModelError, match=r"nowhere: is not a model directory \(no config.json\)"):
        load(ModelDir(tmp_path / "nowhere", PLAIN))


@pytest.mark.parametrize("text", ["{", '{"model_type": "no-such-family"}'])
def test_a_config_that_cannot_be_read_is_refused(policy, text):
    (policy / "config.json").write_text(text)
    with pytest.raises(ModelError, match=r"policy: config.json cannot be read: .*"):
        ModelDir(policy, PLAIN).load_policy()


def test_a_model_of_another_kind_is_refused(policy):
    (policy / "config.json").write_text('{"model_type": "vit"}')
    with pytest.raises(ModelError, match="cannot be loaded"):
        ModelDir(policy, PLAIN).load_policy()


@pytest.mark.parametrize("token", [10**6, -1, [3, 10**6], "end"])
def test_a_stop_token_that_the_model_does_not_have_is_refused(policy, token):
    (policy / "generation_config.json").write_text(json.dumps({"eos_token_id": token}))
    with pytest.raises(ModelError, match=r"policy: eos_token_id is .*, which the model does not have"):
        ModelDir(policy, PLAIN).stop_ids  # noqa: B018


def test_pickled_weights_are_refused(policy):
    torch.save(ModelDir(policy, PLAIN).load_policy().state_dict(), policy / "pytorch_model.bin")
    (policy / "model.safetensors").unlink()
    with pytest.raises(ModelError, match=r"weights in safetensors"):
        ModelDir(policy, PLAIN).load_policy()


def test_torn_weights_are_refused(policy):
    weights = (policy / "model.safetensors").read_bytes()
    (policy / "model.safetensors").write_bytes(weights[: len(weights) // 2])
    with pytest.raises(ModelError, match=r"policy: the model cannot be loaded"):
        ModelDir(policy, PLAIN).load_policy()


def test_weights_of_another_shape_are_refused(policy):
    _edit(policy / "config.json", intermediate_size=40)
    with pytest.raises(ModelError, match=r"policy: the model cannot be loaded"):
        ModelDir(policy, PLAIN).load_policy()


def test_missing_weights_are_not_made_up(policy, tmp_path):
    make_classifier(tmp_path / "classifier", policy)
    with pytest.raises(ModelError, match=r"have no lm_head.weight. Use a model that was saved as LlamaForCausalLM"):
        ModelDir(tmp_path / "classifier", PLAIN).load_policy()


def test_a_directory_without_tokenizer_is_refused(policy):
    for path in policy.glob("*token*"):
        path.unlink()
    with pytest.raises(ModelError, match="tokenizer cannot be loaded"):
        _ = ModelDir(policy, PLAIN).tokenizer


def test_a_policy_without_a_pad_token_is_padded_with_eos_or_with_the_token_named(policy):
    """As TRL's trainers do; Llama 3 comes without one, and byte-level BPE has no <unk> to take instead."""
    _edit(policy / "tokenizer_config.json", pad_token=None)
    assert ModelDir(policy, PLAIN).tokenizer.pad_token == "<end>"
    assert ModelDir(policy, ModelConfig(pad_token="<unk>")).tokenizer.pad_token_id == 1
    with pytest.raises(ModelError, match=r"no pad token\. Set .*model.pad_token"):
        _ = ModelDir(policy, PLAIN).plain_tokenizer
    with pytest.raises(
        ModelError, match=r"pad_token '<nothing>' is not in the tokenizer's vocabulary\. Remove pad_tok"
    ):
        _ = ModelDir(policy, ModelConfig(pad_token="<nothing>")).tokenizer


def test_a_tokenizer_without_eos_token_is_refused(policy):
    _edit(policy / "tokenizer_config.json", eos_token=None)
    with pytest.raises(ModelError, match="no eos token"):
        _ = ModelDir(policy, PLAIN).tokenizer


def test_a_tokenizer_without_chat_template_is_refused(policy):
    (policy / "chat_template.jinja").unlink()
    with pytest.raises(ModelError, match="no chat template"):
        _ = ModelDir(policy, PLAIN).tokenizer


def test_models_with_capped_attention_are_kept_off_sdpa():
    for capped in (Gemma2Config(), VaultGemmaConfig()):
        assert attention(ModelConfig(), capped) == "eager"
        assert attention(ModelConfig(attention="flash_attention_2"), capped) == "flash_attention_2"
    assert attention(ModelConfig(), Gemma2Config(attn_logit_softcapping=None)) is None
    assert attention(ModelConfig(), LlamaConfig()) is None


def test_a_family_without_sdpa_is_loaded_with_eager_attention(policy):
    sizes = {"hidden_size": 16, "n_layer": 1, "n_head": 2, "vocab_size": 300}
    random_model(BloomConfig(**sizes)).save_pretrained(policy)
    assert ModelDir(policy, PLAIN).load_policy().config._attn_implementation == "eager"
    with pytest.raises(ModelError, match=r"does not support .* Set model.attention to auto or eager"):
        ModelDir(policy, ModelConfig(device="cpu", attention="sdpa")).load_policy()


@pytest.mark.parametrize("gpu", [False, True])
@pytest.mark.parametrize(
    ("setting", "family", "on_cpu", "on_gpu"),
    [
        ("auto", "llama", None, "flex_attention"),
        ("auto", "gemma2", "eager", "flex_attention"),
        ("auto", "granite", None, None),
        ("sdpa", "llama", "sdpa", "sdpa"),
        ("flash_attention_2", "llama", "flash_attention_2", "flash_attention_2"),
    ],
)
def test_training_shares_prompts_by_flex_attention_on_a_gpu(setting, family, on_cpu, on_gpu, gpu, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    assert training_attention(ModelConfig(attention=setting), FAMILIES[family]()) == (on_gpu if gpu else on_cpu)


def test_flex_attention_is_refused_where_it_cannot_train(monkeypatch):
    config = ModelConfig(attention="flex_attention")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert training_attention(config, FAMILIES["granite"]()) == "flex_attention"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match="'flex_attention' cannot be used for training without a GPU"):
        training_attention(config, FAMILIES["llama"]())


def test_on_a_cpu_the_precision_is_float32():
    assert model_dtype(ModelConfig(device="cpu")) == torch.float32
    assert model_dtype(ModelConfig(device="cpu", dtype="float16")) == torch.float16
