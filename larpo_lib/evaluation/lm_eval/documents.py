"""What is wrong with a task's documents, told before the policy is asked."""

from collections.abc import Iterable
from typing import Any

from jinja2 import TemplateError

from larpo_lib.errors import DataError

FAILS = (
    *(ArithmeticError, AssertionError, AttributeError, ImportError, LookupError, OSError, TypeError, ValueError),
    TemplateError,
)
"""What a task raises whose definition or data are not as lm-eval takes them."""


def check_documents(name: str, task: Any, documents: Iterable[Any]) -> None:
    """Refuse documents of which lm-eval cannot make a prompt and a target, or whose score would mean nothing.

    lm-eval reads the targets, as it does here, when all responses are there.

    Raises:
        DataError: a column is missing, a target is null, or a choice is empty; the message has task and row.
    """
    for row, document in enumerate(documents, 1):
        try:
            task.doc_to_text(document)
            wrong = _target(task, document) or _choices(task, document)
        except FAILS as error:
            wrong = f"cannot be used: {type(error).__name__}: {str(error).strip().partition(chr(10))[0][:300]}"
        if wrong:
            raise DataError(
                f"the document {wrong}",
                path=f"task {name}",
                row=row,
                remedy="Correct the task's definition or its data",
            )


def _target(task: Any, document: Any) -> str:
    target, told = task.doc_to_target(document), task.get_config("doc_to_target")
    if not isinstance(told, str) or task.get_config("process_results") is not None:
        return ""  # a function of the task knows what it does
    null = target is None or (target == "None" and None in document.values())  # as a template writes it
    return f"has null as its target ({told})" if null else ""


def _choices(task: Any, document: Any) -> str:
    if task.get_config("output_type") != "multiple_choice":
        return ""
    choices = task.doc_to_choice(document)
    return f"has an empty choice among {choices}"[:300] if "" in choices else ""
