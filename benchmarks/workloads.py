"""Made-up training lists with the lengths of real ones. Pure: equal arguments give equal lists."""

import itertools
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

PAD_ID, END_ID = 0, 1
FIRST_WORD_ID = 2
"""Ids from here on are words; every response ends with END_ID, as a sampled one does."""

# Natural logarithms of lengths in characters. Prompts: 5,000 prompts of UltraFeedback, mean 164 tokens at 4 characters
# a token. Responses: 805 instructions x 9 models of AlpacaEval, mean 367 tokens; between prompts, and within one prompt
# once each model's own mean is taken out, which is what the samples of a single policy differ by.
PROMPT_SIGMA = 1.27
RESPONSE_SIGMA_BETWEEN = 0.92
RESPONSE_SIGMA_WITHIN = 0.53
PROMPT_OVER_RESPONSE = 0.42
"""Mean prompt tokens / mean response tokens."""


@dataclass(frozen=True)
class TokenList:
    """A prompt and its responses as token ids, best first."""

    prompt: list[int]
    responses: list[list[int]]


def natural_lists(count: int, responses: int, *, mean_response: int, vocabulary: int, seed: int) -> list[TokenList]:
    """`count` lists whose lengths vary as those of UltraFeedback do, around a mean of `mean_response` tokens.

    Lengths are log-normal, cut at 4 and at 5 times the mean response: where a training with the usual limit of 2,048
    tokens for a mean of 370 cuts them. They are evenly spaced quantiles in random order, so that a few dozen lists
    already have the shape of thousands.
    """
    draw = random.Random(seed)
    prompts = _quantiles(draw, count, PROMPT_OVER_RESPONSE * mean_response, PROMPT_SIGMA)
    between = _quantiles(draw, count, mean_response, RESPONSE_SIGMA_BETWEEN)
    within = iter(_quantiles(draw, count * responses, 1.0, RESPONSE_SIGMA_WITHIN))
    return [
        _token_list(
            draw,
            _cut(prompt, mean_response),
            [_cut(typical * next(within), mean_response) for _ in range(responses)],
            vocabulary,
        )
        for prompt, typical in zip(prompts, between, strict=True)
    ]


def even_lists(
    count: int, responses: int, *, prompt: int, response: int, vocabulary: int, seed: int
) -> list[TokenList]:
    """`count` lists with prompts of `prompt` and responses of `response` tokens, all alike in length."""
    draw = random.Random(seed)
    return [_token_list(draw, prompt, [response] * responses, vocabulary) for _ in range(count)]


def pairs_of(lists: Sequence[TokenList]) -> list[TokenList]:
    """Every pair of a better and a worse response, as a list of two: what a pairwise trainer makes of a list."""
    return [TokenList(item.prompt, list(pair)) for item in lists for pair in itertools.combinations(item.responses, 2)]


def sequence_tokens(lists: Sequence[TokenList]) -> int:
    """Tokens of all prompts and responses where every response stands behind a copy of its own prompt."""
    return sum(len(item.prompt) + len(response) for item in lists for response in item.responses)


def unique_tokens(lists: Sequence[TokenList]) -> int:
    """Tokens of all prompts and responses where every prompt stands once."""
    return sum(len(item.prompt) + sum(len(response) for response in item.responses) for item in lists)


def _quantiles(draw: random.Random, count: int, mean: float, sigma: float) -> list[float]:
    """`count` evenly spaced quantiles of a log-normal distribution, shuffled."""
    normal = NormalDist(math.log(mean) - sigma * sigma / 2, sigma)
    found = [math.exp(normal.inv_cdf((i + 0.5) / count)) for i in range(count)]
    draw.shuffle(found)
    return found


def _cut(length: float, mean_response: int) -> int:
    return min(max(round(length), 4), 5 * mean_response)


def _token_list(draw: random.Random, prompt: int, lengths: Sequence[int], vocabulary: int) -> TokenList:
    def words(number: int) -> list[int]:
        return [draw.randrange(FIRST_WORD_ID, vocabulary) for _ in range(number)]

    return TokenList(words(prompt), [[*words(length - 1), END_ID] for length in lengths])
