"""Whether a response is right where answers are mathematics: expressions, intervals, sets, units, words.

What can be read as numbers is compared as numbers, exactly. Groups are compared part by part, because math-verify takes
every pair in round brackets for an interval, and the interval from 3 to 2 for empty. Their parts, and all else, are
compared by math-verify.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from larpo_lib.errors import LarpoError
from larpo_lib.rewards.answers import Scorable, same_answer, values_of
from larpo_lib.rewards.answers import is_right as is_right_number
from larpo_lib.rewards.answers.compounds import BEHIND
from larpo_lib.rewards.answers.expressions import Expressions
from larpo_lib.rewards.answers.plain import FRACTION, plain
from larpo_lib.rewards.answers.reading import brackets, has_words, is_prose, leading, pieces, readings
from larpo_lib.rewards.answers.statements import answer_phrase_end, statement
from larpo_lib.rewards.answers.units import unit
from larpo_lib.rewards.answers.values import Quantity, Several, Value
from larpo_lib.scripts import NO_NAMES

_SEGMENT = re.compile(r"(?<!\\)\$([^$\n]{1,500}+)\$|\\\(([^\n]{1,500}?)\\\)|\\\[(.{1,500}?)\\\]", re.DOTALL)
_WORDS = re.compile(r"\(?([A-Za-z][A-Za-z'-]*(?: [A-Za-z'-]+){0,3})\)?")
_AND = re.compile(r" ?,? (?:and|or) ")
_MEMBER = re.compile(r"[A-Za-z] ?\\in(?![A-Za-z]) ?")
_NAME = re.compile(r"([A-Za-z](?:_\{?\w\}?)?(?:\([A-Za-z]\))?) ?= ?(?!.*=)")
_UNIT = re.compile(
    r"(?<=[\d)} ])(?P<gap> ?)(?<![\\A-Za-z])(?P<unit>(?:(?:square|cubic|sq|cu)\.? )?[A-Za-z]{2,}"
    rf"(?: ?/ ?[A-Za-z]+| per [a-z]+)?(?: ?\^ ?\{{? ?[23] ?\}}?)?|(?!{BEHIND})[{NO_NAMES}]+)\.?$"
)
_LONE_UNIT = re.compile(r" ([mgslh])(?: ?\^ ?\{? ?[23] ?\}?)?$")
_ENDS = " .,;:"
_DEEPEST = 3
_MOST_PARTS = 30


@dataclass(frozen=True)
class Answer:
    """A final answer: its text in plain notation, and the ways to read it as numbers."""

    text: str
    values: tuple[Value, ...]


def is_right(item: Scorable, expressions: Expressions) -> bool:
    """Whether the response's final answer is the reference's.

    Raises:
        LarpoError: there is no reference, or one that cannot be read.
    """
    if item.reference is None or not readable(item.reference, expressions):
        raise LarpoError(
            f"prompt {item.prompt_id}: the verifier needs a reference with an answer that it can read, not"
            f" {item.reference!r}",
            remedy="Write the answer in LaTeX, as a number, or in at most four words",
        )
    return _same(_answer(item.reference), _answer(item.response), expressions)


def right_answers(*, mathematics: bool) -> Callable[[Scorable], bool]:
    """What says whether a response is right: where answers are numbers alone, or where they are mathematics."""
    return partial(is_right, expressions=Expressions()) if mathematics else is_right_number


def readable(reference: str, expressions: Expressions) -> bool:
    """Whether a reference has an answer to compare with."""
    return _readable(_answer(reference), expressions)


def _answer(text: str) -> Answer:
    """The final answer of a text: as `statement` finds it, or the mathematics in the sentence that states it."""
    stated = statement(text)
    if stated.place in ("box", "mark") or not is_prose(stated.text):
        return _read(stated.text)
    segment = _segment(text, first=stated.place == "sentence")
    if segment is not None:
        return _read(plain(segment))
    return Answer(stated.text.strip(_ENDS), values_of(stated))


def _segment(text: str, *, first: bool) -> str | None:
    """Mathematics between dollars or brackets: the first behind "answer is", or the last of the text."""
    found = [*_SEGMENT.finditer(text, answer_phrase_end(text) if first else 0)]
    if not found:
        return None
    return next(group for group in found[0 if first else -1].groups() if group)


def _read(text: str) -> Answer:
    text = text.strip(_ENDS)
    return Answer(text, readings(text) or leading(text))


def _readable(answer: Answer, expressions: Expressions, depth: int = 0) -> bool:
    if answer.values or _words(answer.text):
        return True
    parts = _parts(answer.text)
    if len(parts) > 1 and depth < _DEEPEST:
        return all(_readable(_read(part), expressions, depth + 1) for part in parts)
    return not _has_long_words(_measured(answer.text)[0]) and expressions.readable(_latex(answer.text))


def _same(wanted: Answer, given: Answer, expressions: Expressions, depth: int = 0) -> bool:
    decided = _same_text(wanted.text, given.text)
    if decided is None and not _relates(wanted.text):
        decided = _same_values(wanted.values, given.values)
    if decided is None and depth < _DEEPEST:
        decided = _by_parts(wanted.text, given.text, expressions, depth)
    return _same_expression(wanted.text, given.text, expressions) if decided is None else decided


def _same_text(wanted: str, given: str) -> bool | None:
    """Whether two answers are the same text; None where that decides nothing."""
    if not given or _compact(wanted) == _compact(given):
        return bool(given)
    if words := _words(wanted):
        return words == _words(given)
    names = _NAME.match(wanted), _NAME.match(given)
    return False if names[0] and names[1] and names[0][1] != names[1][1] else None


def _relates(text: str) -> bool:
    """Whether an answer relates unknowns, such as `2x+3y=6` or `x=1, y=2`, so that its numbers alone are not it."""
    parts = _parts(text)
    if len(parts) > 1:
        return any(_NAME.match(part.strip()) or _relates(part) for part in parts)
    return _is_equation(text)


def _is_equation(text: str) -> bool:
    """Whether an expression with unknowns is said to equal another; `Area = 12` only names what is 12."""
    left, equals, _ = text.rpartition("=")
    left = re.sub(r"_ ?(?:\{[^{}]*\}|\w)", "", left)
    unknown = re.search(r"(?<![A-Za-z\\])[A-Za-z]", left) is not None
    return bool(equals) and unknown and _NAME.match(text) is None and re.search(r"[-+*/^\d]|\\frac", left) is not None


def _same_values(wanted: tuple[Value, ...], given: tuple[Value, ...]) -> bool | None:
    """Whether two answers are the same numbers; None where they are not both numbers, or one may be rounded."""
    if not wanted or not given:
        return None
    if same_answer(wanted, given) or _without_base(wanted, given):
        return True
    return None if any(map(_rounded, (*wanted, *given))) else False


def _by_parts(wanted: str, given: str, expressions: Expressions, depth: int) -> bool | None:
    """Whether the parts of two groups are equal; None where one of them is no group."""
    kinds = _kind(wanted), _kind(given)
    some, others = _parts(wanted), _parts(given)
    if None in kinds or len(some) > _MOST_PARTS:
        return None
    if len(some) != len(others) or not (kinds[0] == kinds[1] or set(kinds) in ({"list", "{}"}, {"list", "()"})):
        return False
    read, left = [_read(part) for part in some], [_read(part) for part in others]
    if all(_same(one, other, expressions, depth + 1) for one, other in zip(read, left, strict=True)):
        return True
    if not set(kinds) <= {"list", "{}"}:
        return False
    for one in read:
        match = next((other for other in left if _same(one, other, expressions, depth + 1)), None)
        if match is None:
            return False
        left.remove(match)
    return True


def _kind(text: str) -> str | None:
    group = brackets(_MEMBER.sub("", text, count=1))
    if group is not None and (len(group[1]) > 1 or group[0] == "{}"):
        return group[0]
    return "list" if len(_parts(text)) > 1 else None


def _parts(text: str) -> list[str]:
    """Of a group, or of a list between commas; both cases of plus-minus; else the text alone."""
    group = brackets(_MEMBER.sub("", text, count=1))
    if group is not None and (len(group[1]) > 1 or group[0] == "{}"):
        return group[1]
    listed = pieces(_AND.sub(", ", text))
    if len(listed) > 1:
        return listed
    if text.count("\\pm") == 1:
        return [text.replace("\\pm", "+"), text.replace("\\pm", "-")]
    return [text]


def _same_expression(wanted: str, given: str, expressions: Expressions) -> bool:
    (one, size), (other, beside) = _measured(wanted), _measured(given)
    if size is not None and beside is not None and size != beside:
        return False
    if _is_equation(wanted) and "=" not in given:
        return False
    if (_NAME.match(one) is None) != (_NAME.match(other) is None):
        one, other = _NAME.sub("", one, count=1), _NAME.sub("", other, count=1)
    one, other = (_MEMBER.sub("", text, count=1) for text in (one, other))
    one, other = _without_lone_unit(one, other), _without_lone_unit(other, one)
    if _has_long_words(one) or _has_long_words(other):
        return False
    return expressions.same(_latex(one), _latex(other))


def _measured(text: str) -> tuple[str, object]:
    """An expression without the words behind it, and the unit they name, if it is known."""
    found = _UNIT.search(text)
    if found is None:
        return text, None
    known = unit(found["unit"])
    apart = found["gap"] or text[found.start() - 1] == " "
    if known is None and found["unit"].isascii() and not (apart and _has_long_words(found["unit"])):
        return text, None
    return text[: found.start()].rstrip(), known


def _has_long_words(text: str) -> bool:
    """Whether there are words that cannot be products of a few variables."""
    return re.search("[A-Za-z]{3}", text) is not None and has_words(re.sub(r"(?<![A-Za-z\\])[A-Za-z]{2}\b", "", text))


def _without_lone_unit(text: str, other: str) -> str:
    """Without a unit of one letter, such as `m`, which is no variable where the other expression lacks it."""
    found = _LONE_UNIT.search(text)
    return text[: found.start()] if found and found[1] not in re.sub(r"\\[A-Za-z]+", "", other) else text


def _words(text: str) -> str:
    """An answer in words, such as a day of the week or a choice's letter, as it is compared; else nothing."""
    found = _WORDS.fullmatch(text)
    if found is None or not (_has_long_words(found[1]) or (len(found[1]) == 1 and text != found[1])):
        return ""
    return found[1].lower() if len(found[1]) > 1 else found[1]


def _compact(text: str) -> str:
    return text.replace(" ", "").strip("()") if len(text) <= 3 else text.replace(" ", "")


def _without_base(wanted: tuple[Value, ...], given: tuple[Value, ...]) -> bool:
    """Whether a numeral is given without the base that the reference states."""
    return any(
        isinstance(one, Several) and one.kind == "base" and isinstance(other, Quantity) and one.parts[0] == other
        for one in wanted
        for other in given
    )


def _rounded(value: Value) -> bool:
    return any(part.decimals for part in ((value,) if isinstance(value, Quantity) else value.parts))


def _latex(text: str) -> str:
    """As latex2sympy reads it: written fractions, and functions and constants that plain text names without `\\`."""
    text = re.sub(rf"(?<!\d)(\d++){FRACTION}(\d++)", r"\\frac{\1}{\2}", text).replace("\n", " ")
    return re.sub(r"(?<![\\A-Za-z])(pi|sqrt|sin|cos|tan|log|ln|infinity|theta)(?![A-Za-z])", _command, text)


def _command(found: re.Match[str]) -> str:
    return "\\" + {"infinity": "infty"}.get(found[1], found[1]) + " "
