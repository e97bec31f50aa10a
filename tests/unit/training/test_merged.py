import pytest
import torch
from peft import LoraConfig as PeftConfig
from peft import get_peft_model
from small_models import make_model

from larpo_lib.config import LoraConfig
from larpo_lib.training.merged import merge_lora_weights, update_kept
from larpo_lib.training.trainable import add_adapters

LORA = LoraConfig(r=4, alpha=12)
LINEAR = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


def _with_random_adapters(model):
    torch.manual_seed(1)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if ".lora_" in name:
                parameter.normal_(0, 0.2)
    return model


def _merged_by_peft(model, adapted, names):
    peft = get_peft_model(model, PeftConfig(r=4, lora_alpha=12, target_modules=list(names), lora_dropout=0.0))
    missing, unexpected = peft.base_model.model.load_state_dict(adapted, strict=True)
    assert not missing
    assert not unexpected
    return peft.merge_and_unload().state_dict()


@pytest.mark.parametrize("targets", [None, ("q_proj", "down_proj")])
@pytest.mark.parametrize("family", ["llama", "qwen2"])
def test_merged_weights_are_those_that_peft_makes(family, targets):
    """Qwen2 has biases in its adapted layers."""
    ours = make_model(family)
    add_adapters(ours, LORA.model_copy(update={"targets": targets}))
    _with_random_adapters(ours)
    names = targets or LINEAR
    expected = _merged_by_peft(make_model(family), ours.state_dict(), names)
    found = merge_lora_weights(ours.state_dict(), 12 / 4)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, atol=1e-6, rtol=0.0)
    plain = make_model(family).state_dict()
    changed = {name.split(".")[-2] for name, value in found.items() if not torch.equal(value, plain[name])}
    assert changed == set(names)


def test_low_precision_weights_are_rounded_once():
    """Merging in bfloat16 itself would round B A, too."""
    model = make_model("llama").to(torch.bfloat16)
    add_adapters(model, LORA)
    weights = _with_random_adapters(model).state_dict()
    layer = "model.layers.0.mlp.up_proj"
    up, down = (weights[f"{layer}.lora_{part}.default.weight"].double() for part in "BA")
    exact = (weights[f"{layer}.base_layer.weight"].double() + 3 * (up @ down)).to(torch.bfloat16)
    found = merge_lora_weights(weights, 3)[f"{layer}.weight"]
    assert found.dtype is torch.bfloat16
    assert (found == exact).float().mean() > 0.99


def test_adapters_of_a_model_in_bfloat16_are_merged_into_what_is_stored():
    """As peft merges the same adapters into the model in float32; tied weights stay one."""
    ours = make_model("llama", tie_word_embeddings=True).to(torch.bfloat16)
    add_adapters(ours, LORA)
    adapted = _with_random_adapters(ours).state_dict()
    expected = _merged_by_peft(make_model("llama", tie_word_embeddings=True), adapted | _whole(adapted), LINEAR)
    stored = make_model("llama", tie_word_embeddings=True).state_dict()
    found = merge_lora_weights(adapted, 12 / 4, stored)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name].dtype is torch.float32
        torch.testing.assert_close(found[name], value, atol=1e-6, rtol=0.0)
    assert found["lm_head.weight"].data_ptr() == found["model.embed_tokens.weight"].data_ptr()


def _whole(adapted):
    """The weights in float32 of which a model in bfloat16 has the rounded ones, by their names beside adapters."""
    stored = make_model("llama", tie_word_embeddings=True).state_dict()
    return {name: stored[name.replace(".base_layer.", ".")] for name in adapted if ".lora_" not in name}


def test_the_share_of_an_update_that_is_left_is_counted_by_hand():
    """Above 1, numbers in bfloat16 are 2^-7 apart: a change of .003 is lost, 2^-7 is not, .006 becomes 2^-7."""
    step, down = 2**-7, torch.tensor([[0.003, 2**-7, 0.006]])
    weights = {
        "layer.base_layer.weight": torch.ones(1, 3, dtype=torch.bfloat16),
        "layer.lora_A.default.weight": down / 2,
        "layer.lora_B.default.weight": torch.ones(1, 1),
    }
    published = merge_lora_weights(weights, 2, {"layer.weight": torch.ones(1, 3)})
    torch.testing.assert_close(published["layer.weight"], 1 + down)
    expected = (step * step + step * 0.006) / (0.003**2 + step**2 + 0.006**2)
    assert update_kept(weights, published, 2) == pytest.approx(expected, rel=1e-5)
    nothing = weights | {"layer.lora_B.default.weight": torch.zeros(1, 1)}
    assert update_kept(nothing, {"layer.weight": torch.ones(1, 3)}, 2) == 1


@pytest.mark.parametrize(("entry", "kept"), [(1e-4, 0.21), (1e-3, 0.96)])
def test_what_bfloat16_shows_of_an_update_is_what_the_guide_says(entry, kept):
    """Weights of about .02, 4,096 inputs, r = 16 and alpha = 32; the entries of B have gone up or down alike."""
    generator = torch.Generator().manual_seed(0)
    stored = (0.02 * torch.randn(64, 4096, generator=generator)).bfloat16()
    weights = {
        "layer.base_layer.weight": stored,
        "layer.lora_A.default.weight": (2 * torch.rand(16, 4096, generator=generator) - 1) / 4096**0.5,
        "layer.lora_B.default.weight": entry * torch.randn(64, 16, generator=generator).sign(),
    }
    published = merge_lora_weights(weights, 2, {"layer.weight": stored.float()})
    assert update_kept(weights, published, 2) == pytest.approx(kept, abs=0.02)
