from __future__ import annotations

import pytest
from small_models import CHATML, GEMMA, LLAMA3, THINKING, make_tokenizer, user

from larpo_lib.errors import ModelError
from larpo_lib.policies.chat import conversation_text, end_of_turn_id, prompt_ids, prompt_text, response_ids

FORMATS = {
    "chatml": (CHATML, "<|endoftext|>", ("<|im_start|>", "<|im_end|>"), "<|im_end|>"),
    "llama3": (LLAMA3, "<|end_of_text|>", ("<|start|>", "<|end|>", "<|eot_id|>"), "<|eot_id|>"),
    "gemma": (GEMMA, "<eos>", ("<start_of_turn>", "<end_of_turn>"), "<end_of_turn>"),
}
PROMPTS = {
    "chatml": ["<|im_start|>", "user", "hello", "world", "<|im_end|>", "<|im_start|>", "assistant"],
    "llama3": [
        "<bos>",
        "<|start|>",
        "user",
        "<|end|>",
        "hello",
        "world",
        "<|eot_id|>",
        "<|start|>",
        "assistant",
        "<|end|>",
    ],
    "gemma": ["<bos>", "<start_of_turn>", "user", "hello", "world", "<end_of_turn>", "<start_of_turn>", "model"],
}


def _tokenizer(name):
    template, eos, specials, _ = FORMATS[name]
    return make_tokenizer(template, eos, specials)


@pytest.mark.parametrize("name", FORMATS)
def test_a_prompt_has_the_templates_tokens_and_no_second_bos(name):
    tokenizer = _tokenizer(name)
    assert tokenizer("hello").input_ids[0] == tokenizer.bos_token_id  # it would add one by itself
    ids = prompt_ids(tokenizer, user("hello world"))
    assert tokenizer.convert_ids_to_tokens(ids) == PROMPTS[name]


@pytest.mark.parametrize("name", FORMATS)
def test_the_turn_ends_with_the_stop_token_the_template_writes(name):
    tokenizer = _tokenizer(name)
    ending = tokenizer.convert_tokens_to_ids(FORMATS[name][3])
    assert ending != tokenizer.eos_token_id
    assert end_of_turn_id(tokenizer, [tokenizer.eos_token_id, ending]) == ending


@pytest.mark.parametrize("name", FORMATS)
def test_the_turn_ends_with_eos_where_sampling_would_not_stop_at_the_templates_token(name):
    tokenizer = _tokenizer(name)
    assert end_of_turn_id(tokenizer, [tokenizer.eos_token_id]) == tokenizer.eos_token_id


def test_the_turn_ends_with_eos_where_the_template_rewrites_the_prompt():
    tokenizer = make_tokenizer(THINKING, "<|endoftext|>", ("<|im_start|>", "<|im_end|>", "<think>", "</think>"))
    im_end = tokenizer.convert_tokens_to_ids("<|im_end|>")
    assert end_of_turn_id(tokenizer, [im_end, tokenizer.eos_token_id]) == tokenizer.eos_token_id


@pytest.mark.parametrize("name", FORMATS)
def test_prompt_and_response_together_are_the_conversation(name):
    tokenizer = _tokenizer(name)
    ending = tokenizer.convert_tokens_to_ids(FORMATS[name][3])
    apart = prompt_ids(tokenizer, user("hello")) + response_ids(tokenizer, "1 2 3", "stop", ending)
    text = conversation_text(tokenizer, user("hello"), "1 2 3")
    assert text.startswith(prompt_text(tokenizer, user("hello")))
    assert apart == tokenizer(text, add_special_tokens=False).input_ids


def test_a_truncated_response_gets_no_end_of_turn_token():
    tokenizer = _tokenizer("chatml")
    whole = response_ids(tokenizer, "1 2 3", "stop", 7)
    assert tokenizer.convert_ids_to_tokens(whole[:-1]) == ["1", "2", "3"]
    assert whole[-1] == 7
    assert response_ids(tokenizer, "1 2 3", "length", 7) == whole[:-1]


def test_an_empty_response_is_its_end_of_turn_token():
    assert response_ids(_tokenizer("chatml"), "", "stop", 7) == [7]


def test_a_role_that_the_template_refuses_is_named():
    tokenizer = _tokenizer("gemma")
    messages = [{"role": "system", "content": "hello"}, *user("world")]
    with pytest.raises(ModelError, match=r"roles system, user: System role not supported"):
        prompt_ids(tokenizer, messages)
