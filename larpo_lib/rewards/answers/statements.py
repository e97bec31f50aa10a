"""Where a text states its answer."""

import re
from dataclasses import dataclass
from typing import Literal

from larpo_lib.rewards.answers.plain import plain
from larpo_lib.scripts import NO_NAMES

Place = Literal["box", "mark", "sentence", "text"]


@dataclass(frozen=True)
class Statement:
    """What a text states as its answer.

    Attributes:
        text: in plain notation.
        place: in boxes, behind `####` or `A:`, behind words such as "the answer is"; or else it is the whole text.
    """

    text: str
    place: Place


_BOX = re.compile(r"\\(?:boxed|fbox)(?![A-Za-z])")
_TRIED = 8
_BETWEEN_BOXES = re.compile(r"[\s$,;.\\()]{0,12}(?:\\text ?\{ ?)?(?:and|or)?[\s$,;\\()}]{0,12}")
_LONE = re.compile(r"\s?(-?\d[\d.,]*|[^\s{}])")
_LINE = re.compile(r"\s{0,20}([^\n]*)")
_RUN_OF_MARKS = re.compile(r"#{4}(?!#)")
_ANSWER_LINE = re.compile(r"(?:^|(?<=\n)|(?<=\?)|(?<=\? ))[*_ ]{0,4}A:")
_HEADING = re.compile(rf"(?:step )?\d+(?:[.):] ?[A-Za-z{NO_NAMES}]|, [{NO_NAMES}])", re.IGNORECASE)
_MATHEMATICAL = re.compile(r"[-+\d.(\[{\\|<>=]|[A-Za-z](?:\.?$|[-+=^_*/(),:<>]| [-+=*/<>\\])")
_PHRASE = re.compile(r"\banswers?\b[^.\n:=]{0,60}?(?:\b(?:is|are|be|was|equals)\b|[:=])[ :=]{0,3}\n?", re.IGNORECASE)
_SENTENCE = re.compile(r"[.!?](?= |\n|$)|\n")


def statement(text: str) -> Statement:
    """The answer that a text states.

    The last of its boxes (several that only `and`, `or` or commas part are one list) and of its lines behind `####` or
    `A:`; else what stands behind the last "answer is"; else all of the text. A heading of Markdown is no statement.
    """
    box, marked = _boxes(text), _behind_marks(text)
    if box is not None and (marked is None or marked[0] < box[0]):
        return Statement(box[1], "box")
    if marked is not None:
        return Statement(marked[1], "mark")
    whole = plain(text)
    sentence = _behind_phrase(whole)
    return Statement(whole, "text") if sentence is None else Statement(sentence, "sentence")


def _boxes(text: str) -> tuple[int, str] | None:
    """Place and content of the last box that is not empty, together with those listed right before it."""
    if "box" not in text:
        return None
    starts = [found.span() for found in _BOX.finditer(text)][-_TRIED:]
    contents: list[str] = []
    place, following = -1, 0
    for start, end in reversed(starts):
        content, closed = _in_box(text, end)
        if contents and not (closed <= following and _BETWEEN_BOXES.fullmatch(text[closed:following])):
            break
        read = plain(content)
        if read:
            place, following = max(place, start), start
            contents.append(read)
    distinct = list(dict.fromkeys(reversed(contents)))
    return (place, " and ".join(distinct)) if distinct else None


def _in_box(text: str, start: int) -> tuple[str, int]:
    """What a box holds whose command ends at `start`, and where it ends; one never closed ends with its line."""
    if not text[start:].lstrip(" ").startswith("{"):
        found = _LONE.match(text, start)
        return (found[1], found.end()) if found else ("", start)
    opened = text.index("{", start)
    depth = 0
    for brace in re.finditer(r"[{}]", text[opened:]):
        depth += 1 if brace[0] == "{" else -1
        if depth == 0:
            return text[opened + 1 : opened + brace.start()], opened + brace.end()
    line = text[opened + 1 :].partition("\n")[0]
    return line.rstrip("$ "), len(text)


def _behind_marks(text: str) -> tuple[int, str] | None:
    """Place and content of the last line behind `####` or `A:` that looks like an answer."""
    found: list[tuple[int, str]] = []
    for pattern, here in ((_RUN_OF_MARKS, "####"), (_ANSWER_LINE, "A:")):
        places = [match.end() for match in pattern.finditer(text)] if here in text else []
        for place in reversed(places[-_TRIED:]):
            line = _LINE.match(text, place)
            content = plain(line[1]).strip("*_'\" ") if line else ""
            if _MATHEMATICAL.match(content) and not (here == "####" and _is_heading(content, text, line)):
                found.append((place, content))
                break
    return max(found, default=None)


def _is_heading(content: str, text: str, line: re.Match[str] | None) -> bool:
    """Whether a line is a heading of Markdown, such as `2. Compute`: more has to stand under it."""
    return _HEADING.match(content) is not None and line is not None and bool(text[line.end() :].strip())


def answer_phrase_end(text: str) -> int:
    """Where the last "answer is" ends that something is said behind; 0 where there is none."""
    for found in reversed([*_PHRASE.finditer(text)][-_TRIED:]):
        end = _SENTENCE.search(text, found.end())
        if text[found.end() : end.start() if end else None].strip():
            return found.end()
    return 0


def _behind_phrase(text: str) -> str | None:
    """The rest of the sentence behind the last "answer is", if it says anything."""
    start = answer_phrase_end(text)
    end = _SENTENCE.search(text, start)
    return text[start : end.start() if end else None].strip() if start else None
