import pytest
from real_tokenizers import ALPACA, CHATML, KINDS, SPACED, Kind, published, real_tokenizer
from small_models import user

from larpo_lib.models.chat import decode, prompt_ids
from larpo_lib.models.replies import encode_reply
from larpo_lib.models.turns import turn_end

ASKED = user("How many coins?")
IM = ("<|im_start|>", "<|im_end|>")
THINKING = CHATML.replace("assistant\n' }}{% endif", "assistant\n<think>\n' }}{% endif").replace(
    "message['content'] +", "message['content'].split('</think>')[-1].strip() +"
)
"""Opens a thought for the policy, and leaves thoughts out of what was said, as DeepSeek-R1's template does."""


def _reply(tokenizer, text, finish="stop", asked=ASKED):
    return encode_reply(tokenizer, asked, prompt_ids(tokenizer, asked), text, finish, turn_end(tokenizer))


def _tokens(tokenizer, text, finish="stop"):
    return tokenizer.convert_ids_to_tokens(_reply(tokenizer, text, finish).ids)


def test_a_reply_behind_a_line_break_gets_no_space_in_front():
    """Alone its first token would be `▁The`, which the policy could not have written there."""
    tokenizer = real_tokenizer(KINDS["zephyr"])
    assert tokenizer.tokenize("The answer") == ["▁The", "▁answer"]
    assert _tokens(tokenizer, "The answer") == ["The", "▁answer", "</s>"]


def test_a_reply_behind_a_space_gets_it():
    assert _tokens(real_tokenizer(KINDS["mistral"]), "The answer") == ["▁The", "▁answer", "</s>"]


@pytest.mark.parametrize("name", KINDS)
def test_a_reply_that_was_cut_is_the_same_without_its_end(name):
    tokenizer = real_tokenizer(KINDS[name])
    end = turn_end(tokenizer)
    whole, cut = _tokens(tokenizer, "The answer is 42."), _tokens(tokenizer, "The answer is 42.", "length")
    assert whole[-1] == KINDS[name].end
    assert end.token == tokenizer.convert_tokens_to_ids(KINDS[name].end)
    assert whole[: len(cut)] == cut
    assert [token for token in whole[len(cut) :] if token != "▁"] == [KINDS[name].end]


@pytest.mark.parametrize("name", KINDS)
def test_what_a_policy_wrote_comes_back_as_the_tokens_it_wrote(name):
    """As text a sampled response is what `decode` gives; known as text alone it must be scored as what it was."""
    tokenizer = real_tokenizer(KINDS[name])
    ids = _reply(tokenizer, "Sure! Here is what I found:\n- one\n- two").ids
    assert _reply(tokenizer, decode(tokenizer, ids)).ids == ids


def test_an_empty_reply_is_the_end_of_its_turn():
    assert _tokens(real_tokenizer(KINDS["chatml"]), "") == ["<|im_end|>"]
    assert _tokens(real_tokenizer(KINDS["chatml"]), "", "length") == []


def test_a_template_that_writes_no_end_gets_eos():
    tokenizer = real_tokenizer(Kind("legacy", ALPACA, "</s>", (), "</s>"))
    assert _tokens(tokenizer, "The answer") == ["The", "▁answer", "</s>"]
    assert not _reply(tokenizer, "The answer").rewritten


def test_a_reply_that_would_share_a_token_with_its_prompt_is_tokenized_apart():
    """The policy is given `assistant: ` with its space, a token `▁`, and cannot write `▁The` behind it."""
    tokenizer = real_tokenizer(Kind("first", SPACED, "</s>", (), "</s>"))
    prompt = tokenizer.convert_ids_to_tokens(prompt_ids(tokenizer, ASKED))
    assert prompt[-1] == "▁"
    reply = _reply(tokenizer, "The answer")
    assert reply.merged
    assert tokenizer.convert_ids_to_tokens(reply.ids) == ["The", "▁answer", "</s>"]


def test_bytes_that_would_merge_over_the_boundary_are_kept_apart():
    """Qwen's thinking models open `<think>\\n`; behind it a reply without thoughts begins with another line break."""
    template = CHATML.replace("assistant\n' }}{% endif", "assistant\n<think>\n' }}{% endif").replace(
        "+ message['content'] +",
        "+ ('<think>\\n\\n</think>\\n\\n' if message['role'] == 'assistant' else '') + message['content'] +",
    )
    tokenizer = real_tokenizer(Kind("bytes", template, "<|endoftext|>", IM, "<|im_end|>"))
    prompt = prompt_ids(tokenizer, ASKED)
    reply = _reply(tokenizer, "The answer")
    assert (reply.merged, reply.rewritten) == (True, False)
    assert tokenizer.decode([*prompt, *reply.ids]).endswith("<think>\n\n</think>\n\nThe answer<|im_end|>")
    assert tokenizer.convert_ids_to_tokens(reply.ids)[0].startswith("Ċ")


def test_a_thought_that_the_template_would_leave_out_stays_in_the_reply():
    tokenizer = real_tokenizer(Kind("bytes", THINKING, "<|endoftext|>", IM, "<|im_end|>"))
    for text in ("count the bags\n</think>\n\n42", "<think>\ncount the bags\n</think>\n\n42"):
        reply = _reply(tokenizer, text)
        assert (reply.merged, reply.rewritten) == (False, True)
        assert tokenizer.decode(reply.ids) == "count the bags\n</think>\n\n42<|im_end|>"
        assert tokenizer.decode(prompt_ids(tokenizer, ASKED)).endswith("assistant\n<think>\n")


def test_a_thought_is_written_as_qwens_template_writes_it():
    tokenizer = real_tokenizer(KINDS["qwen 3"])
    reply = _reply(tokenizer, "<think>\ncount the bags\n</think>\n\n42")
    assert not reply.rewritten
    assert tokenizer.decode(reply.ids) == "<think>\ncount the bags\n</think>\n\n42<|im_end|>"


def test_deepseeks_own_template_keeps_thoughts_in_what_is_trained():
    template = published("deepseek_r1_distill").replace("\uff5c", "|")
    special = ("<|User|>", "<|Assistant|>", "<|end▁of▁sentence|>", "<|begin▁of▁sentence|>")
    kind = Kind("bytes", template, "<|end▁of▁sentence|>", special, "<|end▁of▁sentence|>")
    tokenizer = real_tokenizer(kind)
    reply = _reply(tokenizer, "<think>\ncount the bags\n</think>\n\n42")
    asked = tokenizer.decode(prompt_ids(tokenizer, ASKED))
    assert (asked + tokenizer.decode(reply.ids)).endswith("<think>\ncount the bags\n</think>\n\n42<|end▁of▁sentence|>")


def test_templates_that_trim_do_not_rewrite():
    tokenizer = real_tokenizer(KINDS["llama 3"])
    reply = _reply(tokenizer, "  The answer \n")
    assert not reply.rewritten
    assert tokenizer.decode(reply.ids) == "The answer<|eot_id|>"
