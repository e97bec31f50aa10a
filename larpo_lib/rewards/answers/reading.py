"""Reads numbers out of statements in plain notation."""

import re
from collections import deque
from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise
from typing import cast, get_args

from larpo_lib.rewards.answers.arithmetic import NUMBER, Unreadable, evaluate
from larpo_lib.rewards.answers.compounds import BEHIND, NUMERALS
from larpo_lib.rewards.answers.plain import FRACTION
from larpo_lib.rewards.answers.units import unit
from larpo_lib.rewards.answers.values import Kind, Quantity, Several, Value
from larpo_lib.scripts import NO_NAMES

_SCALES = {"hundred": 10**2, "thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}
_STARTS = " ,;:?\"'"
_ENDS = _STARTS + "."
_LONGEST = 20_000
"""Characters; longer statements are no answers."""
_SIGNED = rf"[-+]? ?{NUMBER}"
_DATE = re.compile(r"\d{4}-\d{1,2}-\d{1,2}|\d{1,2}/\d{1,2}/\d{4}")
_AND_A_FRACTION = re.compile(rf"(?<![\d.])(\d+) and (?=\d+[{FRACTION}/]\d+\b)")
_FUNCTIONS = frozenset(("pi", "sqrt", "sin", "cos", "tan", "log", "ln", "exp", "mod", "choose", "infinity", "nan"))
_ORDINALS = frozenset(("st", "nd", "rd", "th"))
_PLAIN_NUMBER = re.compile(r"-?\d{1,400}(?:\.\d{1,400})?")
_FIRST_WORD = re.compile(r"[^\W\d_'-]?[^\W\d_]*(?:[.'-][^\W\d_]+)*")
_GOES_ON = re.compile(r" ?[+*=_\\{<>]|\(|-?\d|\^(?! ?\{? ?[23])")
"""What makes a product or a sum of letters behind a number, such as `x+2`."""
_NAME = re.compile(r"(?:\\?[A-Za-z]+(?:_\{?\w+\}?)?(?: ?\( ?[A-Za-z] ?\))?) ?= ?(?!=)")
_HEDGE = re.compile(
    r"\([A-E]\) ?(?=.*\d)|(?:\\approx|~|=|:|is|approximately|about|exactly|only|equals|roughly|around|a total of)[ :]+",
    re.I,
)
_OPENED = re.compile(r"\\\{|[(\[]")
_CLOSED = re.compile(r"(?:\\\}|[)\]])$")
_TIME = re.compile(
    rf"(?P<parts>{NUMBER}(?: ?: ?{NUMBER})+)(?P<unit>(?: ?(?:[ap]\.?m\.?|hours|hrs|minutes|min|h))?)", re.I
)
_RANGE = re.compile(rf"(?P<low>{NUMBER}) ?-+ ?(?P<high>{NUMBER})(?P<unit>(?: ?[A-Za-z%].{{0,40}})?)")
_BASE = re.compile(r"(?P<digits>\d+) ?_ ?(?:\{ ?(?P<base>\d{1,2}) ?\}|(?P<short>\d{1,2}))")
_TAIL = re.compile(
    r"(?P<expression>.*?[\d)}\]!])(?P<gap> ?)"
    r"(?P<words>(?:%|[A-Za-z]|\u00a2|\\%|/ ?[A-Za-z])[^\d=+*<>{}]*(?:\^ ?\{? ?[23] ?\}?[^\d=]*)?)?"
)
_WRITTEN_FRACTION = rf"\d+ \d+[{FRACTION}/]\d+|\d+{FRACTION}\d+"
_POWER_OF_TEN = r"(?: ?\* ?10 ?\^ ?\{? ?-?\d+ ?\}?)"
_LEADING = re.compile(
    rf"[-+]? ?(?:{_WRITTEN_FRACTION}|{NUMBER}(?: ?/ ?\d+(?![\d.]))?){_POWER_OF_TEN}?"
    r"(?: ?(?:%|(?:percent|hundred|thousand|million|billion|trillion)\b))?"
)
_WORDS_FOLLOW = re.compile(
    r"$|[,;.:] ?[A-Za-z(\"']|#| (?:\d|[^\w\\+*/^=<>{}-])|(?P<spaced> )[A-Za-z]"
    r"|(?![eE][-+]?\d)(?P<tight>[A-Za-z\u00a2])|-[A-Za-z]"
    rf"|(?!{BEHIND})[,;.:(]? ?[{NO_NAMES}]"
)
_SEPARATOR = re.compile(r" ?(?:[,;] ?(?:and|or) |[,;] |;| (?:and|or) ) ?")
_COMMA = re.compile(",")
_DECIMAL_COMMA = re.compile(r"-?(?:\d+,\d{1,2}|0,\d+)")
_SENTENCE_GOES_ON = re.compile(
    r"\b(?:is|are|was|were|will|has|have|because|since|so|which|not)\b|=.*=| \S+ \S+ [A-Za-z]"
)
_IN_A_FORMULA = re.compile(rf" ?[\\^_{{}}]|{BEHIND}")
_ENVIRONMENT = re.compile(r"\\(?:begin|end) ?\{[a-z]*\}")
_WORD = re.compile(rf"(?<![A-Za-z\\])[A-Za-z]{{2,}}|[{NO_NAMES}]")
_FREE = re.compile(
    rf"(?:(?<![\w.])|(?<=[{NUMERALS}])|(?<=分[之の]))(?<![A-Za-z]-)(?:[(\[] ?{_SIGNED}(?: ?, ?{_SIGNED})+ ?[)\]]"
    rf"|(?:(?<![\w)\]%}}])[-+])?(?:{_WRITTEN_FRACTION}|{NUMBER}(?:[-/:^]-?{NUMBER})*)"
    rf"(?:{_POWER_OF_TEN}|[eE][-+]?\d+(?!\w))?)"
    r"(?: ?%| (?:percent|per cent|hundred|thousand|million|billion|trillion)\b)?"
)


def readings(text: str) -> tuple[Value, ...]:
    """The ways to read a statement in plain notation as numbers; none where it cannot be read.

    Nearly always at most one. `3,5` is 3.5 and the list of 3 and 5.
    """
    text = _trimmed(text)
    if not text or len(text) > _LONGEST:
        return ()
    if _DATE.fullmatch(text):
        return ()
    if _PLAIN_NUMBER.fullmatch(text):
        return (Quantity(Fraction(text), decimals="." in text),)
    text = _HEDGE.sub("", text, count=1) if _HEDGE.match(text) else text
    text = _AND_A_FRACTION.sub(r"\1 ", text)
    found = _listed(text, _SEPARATOR) or _one(text) or _listed(text, _COMMA)
    readable = () if found is None else (found,)
    if _DECIMAL_COMMA.fullmatch(text):
        return (Quantity(Fraction(text.replace(",", ".")), decimals=True), *readable)
    return readable


def leading(text: str) -> tuple[Value, ...]:
    """The number that a statement begins with, where words follow it, such as `18 for 3 days`."""
    text = _trimmed(text)
    found = _LEADING.match(text)
    words = _WORDS_FOLLOW.match(text, found.end()) if found else None
    if found is None or words is None:
        return ()
    if words["tight"] or words["spaced"]:
        following = text[found.end() :].lstrip(" ").lower()
        if not _names_what_is_counted(following, spaced=bool(words["spaced"])):
            return ()
    return readings(found[0])


def has_words(text: str) -> bool:
    """Whether words stand in a text, beyond LaTeX's commands and the names of functions."""
    return any(word.lower() not in _FUNCTIONS for word in _WORD.findall(_ENVIRONMENT.sub("", text)))


def is_prose(text: str) -> bool:
    """Whether words stand in a text, or nothing but numbers."""
    return has_words(text) or re.search(r"[A-Za-z\\^_{}]", text) is None


def last(text: str) -> tuple[Value, ...]:
    """The last numbers in a text: `3/4`, `(3, 4)`, `2:30` and `18-20` are taken as a whole."""
    found = deque(_FREE.finditer(text), maxlen=1)
    if (
        not found
        or text[max(found[0].start() - 1, 0)] in "{^_\\" + NUMERALS
        or text.endswith(("分之", "分の"), 0, found[0].start())
        or _IN_A_FORMULA.match(text, found[0].end())
    ):
        return ()
    return readings(found[0][0])


def _trimmed(text: str) -> str:
    return text.lstrip(_STARTS).rstrip(_ENDS)


def _listed(text: str, separator: re.Pattern[str]) -> Value | None:
    """Several numbers with separators between; hours and minutes are one number."""
    pieces = separator.split(text)
    if len(pieces) < 2:
        return None
    parts = [None if _SENTENCE_GOES_ON.search(piece) else _one(piece) for piece in pieces]
    quantities = [part for part in parts if isinstance(part, Quantity)]
    if len(quantities) != len(parts):
        return None
    return _summed(quantities) or Several("list", tuple(quantities))


def _summed(parts: Sequence[Quantity]) -> Quantity | None:
    """`2 hours 30 minutes` in the first unit: parts of one dimension, each unit smaller than the one before."""
    units = [part.unit for part in parts if part.unit is not None]
    if len(units) != len(parts) or len({dimension for dimension, _ in units}) != 1:
        return None
    sizes = [size for _, size in units]
    if any(small >= large for large, small in pairwise(sizes)):
        return None
    total = sum(part.value * size for part, size in zip(parts, sizes, strict=True))
    return Quantity(Fraction(total) / sizes[0], unit=units[0])


def _one(text: str) -> Value | None:
    text = _trimmed(text)
    name = _NAME.match(text)
    text = text[name.end() :] if name else text.rpartition("=")[2] if "=" in text else text
    text = _trimmed(text)
    for read in (_bracketed, _base, _time, _range):
        value = read(text)
        if value is not None:
            return value
    return _quantity(text) or _compound(text)


def _bracketed(text: str) -> Value | None:
    group = brackets(text)
    if group is None or (len(group[1]) < 2 and group[0] != "{}"):
        return None
    kind, parts = group
    quantities = tuple(quantity for part in parts if (quantity := _quantity(part)) is not None)
    return Several(kind, quantities) if len(quantities) == len(parts) else None


def brackets(text: str) -> tuple[Kind, list[str]] | None:
    """The kind of the brackets around a whole text, and its parts; None where there are none or they do not match."""
    opened, closed = _OPENED.match(text), _CLOSED.search(text)
    if opened is None or closed is None or closed.start() < opened.end():
        return None
    kind = opened[0][-1] + closed[0][-1]
    parts = pieces(text[opened.end() : closed.start()])
    return (cast("Kind", kind), parts) if kind in get_args(Kind) and parts else None


def pieces(text: str) -> list[str]:
    """What stands between commas or semicolons outside brackets; nothing where brackets do not match."""
    found, depth, start = [], 0, 0
    for place, character in enumerate(text):
        depth += (character in "([{") - (character in ")]}")
        if depth < 0:
            return []
        if depth == 0 and character in ",;":
            found.append(text[start:place])
            start = place + 1
    return [*found, text[start:]] if depth == 0 else []


def _base(text: str) -> Value | None:
    found = _BASE.fullmatch(text)
    if found is None or len(text) > 400:
        return None
    return Several("base", (Quantity(Fraction(found["digits"])), Quantity(Fraction(found["base"] or found["short"]))))


def _time(text: str) -> Value | None:
    found = _TIME.fullmatch(text)
    if found is None:
        return None
    pieces = (found["parts"] + found["unit"]).split(":")
    parts = tuple(part for piece in pieces if (part := _quantity(piece)) is not None)
    return Several("time", parts) if len(parts) == len(pieces) else None


def _range(text: str) -> Value | None:
    found = _RANGE.fullmatch(text)
    if found is None:
        return None
    low, high = _quantity(found["low"]), _quantity(found["high"] + found["unit"])
    tight = "-" in text and " -" not in text[: found.end("high")]
    if low is None or high is None or not (tight or "--" in text) or low.value >= high.value:
        return None
    return Several("range", (low, high))


def _quantity(text: str) -> Quantity | None:
    """A number or arithmetic with a percent sign, a scale or words behind it."""
    found = _TAIL.fullmatch(_trimmed(text))
    if found is None:
        return None
    words = (found["words"] or "").strip(" .").lower()
    scale = _SCALES.get(words.split(" ")[0], 1) if words else 1
    percent = bool(re.match(r"%|\\%|percent|per cent", words))
    if words and not percent and not _names_what_is_counted(words, spaced=found["gap"] == " "):
        return None
    try:
        value = evaluate(found["expression"]) * scale
    except Unreadable:
        return None
    measured = None if percent else unit(words.replace("\u00a2", "cents"))
    return Quantity(value, percent, measured, "." in found["expression"])


def _names_what_is_counted(words: str, *, spaced: bool) -> bool:
    """Whether words behind a number leave it as it is: units, things, scales, and no unknowns or functions."""
    first = _FIRST_WORD.match(words)[0].rstrip("-'")  # type: ignore[index] # it may be empty, but matches
    if _GOES_ON.match(words, len(first)):
        return False
    if first in _FUNCTIONS:
        return False
    if unit(words) is not None or first in _ORDINALS or words.startswith(("/", "\u00a2")):
        return True
    return len(first) > 2 or (spaced and (len(first) == 2 or (first == "a" and words != "a")))


def _compound(text: str) -> Quantity | None:
    """`2 hours 30 minutes`, without a word between."""
    pieces = re.findall(rf"{NUMBER} ?[A-Za-z]+\.?", text) if len(text) <= 80 else []
    if len(pieces) < 2 or re.sub(" ", "", "".join(pieces)) != re.sub(" ", "", text):
        return None
    parts = [part for piece in pieces if (part := _quantity(piece)) is not None]
    return _summed(parts) if len(parts) == len(pieces) else None
