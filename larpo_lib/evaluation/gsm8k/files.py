"""GSM8K's files: problems, and solutions of models in the form that was published with them."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from larpo_lib.errors import DataError
from larpo_lib.rewards.answers import final_number
from larpo_lib.schemas import prompt_id
from larpo_lib.sources.reading import RawRow, read_file

_PROBLEMS = "GSM8K's train.jsonl and test.jsonl have question and answer"
_SOLUTIONS = "example_model_solutions.jsonl has question, ground_truth and, for each model, {solution, is_correct}"


@dataclass(frozen=True)
class Problem:
    """A problem and its worked answer, which ends in a number.

    Attributes:
        item_id: a hash of the question.
    """

    item_id: str
    question: str
    answer: str


@dataclass(frozen=True)
class Solved:
    """A problem with the solutions of models, by their names."""

    problem: Problem
    solutions: Mapping[str, str]


def read_problems(path: Path, origin: str) -> tuple[list[Problem], int]:
    """The distinct problems of a file in its order, and how many rows repeat an earlier question.

    Raises:
        DataError: the file cannot be read, a row lacks a column, or an answer has no number.
    """
    found: dict[str, Problem] = {}
    rows = [*read_file(path, origin).rows]
    for row in rows:
        problem = _problem(row, origin, "answer", _PROBLEMS)
        found.setdefault(problem.item_id, problem)
    return list(found.values()), len(rows) - len(found)


def read_solutions(path: Path, origin: str) -> list[Solved]:
    """Published solutions. Every row names the same models.

    Raises:
        DataError: the file cannot be read, a row lacks a column or a model, or repeats a question.
    """
    found: list[Solved] = []
    seen: set[str] = set()
    for row in read_file(path, origin).rows:
        problem = _problem(row, origin, "ground_truth", _SOLUTIONS)
        solutions = {
            name: _text(value.get("solution"), row, origin, f"{name}.solution", _SOLUTIONS)
            for name, value in row.values.items()
            if isinstance(value, dict)
        }
        if not solutions:
            raise DataError("contains no solution of a model", path=origin, row=row.number, remedy=_SOLUTIONS)
        if problem.item_id in seen:
            raise DataError("repeats an earlier question", path=origin, row=row.number, remedy="Remove the row")
        if found and solutions.keys() != found[0].solutions.keys():
            raise DataError(
                f"contains solutions of {', '.join(solutions)}, but other rows of {', '.join(found[0].solutions)}",
                path=origin,
                row=row.number,
                remedy="Every row must have the same models",
            )
        seen.add(problem.item_id)
        found.append(Solved(problem, solutions))
    return found


def _problem(row: RawRow, origin: str, answer: str, remedy: str) -> Problem:
    question, worked = (_text(row.values.get(column), row, origin, column, remedy) for column in ("question", answer))
    if final_number(worked) is None:
        raise DataError("contains no number", path=origin, row=row.number, field=answer, remedy=remedy)
    return Problem(prompt_id([{"role": "user", "content": question}]), question, worked)


def _text(value: Any, row: RawRow, origin: str, field: str, remedy: str) -> str:
    if not isinstance(value, str):
        raise DataError("is not text", path=origin, row=row.number, field=field, remedy=remedy)
    return value
