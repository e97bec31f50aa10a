"""The same rows through TRL's own preparation and ours: the same tokens for prompts and responses, on every template.

TRL goes on where a template writes something behind the end of a turn, mostly a line break. No policy is asked for it,
and a sampled response has none, so here a response ends where its turn does.
"""

from types import SimpleNamespace
from typing import Any

import pytest
from real_tokenizers import KINDS, Kind, real_tokenizer
from small_models import user
from table_rows import preferences

from larpo_lib.config import RewardModelConfig, SftConfig, TrainConfig
from larpo_lib.models.turns import turn_end
from larpo_lib.training.encode import EncodedList, encode_demonstrations, encode_lists
from larpo_lib.training.reward_model import encode_conversations

ROOM = {"max_prompt_tokens": 4096, "max_tokens": 8192}
HISTORY = [*user("hello there!"), {"role": "assistant", "content": "Sure!"}, *user("And what is 6 times 7?")]
ROWS: list[tuple[list[dict[str, str]], str, str]] = [
    (user("How many coins does Ben have?"), "The answer is 42.", "I think:\n\n- one\n- two"),
    (HISTORY, "42", "6 times 7 is\nnine."),
    (user("  def add(a, b):\n    return a"), "éè, 你好 🙂", "a"),
]
LISTS = [preferences(asked, [good, bad], [1.0, 0.0]) for asked, good, bad in ROWS]


@pytest.fixture(scope="module", params=KINDS)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def _assistant(text: str) -> list[dict[str, str]]:
    return [{"role": "assistant", "content": text}]


def _settings(kind: Any) -> Any:
    return kind(max_length=None, report_to=[], use_cpu=True, bf16=False)


def _by_trl(tokenizer: Any, trainer: Any, config: Any, rows: list[dict[str, Any]], *more: Any) -> list[dict[str, Any]]:
    from datasets import Dataset

    knows = SimpleNamespace(_tokenizer=tokenizer, chat_template=None, completion_only_loss=True)
    prepared = trainer._prepare_dataset(knows, Dataset.from_list(rows), tokenizer, _settings(config), *more, "train")
    return list(prepared)


def _demonstrations(tokenizer: Any) -> list[EncodedList]:
    shown = [{"prompt_id": "p", "messages": m, "response": text, "finish_reason": "stop"} for m, text, _ in ROWS]
    return encode_demonstrations(shown, tokenizer, SftConfig(**ROOM), turn_end(tokenizer))[0]


def _ended(tokenizer: Any, kind: Kind, ids: list[int]) -> list[int]:
    """A response of TRL's up to the end of its turn, behind which there is what the template writes there."""
    last = len(ids) - 1 - ids[::-1].index(tokenizer.convert_tokens_to_ids(kind.end))
    rest = [token for token in tokenizer.convert_ids_to_tokens(ids[last + 1 :]) if token != "▁"]
    assert rest in ([], ["<0x0A>"], ["Ċ"], ["Ċ", "<|endoftext|>"])
    assert bool(rest) == bool(kind.tail)
    return ids[: last + 1]


def test_lists_have_the_tokens_that_dpo_has_in_trl(name: str) -> None:
    from trl import DPOConfig, DPOTrainer

    kind = KINDS[name]
    tokenizer = real_tokenizer(kind)
    rows = [{"prompt": asked, "chosen": _assistant(a), "rejected": _assistant(b)} for asked, a, b in ROWS]
    theirs = _by_trl(tokenizer, DPOTrainer, DPOConfig, rows)
    ours, counts = encode_lists(LISTS, tokenizer, TrainConfig(**ROOM), turn_end(tokenizer))
    assert (counts.replies_merged, counts.replies_rewritten) == (0, 0)
    assert [item.prompt for item in ours] == [row["prompt_ids"] for row in theirs]
    for item, row in zip(ours, theirs, strict=True):
        assert item.responses == [_ended(tokenizer, kind, row[side]) for side in ("chosen_ids", "rejected_ids")]
        assert all(response[-1] == tokenizer.convert_tokens_to_ids(kind.end) for response in item.responses)


def test_demonstrations_have_the_tokens_that_sft_has_in_trl(name: str) -> None:
    from trl import SFTConfig, SFTTrainer

    kind = KINDS[name]
    tokenizer = real_tokenizer(kind)
    rows = [{"prompt": asked, "completion": _assistant(text)} for asked, text, _ in ROWS]
    theirs = _by_trl(tokenizer, SFTTrainer, SFTConfig, rows, False, None)
    ours = _demonstrations(tokenizer)
    for item, row in zip(ours, theirs, strict=True):
        learnt = [token for token in row["labels"] if token != -100]
        assert item.prompt + learnt == row["input_ids"]
        assert item.responses == [_ended(tokenizer, kind, learnt)]


def test_a_reward_model_is_trained_on_the_tokens_that_it_is_in_trl(name: str) -> None:
    from trl import RewardConfig, RewardTrainer

    tokenizer = real_tokenizer(KINDS[name])
    rows = [{"prompt": asked, "chosen": _assistant(a), "rejected": _assistant(b)} for asked, a, b in ROWS]
    theirs = _by_trl(tokenizer, RewardTrainer, RewardConfig, rows)
    ours, _ = encode_conversations(LISTS, tokenizer, RewardModelConfig(**ROOM))
    for item, row in zip(ours, theirs, strict=True):
        assert [item.prompt + rest for rest in item.responses] == [row["chosen_ids"], row["rejected_ids"]]


def test_the_conversation_is_what_transformers_makes_of_it(name: str) -> None:
    kind = KINDS[name]
    tokenizer = real_tokenizer(kind)
    ours = _demonstrations(tokenizer)
    for item, (asked, text, _) in zip(ours, ROWS, strict=True):
        whole = tokenizer.apply_chat_template([*asked, *_assistant(text)], tokenize=True)["input_ids"]
        together = item.prompt + item.responses[0]
        assert whole[: len(together)] == together
        assert len(whole) - len(together) <= 2
