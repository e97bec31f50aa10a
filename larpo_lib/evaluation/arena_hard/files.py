"""The published files of Arena-Hard: questions, models' answers with their style, and judgements."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from larpo_lib.errors import ConfigError, DataError
from larpo_lib.evaluation.arena_hard.prompts import VERDICTS
from larpo_lib.evaluation.arena_hard.scoring import Judgement
from larpo_lib.evaluation.arena_hard.style import FEATURES, Style, metadata, style
from larpo_lib.sources.cells import Cell
from larpo_lib.sources.reading import Raw, RawRow, read_file

TITLES = {"hard_prompt": "Hard prompts", "creative_writing": "Creative writing"}
"""Of the categories."""
BASELINES = {"hard_prompt": "o3-mini-2025-01-31", "creative_writing": "gemini-2.0-flash-001"}
"""Whose answers those of a category are officially compared with."""
SIZES = {"hard_prompt": 500, "creative_writing": 250}
"""Questions of a category."""
_PUBLISHED = {
    "hard_prompt": "2d61c55a6d1c53c7",
    "creative_writing": "e3059201e9a6f20d",
}
"""Digest of a category's questions."""

_HUB = "https://huggingface.co/datasets/lmarena-ai/arena-hard-auto has it below data/arena-hard-v2.0"
_COUNTED = "Remove it; what is missing is counted"
_ROWS = {
    "questions": "A row of question.jsonl has uid, category and prompt",
    "answers": 'A row of answers has uid, model, and messages, whose last, of the assistant, holds {"answer": text}',
    "judgments": "A row of judgements has uid, category, judge, model, baseline, and games, two of {score} or null",
}


@dataclass(frozen=True)
class Question:
    """A question; `subcategory` is the category's own name where the file has none."""

    uid: str
    category: str
    subcategory: str
    prompt: str


@dataclass(frozen=True)
class Answer:
    """An answer."""

    text: str

    @cached_property
    def metadata(self) -> Mapping[str, Any]:
        """What is counted of its style."""
        return metadata(self.text)

    @property
    def style(self) -> Style:
        """Its style."""
        return style(self.metadata)


@dataclass(frozen=True)
class Answers:
    """The answers of one model, by the question's id, and where they come from."""

    model: str
    origin: Path
    by_question: Mapping[str, Answer]


def read_questions(path: Path) -> list[Question]:
    """The questions of a file in its order.

    Raises:
        DataError: the file is missing or malformed, an id stands twice, or a category is unknown.
    """
    found: dict[str, Question] = {}
    for raw, row in _rows(path):
        uid, category, prompt = (_text(raw, row, name, "questions") for name in ("uid", "category", "prompt"))
        if category not in TITLES:
            raise _cell(raw, row, "category").error(f"is {category!r}", f"Arena-Hard v2.0 has {', '.join(TITLES)}")
        if uid in found:
            raise _cell(raw, row, "uid").error("appears in an earlier row too")
        found[uid] = Question(uid, category, str(row.values.get("subcategory") or category), prompt)
    return list(found.values())


def check_set(category: str, questions: Sequence[Question], path: Path, *, partial: bool) -> None:
    """Refuse other questions than those published where they are to be scored as the benchmark.

    Raises:
        ConfigError: they are others, and `partial` does not say that this is meant.
    """
    if not partial and digest_of(questions) != _PUBLISHED[category]:
        raise ConfigError(
            f"{path}: its {len(questions)} questions of {category} are not the {SIZES[category]} of Arena-Hard v2.0",
            remedy=f"{_HUB} as question.jsonl; or set arena_hard.partial = true, for a score that is not comparable "
            "with published ones",
        )


def digest_of(questions: Sequence[Question]) -> str:
    """Of ids and prompts, in any order."""
    lines = sorted(f"{one.uid} {one.prompt}" for one in questions)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def read_answers(path: Path) -> Answers:
    """The answers of one model.

    Raises:
        DataError: the file is missing or malformed, an id stands twice, or there are several models.
    """
    found: dict[str, Answer] = {}
    model = ""
    for raw, row in _rows(path):
        uid, own = (_text(raw, row, name, "answers") for name in ("uid", "model"))
        if uid in found:
            raise _cell(raw, row, "uid").error("appears in an earlier row too")
        if own != (model := model or own):
            raise _cell(raw, row, "model").error("differs from the value in earlier rows")
        found[uid] = Answer(_said(raw, row))
        _check_metadata(raw, row, found[uid].style)
    return Answers(model, path, found)


def require_answers(questions: Sequence[Question], answers: Answers) -> None:
    """Refuse answers that are not to all questions.

    Raises:
        ConfigError: some are missing.
    """
    missing = [one.uid for one in questions if one.uid not in answers.by_question]
    if missing:
        raise ConfigError(
            f"{answers.origin}: {answers.model} has no answer to {len(missing)} of {len(questions)} questions, such as "
            f"{missing[0]}",
            remedy="Add them, or remove these questions; arena_hard.partial = true leaves out what --answers lacks",
        )


def answer_row(model: str, question: Question, answer: Answer) -> dict[str, Any]:
    """An answer in the official format."""
    said = [{"role": "user", "content": question.prompt}, {"role": "assistant", "content": {"answer": answer.text}}]
    return {"uid": question.uid, "model": model, "messages": said, "metadata": answer.metadata}


def judgement_row(judgement: Judgement, texts: Sequence[str | None]) -> dict[str, Any]:
    """A judgement in the official format, without the prompts of the judge; `texts`: what it wrote in both games."""
    games = [
        None if text is None else {"score": label, "judgment": {"answer": text}}
        for label, text in zip(judgement.labels, texts, strict=True)
    ]
    names = ("category", "judge", "model", "baseline")
    return {"uid": judgement.question, **{name: getattr(judgement, name) for name in names}, "games": games}


def read_judgments(path: Path) -> list[Judgement]:
    """The judgements of a file; labels that are no verdict are None.

    Raises:
        DataError: the file is missing or malformed.
    """
    return [_judgement(raw, row) for raw, row in _rows(path)]


def _judgement(raw: Raw, row: RawRow) -> Judgement:
    names = ("uid", "category", "judge", "model", "baseline")
    uid, category, judge, model, baseline = (_text(raw, row, name, "judgments") for name in names)
    games = row.values.get("games")
    if not isinstance(games, list) or len(games) != 2:
        raise _cell(raw, row, "games").error("is not a list of two games", _ROWS["judgments"])
    labels = [game.get("score") if isinstance(game, dict) else None for game in games]
    first, second = (one if one in VERDICTS else None for one in labels)
    return Judgement(uid, category, judge, model, baseline, (first, second))


def _said(raw: Raw, row: RawRow) -> str:
    messages = row.values.get("messages")
    last = messages[-1] if isinstance(messages, list) and messages else None
    content = last.get("content") if isinstance(last, dict) else None
    answer = content.get("answer") if isinstance(content, dict) else content
    if isinstance(last, dict) and last.get("role") != "assistant":
        raise _cell(raw, row, "messages").error(
            f"does not end with an answer, but with a message of the role {last.get('role')!r}",
            'The last message is the answer, and has the role "assistant"',
        )
    if not isinstance(answer, str):
        raise _cell(raw, row, "messages").error("does not end with an answer", _ROWS["answers"])
    return answer


def _check_metadata(raw: Raw, row: RawRow, counted: Style) -> None:
    """Refuse what a file says of the style of another text than that which stands there."""
    stored = row.values.get("metadata")
    if stored is None:
        return
    cell = _cell(raw, row, "metadata")
    try:
        told = style(stored)
    except (TypeError, KeyError, AttributeError):
        told = None
    if told is None or not all(type(number) is int for number in told):
        raise cell.error(f"does not hold the whole numbers {', '.join(FEATURES)}", _COUNTED)
    for name, said, found in zip(FEATURES, told, counted, strict=True):
        if said != found:
            raise cell.error(f"says that {name} is {said}, but the answer's text has {found}", _COUNTED)


def _rows(path: Path) -> Iterator[tuple[Raw, RawRow]]:
    if not path.is_file():
        raise DataError("no such file", path=path, remedy=f"Check the path; {_HUB}")
    raw = read_file(path, str(path))
    yield from ((raw, row) for row in raw.rows)


def _text(raw: Raw, row: RawRow, field: str, kind: str) -> str:
    cell = _cell(raw, row, field)
    if not isinstance(cell.value, str) or not cell.value:
        raise cell.error("is not text", _ROWS[kind])
    return cell.value


def _cell(raw: Raw, row: RawRow, field: str) -> Cell:
    return Cell(raw.origin, row.number, field, row.values.get(field))
