"""Hard negatives, easiest to hardest (Jin et al. 2025, arXiv 2502.03699).

- `random`: a response to a random unrelated prompt.
- `related`: a response to the most related other prompt, as a retriever of prompts has it.
- `hot`, `cold`: a wrong response to the prompt itself, sampled at the highest or the lowest of its temperatures, and
  perhaps at others too. Wrong means strictly worse than the prompt's best response.

What is drawn for a prompt depends on the seed, the prompt_id and the candidates there are, never on their order.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial

from larpo_lib.candidates.related import Neighbours, Relate, by_shared_words, neighbours
from larpo_lib.config import NegativesConfig
from larpo_lib.schemas import RankedRow, candidate_id

Finder = Callable[[Sequence[RankedRow]], list[RankedRow]]
"""From a prompt's own candidates, best first, to its negatives: at most `count`, fewer where there are no more."""
Samples = Callable[[str], Iterable[RankedRow]]
"""From a prompt_id to everything sampled for it, with what repeats a text and what filters leave out."""


def finder(
    config: NegativesConfig,
    pool: Mapping[str, Sequence[RankedRow]],
    samples: Samples,
    texts: Mapping[str, str],
    seed: int,
    relate: Relate = by_shared_words,
) -> Finder:
    """How to find the negatives of a prompt.

    Args:
        config: which kind, and how many.
        pool: distinct candidates of each prompt, best first, prompts by rising prompt_id.
        samples: what the pool is of; read by the kinds `hot` and `cold` only, which need every temperature.
        texts: the text of each prompt of `pool`; read by the kind `related` only.
        seed: decides between equally good ones.
        relate: finds related texts; called by the kind `related` only.
    """
    match config.kind:
        case "random":
            return partial(_borrow, _random_prompts(list(pool), seed), pool, config, seed)
        case "related":
            return partial(_borrow, neighbours(list(pool), texts, relate), pool, config, seed)
        case "hot":
            return partial(_wrong, max, samples, config, seed)
        case "cold":
            return partial(_wrong, min, samples, config, seed)


def _wrong(
    extreme: Callable[[Iterable[float]], float],
    samples: Samples,
    config: NegativesConfig,
    seed: int,
    own: Sequence[RankedRow],
) -> list[RankedRow]:
    """Of equal texts only one is in `own`, with the temperature of its first sample: all their samples are asked."""
    prompt_id = own[0]["prompt_id"]
    sampled = [(row["candidate_id"], _temperature(row)) for row in samples(prompt_id)]
    most = extreme(temperature for _, temperature in sampled)
    there = {candidate for candidate, temperature in sampled if temperature == most}
    wrong = [row for row in own if row["reward"] < own[0]["reward"] and row["candidate_id"] in there]
    return _shuffled(wrong, seed, prompt_id)[: config.count]


def _temperature(row: RankedRow) -> float:
    assert row["temperature"] is not None, "the step refuses unknown temperatures"
    return row["temperature"]


def _borrow(
    others: Neighbours,
    pool: Mapping[str, Sequence[RankedRow]],
    config: NegativesConfig,
    seed: int,
    own: Sequence[RankedRow],
) -> list[RankedRow]:
    """One response from each of the nearest neighbours that has a text not yet in the list."""
    prompt_id = own[0]["prompt_id"]
    reward = own[-1]["reward"] - config.reward_gap
    taken = {row["response"] for row in own}
    borrowed: list[RankedRow] = []
    for neighbour in others(prompt_id):
        for row in _shuffled(pool[neighbour], seed, prompt_id):
            if row["response"] not in taken:
                taken.add(row["response"])
                borrowed.append(_as_response_to(prompt_id, row, reward, rank=len(own) + 1))
                break
        if len(borrowed) == config.count:
            break
    return borrowed


def _as_response_to(prompt_id: str, row: RankedRow, reward: float, rank: int) -> RankedRow:
    return {
        **row,
        "prompt_id": prompt_id,
        "candidate_id": candidate_id(prompt_id, row["response"]),
        "reward": reward,
        "rank": rank,
    }


def _random_prompts(prompt_ids: Sequence[str], seed: int) -> Neighbours:
    """All other prompts from a random one on, in prompt_id order: prompt_ids are hashes, so that order is random."""
    places = {prompt_id: place for place, prompt_id in enumerate(prompt_ids)}

    def find(prompt_id: str) -> Iterator[str]:
        others = len(prompt_ids) - 1
        start = _hash(seed, prompt_id)
        for step in range(others):
            away = 1 + (start + step) % others
            yield prompt_ids[(places[prompt_id] + away) % len(prompt_ids)]

    return find


def _shuffled(candidates: Iterable[RankedRow], seed: int, prompt_id: str) -> list[RankedRow]:
    return sorted(candidates, key=lambda row: _hash(seed, prompt_id, row["candidate_id"]))


def _hash(*parts: object) -> int:
    text = "\0".join(str(part) for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest(), "big")
