"""Lists and demonstrations to token ids, with every row that does not fit counted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from larpo_lib.config import SftConfig, TrainConfig
from larpo_lib.config.training import UnknownEnd
from larpo_lib.policies.chat import prompt_ids, response_ids
from larpo_lib.policies.packing import PackedList
from larpo_lib.schemas import LENGTH, STOP, UNKNOWN
from larpo_lib.tables import Row


@dataclass(frozen=True)
class EncodedList:
    """A prompt and its responses as token ids, best first, with their rewards."""

    prompt_id: str
    prompt: list[int]
    responses: list[list[int]]
    rewards: list[float]

    @property
    def tokens(self) -> PackedList:
        """The prompt and its responses."""
        return self.prompt, self.responses


@dataclass
class EncodeCounts:
    """What became of the rows.

    `unknown_ends_*`: responses known as text alone of which nothing says how they ended. `responses_spelled_otherwise`:
    those whose token ids do not spell their text, as where another tokenizer made them.
    """

    prompts_too_long_dropped: int = 0
    responses_too_long_dropped: int = 0
    lists_without_preference_dropped: int = 0
    unknown_ends_taught: int = 0
    unknown_ends_left_open: int = 0
    responses_spelled_otherwise: int = 0


def encode_lists(
    rows: Sequence[Row], tokenizer: PreTrainedTokenizerBase, config: TrainConfig, end_of_turn: int
) -> tuple[list[EncodedList], EncodeCounts]:
    """Encode training lists.

    Responses keep the token ids they were sampled as; text-only ones are tokenized here. A response too long for
    `max_tokens` leaves its list, and a list left with no two different rewards has nothing to teach.
    """
    counts = EncodeCounts()
    encoded = []
    for row in rows:
        prompt = prompt_ids(tokenizer, row["messages"])
        if len(prompt) > config.max_prompt_tokens:
            counts.prompts_too_long_dropped += 1
            continue
        ends = _ends(row, config, counts)
        responses = [
            sampled if sampled is not None else response_ids(tokenizer, text, finish, end_of_turn)
            for text, sampled, finish in zip(row["responses"], row["token_ids"], ends, strict=True)
        ]
        counts.responses_spelled_otherwise += _spelled_otherwise(row, tokenizer)
        kept, rewards = keep_fitting(responses, row["rewards"], config.max_tokens - len(prompt), counts)
        if kept:
            encoded.append(EncodedList(row["prompt_id"], prompt, kept, rewards))
    return encoded, counts


def _ends(row: Row, config: TrainConfig, counts: EncodeCounts) -> list[str]:
    """How the responses of a list are taken to have ended."""
    return [
        finish if sampled is not None else known_end(finish, config.unknown_end, counts)
        for finish, sampled in zip(row["finish_reasons"], row["token_ids"], strict=True)
    ]


def known_end(finish_reason: str, unknown_end: UnknownEnd, counts: EncodeCounts) -> str:
    """How a response known as text alone is taken to have ended; the setting decides where nothing says it."""
    if finish_reason != UNKNOWN:
        return finish_reason
    if unknown_end == "teach":
        counts.unknown_ends_taught += 1
        return STOP
    counts.unknown_ends_left_open += 1
    return LENGTH


def _spelled_otherwise(row: Row, tokenizer: PreTrainedTokenizerBase) -> int:
    known = [pair for pair in zip(row["responses"], row["token_ids"], strict=True) if pair[1] is not None]
    spelled = [tokenizer.decode(i, skip_special_tokens=True, clean_up_tokenization_spaces=False) for _, i in known]
    return sum(_squeezed(text) != _squeezed(said) for (text, _), said in zip(known, spelled, strict=True))


def _squeezed(text: str | list[str]) -> str:
    assert isinstance(text, str)
    return "".join(text.split())


def keep_fitting(
    sequences: Sequence[list[int]], rewards: Sequence[float], room: int, counts: EncodeCounts
) -> tuple[list[list[int]], list[float]]:
    """The sequences of at least one and at most `room` tokens, with their rewards; the others are counted.

    None at all where no two of the rewards differ: such a list has nothing to teach, and is counted too.
    """
    kept = [(ids, reward) for ids, reward in zip(sequences, rewards, strict=True) if 0 < len(ids) <= room]
    counts.responses_too_long_dropped += len(sequences) - len(kept)
    if len({reward for _, reward in kept}) < 2:
        counts.lists_without_preference_dropped += 1
        return [], []
    return [ids for ids, _ in kept], [reward for _, reward in kept]


def encode_demonstrations(
    rows: Sequence[Row], tokenizer: PreTrainedTokenizerBase, config: SftConfig, end_of_turn: int
) -> tuple[list[EncodedList], EncodeCounts]:
    """Encode demonstrations, each as a list of one response."""
    counts = EncodeCounts()
    encoded = []
    for row in rows:
        prompt = prompt_ids(tokenizer, row["messages"])
        if len(prompt) > config.max_prompt_tokens:
            counts.prompts_too_long_dropped += 1
            continue
        finish = known_end(row.get("finish_reason") or UNKNOWN, config.unknown_end, counts)
        response = response_ids(tokenizer, row["response"], finish, end_of_turn)
        if len(prompt) + len(response) > config.max_tokens:
            counts.responses_too_long_dropped += 1
            continue
        encoded.append(EncodedList(row["prompt_id"], prompt, [response], [0.0]))
    return encoded, counts
