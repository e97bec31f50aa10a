import json
import shutil

import pytest
from real_tokenizers import ALPACA, CHATML, KINDS, Kind, published, real_tokenizer
from small_models import LLAMA3, THINKING, make_tokenizer
from transformers import GenerationConfig

from larpo_lib.config import ModelConfig
from larpo_lib.errors import ModelError
from larpo_lib.models.model_dir import ModelDir
from larpo_lib.models.turns import turn_end

PLAIN = ModelConfig(device="cpu")
IM = ("<|im_start|>", "<|im_end|>")


@pytest.mark.parametrize("name", KINDS)
def test_a_turn_ends_with_what_the_template_writes_behind_a_reply(name):
    """Whether or not the model's settings name it."""
    tokenizer = real_tokenizer(KINDS[name])
    end = tokenizer.convert_tokens_to_ids(KINDS[name].end)
    assert turn_end(tokenizer).token == end
    assert turn_end(tokenizer, [tokenizer.eos_token_id, end]).token == end


def test_it_ends_so_too_where_the_prompt_opens_a_thought():
    tokenizer = make_tokenizer(THINKING, "<|endoftext|>", (*IM, "<think>", "</think>"))
    assert turn_end(tokenizer, [tokenizer.eos_token_id]).token == tokenizer.convert_tokens_to_ids("<|im_end|>")


def test_gpt_oss_ends_a_run_with_return():
    special = ("<|start|>", "<|message|>", "<|channel|>", "<|end|>", "<|return|>")
    tokenizer = real_tokenizer(Kind("bytes", published("gptoss"), "<|return|>", special, "<|return|>"))
    assert turn_end(tokenizer).token == tokenizer.convert_tokens_to_ids("<|return|>")


def test_a_template_that_writes_no_end_ends_with_eos():
    assert turn_end(real_tokenizer(Kind("legacy", ALPACA, "</s>", (), ""))).text == ""
    tokenizer = make_tokenizer(LLAMA3.replace("<|eot_id|>", ""), "<|end_of_text|>", ("<|start|>", "<|end|>"))
    assert turn_end(tokenizer).token == tokenizer.eos_token_id


def test_an_end_that_is_an_ordinary_token_is_found_by_the_models_settings():
    tokenizer = make_tokenizer(CHATML.replace("<|im_end|>", " ! "), "<|endoftext|>", ("<|im_start|>",))
    shout = tokenizer.convert_tokens_to_ids("!")
    assert turn_end(tokenizer).token == tokenizer.eos_token_id
    assert turn_end(tokenizer, [shout]).token == shout


def test_a_response_stops_where_the_template_ends_a_turn(tmp_path, tiny_policy):
    """As in many published models: eos is `<|endoftext|>`, nobody names `<|im_end|>`, and turns end with it."""
    shutil.copytree(tiny_policy, tmp_path, dirs_exist_ok=True)
    tokenizer = make_tokenizer(CHATML, "<|endoftext|>", IM)
    tokenizer.save_pretrained(tmp_path)
    GenerationConfig(eos_token_id=tokenizer.eos_token_id).save_pretrained(tmp_path)
    stops = ModelDir(tmp_path, PLAIN).stop_ids
    assert stops == sorted(tokenizer.convert_tokens_to_ids(["<|endoftext|>", "<|im_end|>"]))


@pytest.mark.parametrize(("stated", "expected"), [(None, [4]), (7, [4, 7]), ([9, 4, 7], [4, 7, 9])])
def test_a_response_stops_at_the_models_own_tokens_and_at_eos(tiny_policy, tmp_path, stated, expected):
    shutil.copytree(tiny_policy, tmp_path, dirs_exist_ok=True)
    assert ModelDir(tmp_path, PLAIN).tokenizer.eos_token_id == 4
    GenerationConfig(eos_token_id=stated).save_pretrained(tmp_path)
    assert ModelDir(tmp_path, PLAIN).stop_ids == expected


def test_without_generation_settings_the_models_own_eos_stops_a_response(tiny_policy, tmp_path):
    shutil.copytree(tiny_policy, tmp_path, dirs_exist_ok=True)
    (tmp_path / "generation_config.json").unlink()
    settings = json.loads((tiny_policy / "config.json").read_text("utf-8"))
    (tmp_path / "config.json").write_text(json.dumps({**settings, "eos_token_id": [6, 5]}), "utf-8")
    assert ModelDir(tmp_path, PLAIN).stop_ids == [4, 5, 6]


def test_stop_tokens_stop_too_and_must_be_tokens(tiny_policy):
    config = ModelConfig(device="cpu", stop_tokens=("<user>",))
    assert ModelDir(tiny_policy, config).stop_ids == [2, 4]
    wrong = ModelConfig(device="cpu", stop_tokens=("<nothing>",))
    with pytest.raises(ModelError, match=r"model.stop_tokens: '<nothing>' is not in the tokenizer's vocabulary"):
        _ = ModelDir(tiny_policy, wrong).stop_ids
