"""Policies of families and scalings that transformers 4 does not know, as they are read again."""

import json

import pytest
import torch
from families4 import SIZES
from small_models import CHATML, make_tokenizer
from transformers import AutoModelForCausalLM, Gemma4Config, Gemma4TextConfig, Olmo2Config, Phi3Config

from larpo_lib.config import ModelConfig
from larpo_lib.errors import ModelError
from larpo_lib.models.model_dir import ModelDir
from larpo_lib.models.published import check_publishable, save_policy

PLAIN = ModelConfig(device="cpu")


def _read(path):
    return json.loads(path.read_text("utf-8"))


_GEMMA4 = {
    **SIZES,
    "head_dim": 8,
    "sliding_window": 4,
    "layer_types": ["sliding_attention", "full_attention"] * 2,
    "vocab_size_per_layer_input": 280,
    "hidden_size_per_layer_input": 8,
    "num_kv_shared_layers": 2,
    "global_head_dim": 16,
    "tie_word_embeddings": True,
}
_VISION = {
    "hidden_size": 16,
    "intermediate_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "position_embedding_size": 8,
}
_IDS = {f"{name}_token_id": 270 + i for i, name in enumerate(("boi", "eoi", "image", "video", "boa", "audio"))}
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16, "rope_theta": 1e4}


def _hub_like(settings):
    """As Google's config.json, not as transformers writes it: the wider heads of the global layers by their own key."""
    text = settings.get("text_config", settings)
    del text["per_layer_config"]
    text["global_head_dim"] = 16
    return settings


@pytest.mark.parametrize(
    ("config", "edit"),
    [
        (Gemma4TextConfig(**_GEMMA4), dict),
        (Gemma4TextConfig(**_GEMMA4), _hub_like),
        (Gemma4Config(text_config=_GEMMA4, vision_config=_VISION, audio_config=None, **_IDS), _hub_like),
        (Olmo2Config(**SIZES, rope_parameters=YARN), dict),  # which version 4 does not know of this family
    ],
    ids=["gemma4", "gemma4-hub", "gemma4-vision", "olmo2-yarn"],
)
def test_families_that_version_4_does_not_know_are_published_as_they_were(tmp_path, config, edit):
    (tmp_path / "source").mkdir()
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path / "source")
    make_tokenizer(CHATML, "<|im_end|>", ["<|im_start|>"]).save_pretrained(tmp_path / "source")
    path = tmp_path / "source" / "config.json"
    path.write_text(json.dumps(edit(_read(path))), "utf-8")
    before = ModelDir(tmp_path / "source", PLAIN)
    check_publishable(before)
    model = before.load_policy()
    (tmp_path / "published").mkdir()
    save_policy(model, model.state_dict(), before.tokenizer, before, tmp_path / "published")
    after = ModelDir(tmp_path / "published", PLAIN)
    assert _of_text(after.config) == _of_text(before.config)
    ids = torch.arange(4, 24)[None]
    assert torch.equal(after.load_policy()(ids).logits, model(ids).logits)


def _of_text(config):
    found = config.get_text_config().to_dict()
    for key in ("_name_or_path", "dtype", "architectures"):
        found.pop(key, None)
    return found


def test_a_policy_that_would_be_read_with_other_rotary_embeddings_is_refused_with_what_helps(tmp_path):
    """Phi 3's readers of version 4 take no factor beside the others; version 5 scales attention by it."""
    factors = {"short_factor": [1.0] * 4, "long_factor": [2.0] * 4}
    rope = {"rope_type": "longrope", "factor": 8.0, "rope_theta": 1e4, **factors}
    Phi3Config(**SIZES, original_max_position_embeddings=16, rope_parameters=rope).save_pretrained(tmp_path)
    with pytest.raises(ModelError, match=r"would be read with the rope_parameters .* Add rope_scaling"):
        check_publishable(ModelDir(tmp_path, PLAIN))
    settings = _read(tmp_path / "config.json")
    told = json.dumps({**settings, "rope_scaling": settings["rope_parameters"]})
    (tmp_path / "config.json").write_text(told, "utf-8")
    check_publishable(ModelDir(tmp_path, PLAIN))
