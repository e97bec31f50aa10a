"""Requests that state how the response must look, so that rules can check it: what the real example trains on.

Each is a task about a subject with three of IFEval's instructions: one on the words, one on the form, and a least
length, without which a policy learns to say what is checked and nothing else. The subjects of held-out requests are
others. All texts are larpo's own, under its licence.
"""

import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any

TASKS = ("Describe {}.", "Write a short note about {}.", "Say what people like about {}.", "Explain {} to a child.")

SUBJECTS = (
    "a lighthouse", "fresh bread", "a rainy day", "the first snow", "an old bicycle", "a vegetable garden",
    "a train ride", "the sea at night", "a good neighbour", "a public library", "a wooden bridge", "morning coffee",
    "a street market", "a mountain path", "a school play", "a paper kite", "a beehive", "a fishing boat",
    "an apple tree", "a chess game", "a family dinner", "a power cut", "a museum of clocks", "a long walk",
    "a hot bath", "a letter from a friend", "a campfire", "a small bakery", "a river in spring", "a lost key",
    "a birthday cake", "a football match", "a quiet room", "a village well", "a new pair of shoes", "an island",
    "a thunderstorm", "a city park", "a piano", "a bus stop",
)  # fmt: skip
HELD_OUT_SUBJECTS = (
    "a windmill", "a bowl of soup", "a sunset", "a stray cat", "a hand-made chair", "a swimming lesson",
    "a night train", "a snowman", "a flower shop", "a telescope", "a broken umbrella", "a picnic", "a cup of tea",
    "an empty beach", "a choir", "a tree house",
)  # fmt: skip

_FORBIDDEN, _WANTED = ("very", "the", "and", "is"), ("bright", "slow", "warm", "quiet", "simple", "strange", "gentle")

Instruction = tuple[str, str, dict[str, Any]]
"""What a request says, IFEval's name for it, and its arguments."""
Kinds = Sequence[Sequence[Callable[[random.Random], Instruction]]]
"""A request has one instruction of each."""

_WORDS: tuple[Callable[[random.Random], Instruction], ...] = (
    lambda _: ("Do not use any commas.", "punctuation:no_comma", {}),
    lambda _: ("Write in lowercase letters only.", "change_case:english_lowercase", {}),
    lambda rng: _wanted(rng.sample(_WANTED, 2)),
    lambda rng: _forbidden(rng.choice(_FORBIDDEN)),
    lambda rng: _short(rng.choice((30, 40))),
)
_LONG: Instruction = (
    "Use at least 15 words.",
    "length_constraints:number_words",
    {"num_words": 15, "relation": "at least"},
)
_FORM: tuple[Callable[[random.Random], Instruction], ...] = (
    lambda rng: _bullets(rng.choice((2, 3))),
    lambda _: ("Give it a title in double angular brackets, such as <<title>>.", "detectable_format:title", {}),
    lambda _: ("Wrap the whole response in double quotation marks.", "startend:quotation", {}),
    lambda _: ("End with the words: That is all.", "startend:end_checker", {"end_phrase": "That is all."}),
    lambda _: (
        "Add a postscript that begins with P.S.",
        "detectable_content:postscript",
        {"postscript_marker": "P.S."},
    ),
    lambda _: (
        "Highlight at least 1 part with stars, *like this*.",
        "detectable_format:number_highlighted_sections",
        {"num_highlights": 1},
    ),
)


_OTHER_WORDS: tuple[Callable[[random.Random], Instruction], ...] = (
    lambda _: ("Write in capital letters only.", "change_case:english_capital", {}),
    lambda rng: _often(rng.choice(_WANTED)),
    lambda rng: _letter(rng.choice("bkvw")),
)
_OTHER_FORM: tuple[Callable[[random.Random], Instruction], ...] = (
    lambda _: (
        "Leave at least 1 word open, as a placeholder in square brackets, such as [name].",
        "detectable_content:number_placeholders",
        {"num_placeholders": 1},
    ),
    lambda _: (
        "Write exactly 2 paragraphs, and put *** between them.",
        "length_constraints:number_paragraphs",
        {"num_paragraphs": 2},
    ),
    lambda _: (
        "Write 2 parts, and begin them with PART 1 and PART 2.",
        "detectable_format:multiple_sections",
        {"section_spliter": "PART", "num_sections": 2},
    ),
    lambda _: ("Answer in JSON, and write nothing else.", "detectable_format:json_format", {}),
    lambda _: (
        "Write exactly 1 paragraph, and begin it with the word Imagine.",
        "length_constraints:nth_paragraph_first_word",
        {"num_paragraphs": 1, "nth_paragraph": 1, "first_word": "imagine"},
    ),
)
"""Instructions of kinds that no request of `make_requests` has."""


def make_requests(prompts: int, heldout: int, seed: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Rows to train on and rows to evaluate on, no request twice; the same seed gives the same rows.

    Returns:
        Rows of `prompt`, `instruction_id_list` and `kwargs`, as in IFEval's data.
    """
    rng = random.Random(seed)  # noqa: S311 - no secret
    kinds = (_WORDS, _FORM, (lambda _: _LONG,))
    return _distinct(SUBJECTS, kinds, prompts, rng), _distinct(HELD_OUT_SUBJECTS, kinds, heldout, rng)


def make_other_requests(count: int, seed: int) -> list[dict[str, Any]]:
    """Rows on held-out subjects, with two instructions each of kinds that no row of `make_requests` has."""
    rng = random.Random(seed)  # noqa: S311 - no secret
    return _distinct(HELD_OUT_SUBJECTS, (_OTHER_WORDS, _OTHER_FORM), count, rng)


def _distinct(subjects: Sequence[str], kinds: Kinds, count: int, rng: random.Random) -> list[dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for row in _drawn(subjects, kinds, rng):
        found.setdefault(row["prompt"], row)
        if len(found) == count:
            return list(found.values())
    raise AssertionError("it draws for ever")


def _drawn(subjects: Sequence[str], kinds: Kinds, rng: random.Random) -> Iterator[dict[str, Any]]:
    while True:
        task = rng.choice(TASKS).format(rng.choice(subjects))
        # No draw where there is no choice: a draw would change the requests of earlier versions.
        chosen = [(rng.choice(kind) if len(kind) > 1 else kind[0])(rng) for kind in kinds]
        yield {
            "prompt": " ".join([task, *(text for text, _, _ in chosen)]),
            "instruction_id_list": [name for _, name, _ in chosen],
            "kwargs": [arguments for _, _, arguments in chosen],
        }


def _wanted(words: Sequence[str]) -> Instruction:
    return f"Use the words {words[0]} and {words[1]}.", "keywords:existence", {"keywords": list(words)}


def _forbidden(word: str) -> Instruction:
    return f"Do not use the word {word}.", "keywords:forbidden_words", {"forbidden_words": [word]}


def _short(words: int) -> Instruction:
    arguments = {"num_words": words, "relation": "less than"}
    return f"Use less than {words} words.", "length_constraints:number_words", arguments


def _bullets(number: int) -> Instruction:
    text = f"Answer in exactly {number} bullet points, each a line that begins with a star and a space."
    return text, "detectable_format:number_bullet_lists", {"num_bullets": number}


def _often(word: str) -> Instruction:
    arguments = {"keyword": word, "frequency": 2, "relation": "at least"}
    return f"Use the word {word} at least 2 times.", "keywords:frequency", arguments


def _letter(letter: str) -> Instruction:
    arguments = {"letter": letter, "let_frequency": 4, "let_relation": "at least"}
    return f"Use the letter {letter} at least 4 times.", "keywords:letter_frequency", arguments
