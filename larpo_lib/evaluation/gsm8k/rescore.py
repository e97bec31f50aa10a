"""GSM8K's accuracies from stored solutions, of one model or several."""

from __future__ import annotations

from pathlib import Path

from larpo_lib.evaluation.gsm8k.files import read_solutions
from larpo_lib.evaluation.gsm8k.scoring import accuracy


def run(*, solutions: Path) -> dict[str, float]:
    """The accuracy of every model in a file of solutions, in percent.

    Raises:
        DataError: the file is missing or malformed.
    """
    solved = read_solutions(solutions, str(solutions))
    return {
        name: accuracy([(one.problem.answer, one.solutions[name]) for one in solved]) for name in solved[0].solutions
    }
