import pytest
from real_tokenizers import KINDS, Kind, published, real_tokenizer
from small_models import CHATML, GEMMA, LLAMA3, make_tokenizer, user

from larpo_lib.config import ModelConfig
from larpo_lib.errors import ModelError
from larpo_lib.models.chat import (
    attach_settings,
    conversation_ids,
    conversation_text,
    decode,
    depends_on_date,
    prompt_ids,
    prompt_text,
    select_chat_template,
)
from larpo_lib.models.replies import encode_reply
from larpo_lib.models.turns import turn_end

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
def test_prompt_and_response_together_are_the_conversation(name):
    tokenizer = _tokenizer(name)
    prompt = prompt_ids(tokenizer, user("hello"))
    reply = encode_reply(tokenizer, user("hello"), prompt, "1 2 3", "stop", turn_end(tokenizer))
    text = conversation_text(tokenizer, user("hello"), "1 2 3")
    assert text.startswith(prompt_text(tokenizer, user("hello")))
    assert prompt + reply.ids == tokenizer(text, add_special_tokens=False).input_ids
    assert conversation_ids(tokenizer, user("hello"), "1 2 3") == prompt + reply.ids


def test_a_role_that_the_template_refuses_is_named():
    tokenizer = _tokenizer("gemma")
    messages = [{"role": "system", "content": "hello"}, *user("world")]
    with pytest.raises(ModelError, match=r"roles system, user: System role not supported"):
        prompt_ids(tokenizer, messages)


def test_a_template_that_breaks_on_a_conversation_is_named_too():
    tokenizer = make_tokenizer("{{ messages[0]['content'] + 1 }}", "<eos>", ())
    with pytest.raises(ModelError, match=r"refuses a conversation with the roles user: can only concatenate str"):
        prompt_ids(tokenizer, user("hello"))


NAMED = {"rag": "{{ 'rag ' + messages[0]['content'] }}", "chat": CHATML}


def _named(templates):
    tokenizer = make_tokenizer(CHATML, "<|endoftext|>", ("<|im_start|>", "<|im_end|>"))
    tokenizer.chat_template = dict(templates)
    return tokenizer


def test_one_of_several_templates_must_be_chosen_where_none_is_the_default():
    remedy = r"several chat templates \(chat, rag\), but none of them is the default.*--set model.chat_template=chat"
    with pytest.raises(ModelError, match=remedy):
        select_chat_template(_named(NAMED), ModelConfig())


def test_a_template_is_chosen_by_its_name_and_saved_as_the_default(tmp_path):
    tokenizer = _named(NAMED)
    select_chat_template(tokenizer, ModelConfig(chat_template="rag"))
    assert prompt_text(tokenizer, user("hello")) == "rag hello"
    tokenizer.save_pretrained(tmp_path)
    again = type(tokenizer).from_pretrained(tmp_path)
    assert prompt_text(again, user("hello")) == "rag hello"
    select_chat_template(again, ModelConfig(chat_template="chat"))
    assert prompt_text(again, user("hello")).startswith("<|im_start|>user")


def test_a_name_wins_over_the_default():
    tokenizer = _named({**NAMED, "default": "{{ 'plain' }}"})
    select_chat_template(tokenizer, ModelConfig())
    assert prompt_text(tokenizer, user("hello")) == "plain"
    select_chat_template(tokenizer, ModelConfig(chat_template="chat"))
    assert prompt_text(tokenizer, user("hello")).startswith("<|im_start|>user")


@pytest.mark.parametrize(
    ("templates", "remedy"),
    [(NAMED, "Set it to one of chat, rag, or to a Jinja template"), ({}, "to a Jinja template")],
)
def test_a_name_that_no_template_has_is_not_taken_for_a_template(templates, remedy):
    tokenizer = _named(templates)
    with pytest.raises(ModelError, match=f"'tool_use' is not a Jinja template.*{remedy}"):
        select_chat_template(tokenizer, ModelConfig(chat_template="tool_use"))


@pytest.mark.parametrize("name", ["llama3_2", "gptoss"])
def test_published_templates_are_told_the_same_day_on_every_day(name):
    tokenizer = real_tokenizer(Kind("bytes", published(name), "<|endoftext|>", (), ""))
    assert depends_on_date(tokenizer, user("hello"))
    assert any(day in prompt_text(tokenizer, user("hello")) for day in ("2024-07-26", "26 Jul 2024"))
    now = tokenizer.apply_chat_template(user("hello"), tokenize=False, add_generation_prompt=True)
    assert prompt_text(tokenizer, user("hello")) != now
    attach_settings(tokenizer, ModelConfig(date="2025-03-01"))
    assert any(day in prompt_text(tokenizer, user("hello")) for day in ("2025-03-01", "01 Mar 2025"))


def test_the_day_is_in_prompts_and_in_conversations():
    tokenizer = make_tokenizer(
        "{{ strftime_now('%d %b %Y') }}{% for message in messages %}{{ message['content'] }}{% endfor %}", "<eos>", ()
    )
    assert prompt_text(tokenizer, user("?")) == "26 Jul 2024?"
    assert conversation_text(tokenizer, user("?"), "!") == "26 Jul 2024?!"
    assert depends_on_date(tokenizer, user("?"))
    attach_settings(tokenizer, ModelConfig(date="2031-12-05"))
    assert prompt_text(tokenizer, user("?")) == "05 Dec 2031?"
    assert not depends_on_date(real_tokenizer(KINDS["chatml"]), user("?"))


def test_decoding_keeps_the_spaces_that_the_policy_wrote():
    """Of tokenizers that were saved with clean_up_tokenization_spaces, as many older ones were."""
    tokenizer = make_tokenizer(CHATML, "<|im_end|>", ("<|im_start|>",))
    tokenizer.clean_up_tokenization_spaces = True
    ids = tokenizer.convert_tokens_to_ids(["hello", "!", "1", "?", "<|im_end|>"])
    assert tokenizer.decode(ids, skip_special_tokens=True) == "hello! 1?"
    assert decode(tokenizer, ids) == "hello ! 1 ?"
