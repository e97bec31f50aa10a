import pytest
from real_tokenizers import CHATML, SPACED, Kind, real_tokenizer
from small_models import user

from larpo_lib.config import SftConfig, TrainConfig
from larpo_lib.models.turns import turn_end
from larpo_lib.playground.policy import make_tokenizer
from larpo_lib.training.encode import EncodeCounts, encode_demonstrations, encode_lists

WORDS = ("one", "two", "three")
ONE, TWO, THREE = 5, 6, 7
USER, ASSISTANT, END = 2, 3, 4


@pytest.fixture(scope="module")
def tokenizer():
    return make_tokenizer(WORDS)


LIMITS = {"max_prompt_tokens": 8, "max_tokens": 12}


def _row(prompt="one", responses=("two", "three"), rewards=(1.0, 0.0), token_ids=None, finish=None):
    return {
        "prompt_id": "p",
        "messages": user(prompt),
        "responses": list(responses),
        "token_ids": token_ids or [None] * len(responses),
        "rewards": list(rewards),
        "finish_reasons": finish or ["stop"] * len(responses),
    }


def _encode(tokenizer, *rows, **changes):
    return encode_lists(rows, tokenizer, TrainConfig(**LIMITS | changes), turn_end(tokenizer))


def test_text_responses_are_tokenized_and_sampled_ones_taken_as_they_are(tokenizer):
    row = _row(responses=("two", "two", "three"), rewards=(2, 1, 0), token_ids=[[TWO, TWO, END], None, None])
    (item,), counts = _encode(tokenizer, row)
    assert item.prompt_id == "p"
    assert item.prompt == [USER, ONE, ASSISTANT]
    assert item.responses == [[TWO, TWO, END], [TWO, END], [THREE, END]]
    assert item.rewards == [2, 1, 0]
    assert counts == EncodeCounts(responses_spelled_otherwise=1)


def test_truncated_text_gets_no_end_of_turn_token(tokenizer):
    (item,), _ = _encode(tokenizer, _row(finish=["length", "stop"]))
    assert item.responses == [[TWO], [THREE, END]]


def test_prompts_at_the_limit_stay_and_longer_ones_go(tokenizer):
    fits, too_long = _row("one " * 6), _row("one " * 7)
    encoded, counts = _encode(tokenizer, fits, too_long, too_long)
    assert [len(item.prompt) for item in encoded] == [8]
    assert counts == EncodeCounts(prompts_too_long_dropped=2)


def test_responses_at_the_limit_stay_and_longer_ones_leave_their_list(tokenizer):
    row = _row(responses=("two " * 8, "two " * 9, "three"), rewards=(2, 1, 0))
    (item,), counts = _encode(tokenizer, row)
    assert [len(response) for response in item.responses] == [9, 2]  # prompt of 3, limit 12
    assert item.rewards == [2, 0]
    assert counts == EncodeCounts(responses_too_long_dropped=1)


def test_a_list_left_without_preference_is_dropped(tokenizer):
    one_left = _row(responses=("two " * 20, "three"))
    tied_left = _row(responses=("two " * 20, "three", "two"), rewards=(2, 1, 1))
    none_left = _row(responses=("two " * 20, "three " * 20))
    encoded, counts = _encode(tokenizer, one_left, tied_left, none_left, _row())
    assert len(encoded) == 1
    assert counts == EncodeCounts(responses_too_long_dropped=4, lists_without_preference_dropped=3)


def test_empty_responses_cannot_be_scored_and_leave_their_list(tokenizer):
    row = _row(responses=("", "two", "three"), rewards=(2, 1, 0), finish=["length", "stop", "stop"])
    (item,), counts = _encode(tokenizer, row)
    assert item.rewards == [1, 0]
    assert counts == EncodeCounts(responses_too_long_dropped=1)


def test_demonstrations_become_lists_of_one(tokenizer):
    rows = [
        {"prompt_id": "a", "messages": user("one"), "response": "two three", "finish_reason": "stop"},
        {"prompt_id": "b", "messages": user("one " * 20), "response": "two", "finish_reason": "stop"},
        {"prompt_id": "c", "messages": user("one"), "response": "two " * 20, "finish_reason": "stop"},
    ]
    (item,), counts = encode_demonstrations(rows, tokenizer, SftConfig(**LIMITS), turn_end(tokenizer))
    assert (item.prompt_id, item.prompt, item.responses) == ("a", [USER, ONE, ASSISTANT], [[TWO, THREE, END]])
    assert counts == EncodeCounts(prompts_too_long_dropped=1, responses_too_long_dropped=1)


@pytest.mark.parametrize(
    ("unknown_end", "expected", "counted"),
    [("teach", [TWO, END], "unknown_ends_taught"), ("leave_open", [TWO], "unknown_ends_left_open")],
)
def test_setting_decides_of_an_end_that_nothing_is_said_of(tokenizer, unknown_end, expected, counted):
    row = _row(
        responses=("two", "three", "one"),
        rewards=(2, 1, 0),
        finish=["unknown", "length", "unknown"],
        token_ids=[None, None, [ONE]],
    )
    (item,), counts = _encode(tokenizer, row, unknown_end=unknown_end)
    assert item.responses == [expected, [THREE], [ONE]], "token ids are taken as they are"
    assert counts == EncodeCounts(**{counted: 1})
    demonstrations = [
        {"prompt_id": "a", "messages": user("one"), "response": "two", "finish_reason": finish}
        for finish in (None, "unknown", "length", "stop")
    ]
    shown, counts = encode_demonstrations(
        demonstrations, tokenizer, SftConfig(unknown_end=unknown_end), turn_end(tokenizer)
    )
    assert [item.responses for item in shown] == [[expected], [expected], [[TWO]], [[TWO, END]]]
    assert counts == EncodeCounts(**{counted: 2})


def test_token_ids_that_do_not_spell_their_response_are_counted(tokenizer):
    spelled = _row(token_ids=[[TWO, END], [THREE]])
    other = _row(token_ids=[[THREE, END], None])
    _, counts = _encode(tokenizer, spelled, other)
    assert counts == EncodeCounts(responses_spelled_otherwise=1)


SHORT = {"max_prompt_tokens": 64, "max_tokens": 128}


def test_replies_that_are_not_read_as_they_may_be_meant_are_counted():
    tokenizer = real_tokenizer(Kind("first", SPACED.replace("'\n'", "''"), "</s>", (), "</s>"))
    rows = [
        _row("see </s>?", ("hello", "The answer"), (1.0, 0.0)),
        _row("hello", ("it ends </s>", "hello there"), (1.0, 0.0), finish=["stop", "length"]),
    ]
    lists, counts = encode_lists(rows, tokenizer, TrainConfig(**SHORT), turn_end(tokenizer))
    assert len(lists) == 2
    assert counts == EncodeCounts(replies_merged=3, prompts_with_special_text=1, responses_with_special_text=1)


def test_thoughts_that_a_template_leaves_out_are_counted():
    forgetful = CHATML.replace("+ message['content'] +", "+ message['content'].split('</think>')[-1] +")
    tokenizer = real_tokenizer(Kind("bytes", forgetful, "<|endoftext|>", ("<|im_start|>", "<|im_end|>"), "<|im_end|>"))
    rows = [{"prompt_id": "a", "messages": user("hello"), "response": "count</think>42", "finish_reason": "stop"}]
    (item,), counts = encode_demonstrations(rows, tokenizer, SftConfig(**SHORT), turn_end(tokenizer))
    assert counts == EncodeCounts(replies_rewritten=1)
    assert tokenizer.decode(item.responses[0]) == "count</think>42<|im_end|>"


def test_the_thought_that_a_prompt_opens_is_no_part_of_the_tokens_of_a_response():
    """Samplers put it in front of the text, so that thoughts that were cut are told from a reply."""
    opening = CHATML.replace("assistant\n' }}{% endif", "assistant\n<think>\n' }}{% endif")
    tokenizer = real_tokenizer(Kind("bytes", opening, "<|endoftext|>", ("<|im_start|>", "<|im_end|>"), "<|im_end|>"))
    end = tokenizer.convert_tokens_to_ids("<|im_end|>")
    said = "count\n</think>\n\n42"
    ids = [*tokenizer(said, add_special_tokens=False).input_ids, end]
    row = _row("hello", (f"<think>\n{said}", f"<think>\n{said}"), (1.0, 0.0), token_ids=[ids, None])
    (item,), counts = encode_lists([row], tokenizer, TrainConfig(**SHORT), turn_end(tokenizer))
    assert item.responses == [ids, ids]
    assert counts.responses_spelled_otherwise == 0
