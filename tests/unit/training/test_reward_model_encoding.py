import pytest
from small_models import user
from table_rows import preferences

from larpo_lib.config import ModelConfig, RewardModelConfig
from larpo_lib.models.chat import conversation_ids
from larpo_lib.models.model_dir import ModelDir
from larpo_lib.rewards.rerankers import ReplyReranker, Scorable
from larpo_lib.rewards.rerankers.classifier import ClassifierConfig
from larpo_lib.training.encode import EncodeCounts
from larpo_lib.training.reward_model import encode_conversations

PLAIN = ModelConfig(device="cpu")
CONFIG = RewardModelConfig(model=PLAIN, max_prompt_tokens=32, max_tokens=64)


def _row(responses, rewards, text="How many ?"):
    return preferences(user(text), responses, rewards, token_ids=[[5, 6]] * len(responses))


def _encode(rows, tiny_policy, **changes):
    tokenizer = ModelDir(tiny_policy, PLAIN).tokenizer
    lists, counts = encode_conversations(rows, tokenizer, CONFIG.model_copy(update=changes))
    return [(tokenizer.decode(item.prompt), list(map(tokenizer.decode, item.responses))) for item in lists], counts


def test_conversations_share_what_they_begin_with(tiny_policy):
    """The template's own `<end>` closes a conversation, whatever token ids were sampled."""
    row = _row(["7 3 =", "7 3 . 1", "7 3"], [1.0, 0.5, 0.0])
    lists, _ = _encode([row], tiny_policy)
    assert lists == [("<user> How many? <assistant> 7 3", ["= <end>", ". 1 <end>", "<end>"])]


class _Seen:
    """A reranker that keeps what it is given."""

    name, list_relative = "seen", False

    def __init__(self):
        self.responses = []

    def score(self, items):
        self.responses += [item.response for item in items]
        return [0.0] * len(items)


@pytest.mark.parametrize(
    ("thinking", "read"),
    [("strip", ["<user> How many? <assistant> ", "7 <end>", "<end>", "5 <end>"]), ("keep", None)],
)
def test_of_thoughts_is_trained_on_what_the_reranker_is_given(tiny_policy, thinking, read):
    """The second one's thoughts have no end, and the third one's were begun by the prompt."""
    responses = ["<think> 3 4 </think> 7", "<think> 3 4", "3 4 </think> 5"]
    row = _row(responses, [1.0, 0.5, 0.0])
    tokenizer = ModelDir(tiny_policy, PLAIN).tokenizer
    (item,), _ = encode_conversations([row], tokenizer, CONFIG.model_copy(update={"thinking": thinking}))
    seen = _Seen()
    ReplyReranker(seen, thinking).score([Scorable(row["prompt_id"], row["messages"], text) for text in responses])
    assert [item.prompt + ids for ids in item.responses] == [
        conversation_ids(tokenizer, row["messages"], text) for text in seen.responses
    ]
    if read:
        found = [tokenizer.decode(item.prompt + ids).replace(" ", "") for ids in item.responses]
        assert found == [f"{read[0]}{text}".replace(" ", "") for text in read[1:]]


def test_the_default_is_that_of_the_reranker():
    assert RewardModelConfig().thinking == ClassifierConfig(path="any").thinking == "strip"


def test_padding_at_a_conversations_end_is_not_its_last_token(tiny_policy):
    tokenizer = ModelDir(tiny_policy, ModelConfig(device="cpu", special_text="control")).tokenizer
    tokenizer.chat_template = tokenizer.chat_template.replace("<end>", "")
    (item,), _ = encode_conversations([_row(["7 <pad> <pad>", "<pad> 3"], [1.0, 0.0])], tokenizer, CONFIG)
    assert [tokenizer.convert_ids_to_tokens(ids) for ids in item.responses] == [["7"], ["<pad>", "3"]]


def test_what_does_not_fit_or_has_no_preference_is_counted(tiny_policy):
    rows = [
        _row(["1", "2 3 4 5 6 7 8 9", "2"], [1.0, 0.5, 0.0]),
        _row(["1", "2"], [1.0, 0.0], "Ann " * 9),
        _row(["1", "2"], [1.0, 1.0]),
        _row(["1", "2 3 4 5 6 7 8 9"], [1.0, 0.0]),
    ]
    lists, counts = _encode(rows, tiny_policy, max_prompt_tokens=10, max_tokens=12)
    assert [len(responses) for _, responses in lists] == [2]
    assert counts == EncodeCounts(
        prompts_too_long_dropped=1, responses_too_long_dropped=2, lists_without_preference_dropped=2
    )


def test_names_of_special_tokens_are_counted_and_read_as_text(tiny_policy):
    rows = [_row(["7 <end>", "7"], [1.0, 0.0]), _row(["7", "3"], [1.0, 0.0], "What is <user> ?")]
    tokenizer = ModelDir(tiny_policy, PLAIN).tokenizer
    lists, counts = encode_conversations(rows, tokenizer, CONFIG)
    assert counts == EncodeCounts(prompts_with_special_text=1, responses_with_special_text=1)
    for item in lists:
        for response in item.responses:
            assert (item.prompt + response).count(tokenizer.eos_token_id) == 1
            assert (item.prompt + response).count(tokenizer.convert_tokens_to_ids("<user>")) == 1
