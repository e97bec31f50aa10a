"""PairRM as a reranker: the responses of a list are compared two by two, both ways, and each gets its mean margin.

What the model reads and how comparisons become scores is that of `llm_blender` 0.0.2 (Jiang, Ren and Lin 2023, arXiv
2306.02561), against which it is tested. The conversation format, spelling included, is the one it was trained on.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations

import torch

from larpo_lib.models.batching import token_batches
from larpo_lib.models.heads import use_float32_heads
from larpo_lib.models.hub import label, local_model
from larpo_lib.models.model_dir import ModelDir
from larpo_lib.rewards.rerankers import Reranker, Scorable
from larpo_lib.rewards.rerankers.engines.pairrm_model import FIRST, SOURCE, PairRmModel, load_pairrm_tokenizer
from larpo_lib.rewards.rerankers.pairrm import PairRmConfig
from larpo_lib.schemas import Messages

_INSTRUCTION = "Finish the following coversation in each i-th turn by filling in <Response i> with your response."


@dataclass(frozen=True)
class _List:
    """One prompt and its distinct responses as PairRM reads them.

    Attributes:
        source: token ids of the prompt.
        candidates: token ids of each response, as the first one of a pair.
        source_cut: the prompt was too long.
        cut: of each response, whether it was too long.
    """

    source: list[int]
    candidates: list[list[int]]
    source_cut: bool
    cut: list[bool]

    def tokens(self, first: int, second: int) -> int:
        """Tokens of a comparison."""
        return len(self.source) + len(self.candidates[first]) + len(self.candidates[second])


@dataclass(frozen=True)
class _Pair:
    """A comparison: two different responses of a list, in this order."""

    place: int
    first: int
    second: int


class PairRmReranker(Reranker):
    """Scores the responses of a list by comparing each with each other one.

    A response's score is the sum of its margins over the others, each the first order's logit minus the second's,
    divided by the number of distinct responses; so the scores of a list add up to 0, and a lone response has 0.
    """

    list_relative = True

    def __init__(self, config: PairRmConfig) -> None:
        source = ModelDir(local_model(config.path), config.model)
        self.name = f"pairrm-{label(config.path)}"
        self._config = config
        self._tokenizer = load_pairrm_tokenizer(source, config)
        self._model = use_float32_heads(source.load(PairRmModel))
        self._second_id = int(self._model.config.cand2_prefix_id)
        self._not_in_text = sorted(self._tokenizer.get_added_vocab())

    def score(self, items: Sequence[Scorable]) -> list[float | None]:
        """Score each item against the other responses to its prompt_id; equal texts are one response."""
        grouped = _by_prompt(items)
        encoded = [self._encode(*group) for group in grouped.values()]
        scores = self._scores(encoded)
        places = {
            (prompt_id, text): scores[i][j]
            for i, (prompt_id, (_, texts)) in enumerate(grouped.items())
            for j, text in enumerate(texts)
        }
        return [places[item.prompt_id, item.response] for item in items]

    def cut(self, items: Sequence[Scorable]) -> dict[str, int]:
        """How many prompts, and how many of their distinct responses, the model sees only a part of."""
        encoded = [self._encode(*group) for group in _by_prompt(items).values()]
        return {
            "prompts_cut_for_scoring": sum(one.source_cut for one in encoded),
            "responses_cut_for_scoring": sum(sum(one.cut) for one in encoded),
        }

    def _encode(self, messages: Messages, responses: Sequence[str]) -> _List:
        texts = [pair_texts(messages, response) for response in responses]
        most = self._config.max_source_tokens
        source = self._ids(SOURCE, texts[0][0])
        if source_cut := len(source) > most:
            source = _without_end(source, most) if self._config.cut_source == "end" else _without_start(source, most)
        room = self._config.max_response_tokens + (most - len(source)) // 2
        candidates = [self._ids(FIRST, text) for _, text in texts]
        return _List(
            source=source,
            candidates=[ids if len(ids) <= room else _without_end(ids, room) for ids in candidates],
            source_cut=source_cut,
            cut=[len(ids) > room for ids in candidates],
        )

    def _ids(self, prefix: str, text: str) -> list[int]:
        """[CLS] prefix text [SEP]. Tokens that mean something to the model are blanks where a text spells them."""
        for token in self._not_in_text:
            text = text.replace(token, " ")
        ids: list[int] = self._tokenizer(prefix + text)["input_ids"]
        return ids

    def _scores(self, lists: Sequence[_List]) -> list[list[float]]:
        pairs = [
            _Pair(place, first, second)
            for place, one in enumerate(lists)
            for first, second in permutations(range(len(one.candidates)), 2)
        ]
        logits = [torch.zeros(len(one.candidates), len(one.candidates)) for one in lists]
        lengths = [lists[pair.place].tokens(pair.first, pair.second) for pair in pairs]
        for batch in token_batches(lengths, self._config.batch_tokens):
            compared = [pairs[i] for i in batch]
            for pair, logit in zip(compared, self._compare(lists, compared), strict=True):
                logits[pair.place][pair.first, pair.second] = logit
        return [list_scores(matrix) for matrix in logits]

    @torch.inference_mode()
    def _compare(self, lists: Sequence[_List], pairs: Sequence[_Pair]) -> list[float]:
        rows, prefixes = [], []
        for pair in pairs:
            one = lists[pair.place]
            source, first, second = one.source, one.candidates[pair.first], one.candidates[pair.second]
            rows.append([*source, *first, second[0], self._second_id, *second[2:]])
            prefixes.append([1, len(source) + 1, len(source) + len(first) + 1])
        longest = max(map(len, rows))
        pad, device = int(self._tokenizer.pad_token_id), self._model.device
        input_ids = torch.tensor([row + [pad] * (longest - len(row)) for row in rows], device=device)
        mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows], device=device)
        logits: list[float] = self._model(input_ids, mask, torch.tensor(prefixes, device=device)).float().tolist()
        return logits


def pair_texts(messages: Messages, response: str) -> tuple[str, str]:
    """A prompt and a response as the texts that PairRM reads.

    A single question is itself. Of a conversation the prompt holds what the user (or a tool) said, with gaps for the
    replies, and the response all replies by number, those before it too. System messages come first.
    """
    system = [message["content"] for message in messages if message["role"] == "system"]
    turns = _turns(messages)
    turns[-1][1].append(response)
    asked, answered = (["\n".join(part) for part in side] for side in zip(*turns, strict=True))
    if len(turns) == 1 and asked[0]:
        return "\n".join([*system, *asked]), response
    source = _INSTRUCTION + "\n".join(f"USER: {text}\nAssistant: <Response {i}>" for i, text in enumerate(asked, 1))
    return "\n".join([*system, source]), "\n".join(f"<Response {i}>: {text}" for i, text in enumerate(answered, 1))


def list_scores(logits: torch.Tensor) -> list[float]:
    """Scores (n,) of a list from its comparisons (n, n): entry i, j is how much i, read first, beats j, read second."""
    scores: list[float] = (logits - logits.T).mean(dim=-1).tolist()
    return scores


def _turns(messages: Messages) -> list[tuple[list[str], list[str]]]:
    """What was asked and what was replied, turn by turn; the last turn's reply is what is to be scored."""
    turns: list[tuple[list[str], list[str]]] = [([], [])]
    for message in messages:
        if message["role"] == "system":
            continue
        if message["role"] != "assistant" and turns[-1][1]:
            turns.append(([], []))
        turns[-1][message["role"] == "assistant"].append(message["content"])
    return turns


def _by_prompt(items: Sequence[Scorable]) -> dict[str, tuple[Messages, list[str]]]:
    """Of each prompt_id the messages and the distinct responses, in their order."""
    grouped: dict[str, tuple[Messages, dict[str, None]]] = {}
    for item in items:
        grouped.setdefault(item.prompt_id, (item.messages, {}))[1][item.response] = None
    return {prompt_id: (messages, list(texts)) for prompt_id, (messages, texts) in grouped.items()}


def _without_end(ids: list[int], most: int) -> list[int]:
    """The first tokens, and the [SEP] that ends a part."""
    return [*ids[: most - 1], ids[-1]]


def _without_start(ids: list[int], most: int) -> list[int]:
    """[CLS] and the prefix, then the last tokens."""
    return [*ids[:2], *ids[2 - most :]]
