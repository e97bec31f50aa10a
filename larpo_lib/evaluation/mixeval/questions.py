"""MixEval's questions and the answers to them, in the published formats."""

import gzip
import hashlib
import json
import string
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from larpo_lib.errors import ConfigError, DataError
from larpo_lib.parsing import parse_json

FREE_FORM, MULTIPLE_CHOICE = "ff", "mp"
"""Kinds of questions, as the published judge files call them."""
KIND_NAMES = {FREE_FORM: "free-form", MULTIPLE_CHOICE: "multiple-choice"}

_PUBLISHED = {
    "716a9170d19405b8": ("mixeval", "2024-06-01"),
    "d2733dec3c7bcd44": ("mixeval", "2024-06-01"),
    "032dbcb2da433512": ("mixeval-hard", "2024-06-01"),
    "32dfffb55422bd30": ("mixeval-hard", "2024-06-01"),
}
"""Digests of the published questions that are known here: a file that is given for another one is refused."""


@dataclass(frozen=True)
class Question:
    """One question.

    Attributes:
        id: within its file; the two files number theirs independently.
        benchmark: where it comes from, such as "TriviaQA".
        context: text it is about, if any.
        prompt: the question itself.
        golden: right answers of a free-form question, any of which will do; empty for multiple choice.
        options: of a multiple-choice question; empty for free form.
        right: number of the right option, from 0 on; None for free form.
        fields: as published.
    """

    id: str
    benchmark: str
    context: str | None
    prompt: str
    golden: tuple[str, ...]
    options: tuple[str, ...]
    right: int | None
    fields: Mapping[str, Any]

    @property
    def kind(self) -> str:
        """FREE_FORM or MULTIPLE_CHOICE."""
        return MULTIPLE_CHOICE if self.options else FREE_FORM

    @property
    def key(self) -> str:
        """Its id among all questions, such as "ff-17"."""
        return f"{self.kind}-{self.id}"

    @property
    def digest(self) -> str:
        """Of all that is asked and is right, which copies under several ids have in common."""
        text = json.dumps([self.context, self.prompt, self.golden, self.options])
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def letters(count: int) -> str:
    """The letters of `count` options: A, B, ..."""
    return string.ascii_uppercase[:count]


def read_questions(path: Path, kind: str) -> list[Question]:
    """Read `free-form.json` or `multiple-choice.json` (or .json.gz) as published: an object of questions by their ids.

    Raises:
        DataError: names the file, the question's id and the field.
    """
    published = _parsed(path, _read_text(path))
    if not isinstance(published, dict) or not published:
        raise DataError("is not an object that maps ids to questions", path=path, remedy=_PUBLISHED_FILES)
    return [_question(path, kind, identity, row) for identity, row in published.items()]


def check_set(questions: Sequence[Question], benchmark: str, version: str, path: Path) -> None:
    """Refuse the questions of one published file if the settings name another benchmark or version."""
    text = json.dumps([[question.id, question.fields] for question in questions], sort_keys=True)
    found = _PUBLISHED.get(hashlib.sha256(text.encode()).hexdigest()[:16])
    if found is not None and found != (benchmark, version):
        raise ConfigError(
            f"{path}: contains {found[0]} {found[1]}, but the settings name {benchmark} {version}",
            remedy="Set mixeval.benchmark and mixeval.version, or use the other file",
        )


def read_answers(paths: Sequence[Path], questions: Sequence[Question]) -> dict[str, str]:
    """Read responses in the official output format: JSON Lines or a JSON list, or either of them compressed.

    Args:
        paths: one or more files; a row with `options` answers a multiple-choice question.
        questions: all of them, each to be answered once. Rows that answer others are refused.

    Returns:
        The response to each question, by its key.

    Raises:
        DataError: names the file, the row and the field, or a question without an answer.
    """
    known = {question.key: question for question in questions}
    responses: dict[str, str] = {}
    for path in paths:
        for number, row in read_rows(path):
            kind = MULTIPLE_CHOICE if row.get("options") else FREE_FORM
            key = f"{kind}-{row.get('id')}"
            if key not in known or row.get("prompt") != known[key].prompt:
                problem = f"does not answer any of the {KIND_NAMES[kind]} questions (id {row.get('id')!r})"
                raise DataError(problem, path=path, row=number, remedy="Pass the questions that were answered")
            if key in responses:
                raise DataError(f"answers question {row['id']!r} again", path=path, row=number)
            if not isinstance(row.get("response"), str):
                raise DataError("is not text", path=path, row=number, field="response")
            responses[key] = row["response"]
    missing = [question for question in questions if question.key not in responses]
    if missing:
        first = missing[0]
        raise DataError(
            f"{len(missing)} questions have no answer. The first one is {KIND_NAMES[first.kind]} {first.id!r}",
            path=" and ".join(str(path) for path in paths),
            remedy="Pass the files of both kinds",
        )
    return responses


def answered(question: Question, formated_input: str, response: str) -> dict[str, Any]:
    """A row of the official output format, which `read_answers` reads."""
    return {"id": question.id, **question.fields, "formated_input": formated_input, "response": response}


def read_rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """The objects of a file of JSON Lines or of one JSON list, gzip if it ends in .gz, with their numbers from 1 on."""
    text = _read_text(path)
    if text.lstrip().startswith("["):
        for number, row in enumerate(_parsed(path, text), start=1):
            yield number, _object(path, number, row)
        return
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            yield number, _object(path, number, _parsed(path, line, number))


_PUBLISHED_FILES = "Use an unchanged file from mix_eval/data of the MixEval repository"


def _question(path: Path, kind: str, identity: str, row: Any) -> Question:
    def need(field: str | None, holds: bool, what: str) -> None:
        if not holds:
            raise DataError(f"question {identity!r} {what}", path=path, field=field, remedy=_PUBLISHED_FILES)

    need(None, isinstance(row, dict), "is not an object")
    for field in ("prompt", "benchmark_name"):
        need(field, isinstance(row.get(field), str) and bool(row[field]), "has no text here")
    need("context", isinstance(row.get("context"), str | None), "has neither text nor null here")
    target = row.get("target")
    need("target", isinstance(target, list) and bool(target), "has no list here")
    parts = {"id": identity, "benchmark": row["benchmark_name"], "context": row.get("context"), "prompt": row["prompt"]}
    if kind == FREE_FORM:
        need("options", row.get("options") is None, "has options, so it is not free-form")
        need("target", _are_texts(target), "has no list of texts here")
        return Question(**parts, golden=tuple(map(str, target)), options=(), right=None, fields=row)
    options = row.get("options")
    need("options", isinstance(options, list) and _are_texts(options), "has no list of texts here")
    need("options", 2 <= len(options) <= len(string.ascii_uppercase), "has fewer than two options here")
    right = target[0]
    named = len(target) == 1 and type(right) is int and 0 <= right < len(options)
    need("target", named, f"does not have the number of one of its {len(options)} options here, counted from 0")
    return Question(**parts, golden=(), options=tuple(map(str, options)), right=right, fields=row)


def _are_texts(values: list[Any]) -> bool:
    """Numbers count as their text, as officially."""
    return all(isinstance(value, str | int | float) and not isinstance(value, bool) for value in values)


def _parsed(path: Path, text: str, row: int | None = None) -> Any:
    try:
        return parse_json(text)
    except ValueError as error:
        raise DataError(f"is not valid JSON: {error}", path=path, row=row) from None


def _object(path: Path, number: int, row: Any) -> dict[str, Any]:
    if not isinstance(row, dict):
        raise DataError("is not an object", path=path, row=number)
    return row


def _read_text(path: Path) -> str:
    try:
        content = path.read_bytes()
        return (gzip.decompress(content) if path.suffix == ".gz" else content).decode()
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise DataError(f"cannot be read: {error}", path=path) from None
