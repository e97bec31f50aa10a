"""Lists and demonstrations to token ids, with every row that does not fit counted."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from larpo_lib.config import SftConfig, TrainConfig
from larpo_lib.config.training import UnknownEnd
from larpo_lib.models.chat import decode, find_special_text, message_contents, opened_think_tag, prompt_ids
from larpo_lib.models.packing import PackedList
from larpo_lib.models.replies import encode_continuation, encode_reply, squeezed
from larpo_lib.models.turns import TurnEnd
from larpo_lib.progress import tell
from larpo_lib.schemas import LENGTH, STOP, UNKNOWN, Messages
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
    those whose token ids do not spell their text, as where another tokenizer made them. Of responses known as text
    alone, `replies_merged` and `replies_rewritten` are those of `policies.replies.Reply`.
    """

    prompts_too_long_dropped: int = 0
    responses_too_long_dropped: int = 0
    lists_without_preference_dropped: int = 0
    unknown_ends_taught: int = 0
    unknown_ends_left_open: int = 0
    responses_spelled_otherwise: int = 0
    replies_merged: int = 0
    replies_rewritten: int = 0
    prompts_with_special_text: int = 0
    responses_with_special_text: int = 0


def encode_lists(
    rows: Iterable[Row], tokenizer: PreTrainedTokenizerBase, config: TrainConfig, end: TurnEnd
) -> tuple[list[EncodedList], EncodeCounts]:
    """Encode training lists.

    Responses keep the token ids they were sampled as; text-only ones are tokenized here, as they stand in their
    conversation. A response too long for `max_tokens` leaves its list, and a list left with no two different rewards
    has nothing to teach.
    """
    counts = EncodeCounts()
    encoded = []
    for row in rows:
        prompt = prompt_ids(tokenizer, row["messages"])
        if len(prompt) > config.max_prompt_tokens:
            counts.prompts_too_long_dropped += 1
            continue
        texts = _Texts(tokenizer, row["messages"], prompt, end, counts)
        ends = _ends(row, config, counts)
        responses = [
            sampled if sampled is not None else texts.ids(text, finish)
            for text, sampled, finish in zip(row["responses"], row["token_ids"], ends, strict=True)
        ]
        counts.responses_spelled_otherwise += _spelled_otherwise(row, tokenizer)
        kept, rewards = keep_within(responses, row["rewards"], config.max_tokens - len(prompt), counts)
        if kept:
            encoded.append(EncodedList(row["prompt_id"], prompt, kept, rewards))
    return encoded, counts


def encode_text_lists(
    rows: Iterable[Row], tokenizer: PreTrainedTokenizerBase, config: TrainConfig
) -> tuple[list[EncodedList], EncodeCounts]:
    """Encode training lists of plain texts, which no chat template is written around.

    The tokenizer adds its special tokens to a prompt (`prompt`, a text), and a response goes on from there; those that
    ended get the eos token.
    """
    counts = EncodeCounts()
    encoded = []
    for row in rows:
        prompt = tokenizer(row["prompt"])["input_ids"]
        if len(prompt) > config.max_prompt_tokens:
            counts.prompts_too_long_dropped += 1
            continue
        ends = [finish_reason_or_default(UNKNOWN, config.unknown_end, counts) for _ in row["responses"]]
        replies = [
            encode_continuation(tokenizer, row["prompt"], prompt, text, finish)
            for text, finish in zip(row["responses"], ends, strict=True)
        ]
        counts.replies_merged += sum(reply.merged for reply in replies)
        room = config.max_tokens - len(prompt)
        kept, rewards = keep_within([reply.ids for reply in replies], row["rewards"], room, counts)
        if kept:
            encoded.append(EncodedList(row["prompt_id"], prompt, kept, rewards))
    return encoded, counts


def _ends(row: Row, config: TrainConfig, counts: EncodeCounts) -> list[str]:
    """How the responses of a list are taken to have ended."""
    return [
        finish if sampled is not None else finish_reason_or_default(finish, config.unknown_end, counts)
        for finish, sampled in zip(row["finish_reasons"], row["token_ids"], strict=True)
    ]


def finish_reason_or_default(finish_reason: str, unknown_end: UnknownEnd, counts: EncodeCounts) -> str:
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
    opened = squeezed(opened_think_tag(tokenizer, row["messages"])) if known else ""
    return sum(not _spells(tokenizer, ids, squeezed(text).removeprefix(opened)) for text, ids in known)


def _spells(tokenizer: PreTrainedTokenizerBase, ids: list[int], text: str) -> bool:
    """Whether token ids spell a text, with their last one or, where it is an ordinary token that ended it, without."""
    return text in {squeezed(decode(tokenizer, ids)), squeezed(decode(tokenizer, ids[:-1]))}


class _Texts:
    """Encodes the responses to one prompt that are known as text alone, and counts what became of them."""

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        messages: Messages,
        prompt: list[int],
        end: TurnEnd,
        counts: EncodeCounts,
    ) -> None:
        self._tokenizer, self._messages, self._prompt = tokenizer, messages, prompt
        self._end, self._counts = end, counts
        counts.prompts_with_special_text += find_special_text(tokenizer, message_contents(messages)) is not None

    def ids(self, response: str, finish_reason: str) -> list[int]:
        reply = encode_reply(self._tokenizer, self._messages, self._prompt, response, finish_reason, self._end)
        self._counts.replies_merged += reply.merged
        self._counts.replies_rewritten += reply.rewritten
        self._counts.responses_with_special_text += find_special_text(self._tokenizer, [response]) is not None
        return reply.ids


def keep_within(
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
    rows: Iterable[Row], tokenizer: PreTrainedTokenizerBase, config: SftConfig, end: TurnEnd
) -> tuple[list[EncodedList], EncodeCounts]:
    """Encode demonstrations, each as a list of one response."""
    counts = EncodeCounts()
    encoded = []
    for row in rows:
        prompt = prompt_ids(tokenizer, row["messages"])
        if len(prompt) > config.max_prompt_tokens:
            counts.prompts_too_long_dropped += 1
            continue
        finish = finish_reason_or_default(row.get("finish_reason") or UNKNOWN, config.unknown_end, counts)
        response = _Texts(tokenizer, row["messages"], prompt, end, counts).ids(row["response"], finish)
        if len(prompt) + len(response) > config.max_tokens:
            counts.responses_too_long_dropped += 1
            continue
        encoded.append(EncodedList(row["prompt_id"], prompt, [response], [0.0]))
    return encoded, counts


def report_encoding(counts: EncodeCounts) -> None:
    """Say what is taught of responses that may be read otherwise than they are meant."""
    if counts.unknown_ends_taught:
        tell(
            f"{counts.unknown_ends_taught} responses do not say how they ended: the policy is trained to end "
            "there (unknown_end)"
        )
    if counts.unknown_ends_left_open:
        tell(
            f"{counts.unknown_ends_left_open} responses do not say how they ended: they are trained without an "
            "end-of-turn token (unknown_end)"
        )
    if counts.responses_spelled_otherwise:
        tell(
            f"{counts.responses_spelled_otherwise} responses differ from the text of their token ids; training "
            "uses the ids"
        )
    if counts.replies_merged:
        tell(
            f"{counts.replies_merged} responses would share a token with the end of their prompt: this token is "
            "split in two"
        )
    if counts.replies_rewritten:
        tell(
            f"{counts.replies_rewritten} responses are changed by the chat template, for example by removing "
            "thoughts: training uses them unchanged"
        )
    if counts.prompts_with_special_text or counts.responses_with_special_text:
        tell(
            f"{counts.prompts_with_special_text} prompts and {counts.responses_with_special_text} responses "
            "contain names of special tokens, which are read as model.special_text says"
        )
