import json
import shutil

import pytest
import torch
from small_models import CHATML, FAMILIES, make_model, make_tokenizer, user
from transformers import AutoConfig, GenerationConfig

from larpo_lib.config import ModelConfig
from larpo_lib.models.chat import prompt_ids, prompt_text
from larpo_lib.models.model_dir import ModelDir
from larpo_lib.models.published import save_policy, with_older_keys, write_older_keys

PLAIN = ModelConfig(device="cpu")
LLAMA3 = {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 16}
OTHER_TEMPLATE = "{% for message in messages %}{{ message['content'] }} {% endfor %}"


def _read(path):
    return json.loads(path.read_text("utf-8"))


def _change(path, **changes):
    path.write_text(json.dumps({**_read(path), **changes}), "utf-8")


@pytest.fixture
def source(tmp_path):
    """A policy as `transformers` 4 published them: its names of keys, and files that version 5 would not write."""
    directory = tmp_path / "source"
    make_model("llama", rope_parameters={"rope_type": "default", "rope_theta": 500000.0}).save_pretrained(directory)
    make_tokenizer(CHATML, "<|im_end|>", ["<|im_start|>"]).save_pretrained(directory)
    write_older_keys(directory)
    settings = _read(directory / "config.json")
    for key in ("rope_parameters", "dtype"):
        del settings[key]
    settings |= {"torch_dtype": "bfloat16", "transformers_version": "4.40.1", "made_by": "someone"}
    (directory / "config.json").write_text(json.dumps(settings), "utf-8")
    (directory / "special_tokens_map.json").write_text('{"pad_token": "<pad>"}', "utf-8")
    (directory / "tokenizer.model").write_bytes(b"\x0a\x0bno such model")
    (directory / "additional_chat_templates").mkdir()
    (directory / "additional_chat_templates" / "tool_use.jinja").write_text("tools", "utf-8")
    (directory / "pytorch_model.bin").write_bytes(b"other weights")
    return directory


def _publish(source, config=PLAIN, weights=None):
    directory = source.parent / "published"
    made_from = ModelDir(source, config)
    model = made_from.load_policy()
    model.config.use_cache = False  # as the trainer leaves it
    save_policy(model, weights or model.state_dict(), made_from.tokenizer, made_from, directory)
    return directory


TOKENIZER = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "tokenizer.model",
    "chat_template.jinja",
    "additional_chat_templates/tool_use.jinja",
)


def test_the_tokenizer_is_copied_byte_for_byte(source):
    published = _publish(source)
    for name in TOKENIZER:
        assert (published / name).read_bytes() == (source / name).read_bytes()
    assert not (published / "pytorch_model.bin").exists()


def test_the_configuration_is_the_sources_but_for_the_precision(source):
    expected = {**_read(source / "config.json"), "dtype": "float32", "torch_dtype": "float32"}
    assert _read(_publish(source) / "config.json") == expected
    assert (expected["rope_theta"], expected["use_cache"]) == (500000.0, True)


def test_the_weights_are_those_that_are_given(source):
    before = ModelDir(source, PLAIN).load_policy().state_dict()
    published = _publish(source, weights={name: value + 1 for name, value in before.items()})
    for name, value in ModelDir(published, PLAIN).load_policy().state_dict().items():
        assert torch.equal(value, before[name] + 1)


def test_generation_settings_are_kept_even_if_transformers_would_not_write_them(source):
    """Meta's Llama 3.1 came with a temperature without do_sample once, which cannot be saved by save_pretrained."""
    told = '{"temperature": 0.6, "top_p": 0.9, "eos_token_id": [2, 3]}'
    (source / "generation_config.json").write_text(told, "utf-8")
    with pytest.raises(ValueError, match="invalid"):
        GenerationConfig.from_pretrained(source).save_pretrained(source.parent)
    assert (_publish(source) / "generation_config.json").read_text("utf-8") == told


def test_a_source_without_generation_settings_gets_none(source):
    (source / "generation_config.json").unlink()
    _change(source / "config.json", eos_token_id=ModelDir(source, PLAIN).tokenizer.eos_token_id)
    assert not (_publish(source) / "generation_config.json").exists()


def test_the_end_of_a_turn_that_the_source_does_not_name_is_told(source):
    """Else what reads the policy, which was trained to end its turns so, would go on behind them."""
    tokenizer = make_tokenizer(CHATML, "<|endoftext|>", ["<|im_start|>", "<|im_end|>"])
    tokenizer.save_pretrained(source)
    GenerationConfig(eos_token_id=tokenizer.eos_token_id, do_sample=True, top_k=7).save_pretrained(source)
    found = GenerationConfig.from_pretrained(_publish(source))
    assert set(found.eos_token_id) == set(tokenizer.convert_tokens_to_ids(["<|endoftext|>", "<|im_end|>"]))
    assert found.top_k == 7


def test_a_chat_template_that_was_chosen_by_its_name_is_published_as_the_default(source):
    chosen = ModelConfig(device="cpu", chat_template="tool_use")
    published = _publish(source, chosen)
    assert prompt_text(ModelDir(published, PLAIN).tokenizer, user("hello")) == "tools"
    assert prompt_text(ModelDir(published, chosen).tokenizer, user("hello")) == "tools"  # in the next iteration
    assert (published / "chat_template.jinja").read_text("utf-8") == "tools"
    told = {each["name"]: each["template"] for each in _read(published / "tokenizer_config.json")["chat_template"]}
    assert told == {"default": "tools", "tool_use": "tools"}  # older readers look there


def test_a_chat_template_of_the_settings_is_published(source):
    published = _publish(source, ModelConfig(device="cpu", chat_template=OTHER_TEMPLATE))
    tokenizer = ModelDir(published, PLAIN).tokenizer
    assert tokenizer.chat_template == OTHER_TEMPLATE
    assert prompt_ids(tokenizer, user("hello world")) == tokenizer.convert_tokens_to_ids(["hello", "world"])
    assert _read(published / "tokenizer_config.json")["chat_template"] == OTHER_TEMPLATE  # older readers look there
    assert not (published / "additional_chat_templates").exists()
    for name in ("tokenizer.json", "special_tokens_map.json", "tokenizer.model"):
        assert (published / name).read_bytes() == (source / name).read_bytes()


def test_a_pad_token_of_the_settings_is_published(source):
    published = _publish(source, ModelConfig(device="cpu", pad_token="<unk>"))
    assert ModelDir(published, PLAIN).tokenizer.pad_token == "<unk>"
    assert _read(published / "special_tokens_map.json") == {"pad_token": "<unk>"}


@pytest.mark.parametrize(
    ("settings", "older"),
    [
        ({"model_type": "llama", "rope_parameters": {"rope_type": "default", "rope_theta": 5e5}}, {"rope_theta": 5e5}),
        (
            {"model_type": "llama", "rope_parameters": {"rope_type": "llama3", "rope_theta": 5e5, **LLAMA3}},
            {"rope_theta": 5e5, "rope_scaling": {"rope_type": "llama3", **LLAMA3}},
        ),
        (
            {
                "model_type": "phi3",
                "rope_parameters": {
                    "rope_type": "longrope",
                    "type": "longrope",
                    "rope_theta": 1e4,
                    "partial_rotary_factor": 0.75,
                    "original_max_position_embeddings": 16,
                    "short_factor": [1.0],
                    "long_factor": [2.0],
                },
            },
            {  # as microsoft/Phi-4-mini-instruct has it
                "rope_theta": 1e4,
                "partial_rotary_factor": 0.75,
                "rope_scaling": {"type": "longrope", "short_factor": [1.0], "long_factor": [2.0]},
            },
        ),
        (
            {
                "model_type": "gemma3_text",
                "_sliding_window_pattern": 6,
                "rope_parameters": {
                    "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e6},
                    "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
                },
            },
            {  # as google/gemma-3-4b-it has it
                "rope_theta": 1e6,
                "rope_local_base_freq": 1e4,
                "rope_scaling": {"rope_type": "linear", "factor": 8.0},
                "sliding_window_pattern": 6,
            },
        ),
        (
            {
                "model_type": "gpt_neox",
                "rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "partial_rotary_factor": 0.25},
            },
            {"rotary_emb_base": 1e4, "rotary_pct": 0.25},  # as EleutherAI/pythia-70m has it
        ),
        (
            {"model_type": "olmo2", "rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 5e5}},
            {"rope_theta": 5e5, "rope_scaling": {"type": "linear", "factor": 2.0}},
        ),
        ({"model_type": "gpt2", "dtype": "bfloat16"}, {"torch_dtype": "bfloat16"}),
    ],
    ids=lambda value: value.get("model_type", ""),
)
def test_older_readers_find_their_own_keys(settings, older):
    assert with_older_keys(settings) == {**settings, **older}


def test_keys_of_a_part_of_the_model_are_told_too_and_what_is_there_stays():
    rope = {"rope_type": "default", "rope_theta": 5e5}
    nested = with_older_keys({"text_config": {"model_type": "llama", "rope_parameters": rope, "rope_theta": 1.0}})
    assert nested["text_config"]["rope_theta"] == 1.0


@pytest.mark.parametrize("family", FAMILIES)
def test_this_version_reads_the_same_with_the_older_keys(tmp_path, family):
    make_model(family).config.save_pretrained(tmp_path)
    before = AutoConfig.from_pretrained(tmp_path).to_dict()
    write_older_keys(tmp_path)
    after = AutoConfig.from_pretrained(tmp_path).to_dict()
    told = ("partial_rotary_factor", "sliding_window_pattern")  # which it keeps as they come, and does not use
    assert {k: v for k, v in after.items() if k not in told} == {k: v for k, v in before.items() if k not in told}


def test_a_tokenizer_that_transformers_5_wrote_is_told_in_older_names(tmp_path):
    tokenizer = make_tokenizer(CHATML, "<|im_end|>", ["<|im_start|>"])
    tokenizer.save_pretrained(tmp_path)
    make_model("llama").config.save_pretrained(tmp_path)
    shutil.copytree(tmp_path, tmp_path / "older")
    write_older_keys(tmp_path / "older")
    told = _read(tmp_path / "older" / "tokenizer_config.json")
    assert told["tokenizer_class"] == "PreTrainedTokenizerFast"
    assert told["additional_special_tokens"] == ["<|im_start|>"]
    assert "extra_special_tokens" not in told
    read = ModelDir(tmp_path / "older", PLAIN).tokenizer
    assert read.extra_special_tokens == tokenizer.extra_special_tokens
    assert prompt_ids(read, user("hello 1")) == prompt_ids(tokenizer, user("hello 1"))


@pytest.mark.parametrize("kept", ["in files", "in tokenizer_config.json"])
def test_a_template_that_is_chosen_by_its_name_is_the_default_of_what_is_published(source, kept):
    if kept == "in tokenizer_config.json":
        named = {"default": CHATML, "plain": OTHER_TEMPLATE}
        _change(source / "tokenizer_config.json", chat_template=[{"name": n, "template": t} for n, t in named.items()])
        (source / "chat_template.jinja").unlink()
        shutil.rmtree(source / "additional_chat_templates")
    else:
        (source / "additional_chat_templates" / "plain.jinja").write_text(OTHER_TEMPLATE, "utf-8")
    published = _publish(source, ModelConfig(device="cpu", chat_template="plain"))
    tokenizer = ModelDir(published, PLAIN).tokenizer
    assert tokenizer.chat_template["default"] == tokenizer.chat_template["plain"] == OTHER_TEMPLATE
    assert prompt_ids(tokenizer, user("hello world")) == tokenizer.convert_tokens_to_ids(["hello", "world"])
