"""How scores and options are read: out of a judge's text, or out of a response by rule. Rules as officially.

Thoughts before a judge's text are left out, and unfinished ones leave nothing that could be read. A text that was cut
may be all thoughts without a tag; whoever has the whole answer asks `completions.may_be_thoughts` first.
"""

import random
import re
from collections.abc import Sequence

from larpo_lib.evaluation.mixeval.questions import letters
from larpo_lib.thinking import without_thoughts

_SCORES = [re.compile(pattern, re.ASCII) for pattern in (r"\[\[(\d+(?:\.\d*)?)\]\]", r"\[(\d+(?:\.\d*)?)\]")]
_OPTIONS = [re.compile(pattern) for pattern in (r"\[\[([A-Z])\]\]", r"\[([A-Z])\]")]
_ENDS = (",", ".", "!", "?", ";", ":", "'")
_LONG_RESPONSE = 5
"""Words from which on the text of an option is looked for in a response."""


def judged_score(text: str) -> float | None:
    """The score in [0, 1] that a judge's text gives as [[0.5]], or else as [0.5]: the first one, if it is in range."""
    found = _first(_SCORES, without_thoughts(text))
    score = None if found is None else float(found)
    return score if score is not None and score <= 1 else None


def judged_option(text: str) -> str | None:
    """The option that a judge's text gives as [[B]], or else as [B]: the first one.

    It may be a letter that the question has no option for, which then is wrong, as officially.
    """
    return _first(_OPTIONS, without_thoughts(text))


def chosen_option(response: str, options: Sequence[str]) -> str | None:
    """The letter of the option that a response names first, by the official patterns; None where it names none.

    A letter counts between spaces or line ends, with a full stop behind it or not, in round brackets, and next to **.
    Where there is none, a response of more than five words chooses the option whose text it holds first.
    """
    for end in _ENDS:
        response = response.strip(end)
    response = f" {response} "
    of_these = f"[{letters(len(options))}]"
    named = re.search(
        rf"[ \n]({of_these})\.?[ \n]|\(({of_these})\)|\*\*({of_these})(?: |\. )| ({of_these})\.?\*\*", response
    )
    if named:
        return next(letter for letter in named.groups() if letter)
    if len(response.split()) <= _LONG_RESPONSE:
        return None
    lowered = response.lower()
    places = [(lowered.find(option.lower()), letter) for option, letter in zip(options, letters(99), strict=False)]
    quoted = [(place, letter) for place, letter in places if place >= 0]
    return min(quoted)[1] if quoted else None


def random_score(seed: int, key: str) -> float:
    """What a free-form question scores officially where no judgement can be read."""
    return round(_drawing(seed, key).random(), 1)


def random_option(seed: int, key: str, count: int) -> str:
    """The option that counts as chosen officially where none of `count` can be read."""
    return _drawing(seed, key).choice(letters(count))


def _drawing(seed: int, key: str) -> random.Random:
    return random.Random(f"{seed} {key}")  # noqa: S311 - no secret


def _first(patterns: Sequence[re.Pattern[str]], text: str) -> str | None:
    for pattern in patterns:
        found = pattern.search(text)
        if found:
            return found[1]
    return None
