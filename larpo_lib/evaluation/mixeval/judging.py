"""Buys judgements of responses to MixEval's questions until each can be read, and writes what each question scores."""

from collections.abc import Mapping, Sequence
from typing import Any

from larpo_lib.endpoint import Endpoint
from larpo_lib.errors import LarpoError
from larpo_lib.evaluation.mixeval.parsing import (
    chosen_option,
    judged_option,
    judged_score,
    random_option,
    random_score,
)
from larpo_lib.evaluation.mixeval.prompts import judging
from larpo_lib.evaluation.mixeval.questions import FREE_FORM, KIND_NAMES, Question
from larpo_lib.evaluation.mixeval.scoring import CUT
from larpo_lib.evaluation.mixeval.settings import MixEvalConfig
from larpo_lib.judging import completions
from larpo_lib.judging.decisions import Answer, Decisions
from larpo_lib.judging.unreadable import MOST_UNREAD, Unreadable, none_read

_REMEDY = (
    "Set mixeval.judge to a model that ends its judgement with a score such as [[0.5]], or an option such as [[B]]; "
    "increase mixeval.judge_max_tokens for one that thinks first"
)
NO_OPTION = "-"
"""Stands for the option of a response that counts as wrong because none could be read."""

Judged = dict[str, Any]
"""What one question scores, as `judged.jsonl` holds it; see `larpo_lib.evaluation.mixeval.scoring.read_judged`."""


def judge_responses(
    config: MixEvalConfig,
    questions: Sequence[Question],
    responses: Mapping[str, str],
    store: Decisions,
    endpoint: Endpoint[dict[str, Any]],
) -> tuple[list[Judged], dict[str, int]]:
    """Judge every response.

    Args:
        config: who judges, how often, and what is done where nothing can be read.
        questions: all of them.
        responses: by the question's key; a question without one is wrong.
        store: of the judge's decisions.
        endpoint: the judge's.

    Returns:
        A row of `judged.jsonl` for each question, in their order, and the counts `judged_again` (further attempts) and
        `too_long_for_judge`.

    Raises:
        LarpoError: no judgement of a kind of questions can be read; or one cannot, and the settings say that this is an
            error.
    """
    by_judge = [question for question in questions if question.key in responses and needs_judge(config, question)]
    answers, counts = _ask(config, by_judge, responses, store, endpoint)
    rows = [_row(config, question, responses, answers.get(question.key)) for question in questions]
    _require_some(rows)
    unread = [question for question, row in zip(questions, rows, strict=True) if not row["parsed"]]
    if config.unparsed == "fail" and unread:
        first = unread[0]
        raise LarpoError(
            f"{len(unread)} of {len(questions)} judgements cannot be read (up to {config.attempts} attempts "
            f"each). The first one is for the {KIND_NAMES[first.kind]} question {first.id!r}",
            remedy="Set mixeval.unparsed to wrong, leave_out or official; stored judgements are kept",
        )
    return rows, counts


def _require_some(rows: Sequence[Judged]) -> None:
    """Refuse judgements of a kind of which the judge wrote some and none can be read."""
    for kind, name in KIND_NAMES.items():
        judged = [row for row in rows if row["kind"] == kind and row["judge"] is not None]
        if judged and not any(row["parsed"] for row in judged):
            problem = f"none of the {len(judged)} judgements of {name} questions can be read"
            raise none_read(problem, judged[-1]["judge"], _REMEDY)


def _can_read(answer: Answer) -> bool:
    return any(_read(kind, answer) is not None for kind in KIND_NAMES)


def judge_request(config: MixEvalConfig, question: Question, response: str) -> dict[str, Any]:
    """The body of a request to the judge."""
    request: dict[str, Any] = {"model": config.judge.model, "messages": judging(question, response)}
    if config.judge_max_tokens != "server":
        request["max_tokens"] = config.judge_max_tokens
    if config.judge_temperature is not None:
        request["temperature"] = config.judge_temperature
    return request


def needs_judge(config: MixEvalConfig, question: Question) -> bool:
    """Whether the judge reads the response to a question."""
    return question.kind == FREE_FORM or config.multiple_choice == "judge"


def _ask(
    config: MixEvalConfig,
    questions: Sequence[Question],
    responses: Mapping[str, str],
    store: Decisions,
    endpoint: Endpoint[dict[str, Any]],
) -> tuple[dict[str, Answer], dict[str, int]]:
    """The judge's last answer on each question, none where it was too long for it."""
    last: dict[str, Answer] = {}
    counts = {"judged_again": 0, "too_long_for_judge": 0}
    left, guard = list(questions), Unreadable(_can_read, _REMEDY, most=MOST_UNREAD)
    for attempt in range(config.attempts):
        if not left:
            break
        requests = [judge_request(config, question, responses[question.key]) for question in left]
        label = "mixeval, judging" + (f" again, attempt {attempt + 1}" if attempt else "")
        answers = store.ask(endpoint, requests, label=label, attempt=attempt, look=guard.look)
        counts["judged_again"] += len(left) if attempt else 0
        counts["too_long_for_judge"] += answers.count(None)
        last |= {question.key: answer for question, answer in zip(left, answers, strict=True) if answer is not None}
        left = [
            question
            for question, answer in zip(left, answers, strict=True)
            if answer is not None and _read(question.kind, answer) is None
        ]
        if attempt and len(left) >= max(MOST_UNREAD, len(requests)):
            break  # another try of so many read not one: the judge answers them as it did before
    return last, counts


def _read(kind: str, answer: Answer) -> float | str | None:
    if completions.may_be_thoughts(answer):
        return None
    text = completions.text(answer)
    return judged_score(text) if kind == FREE_FORM else judged_option(text)


def _row(config: MixEvalConfig, question: Question, responses: Mapping[str, str], answer: Answer | None) -> Judged:
    text = None if answer is None else completions.text(answer)
    found: float | str | None = None
    if question.key not in responses:
        found = _nothing(question)
    elif answer is not None:
        found = _read(question.kind, answer)
    elif not needs_judge(config, question):
        found = chosen_option(responses[question.key], question.options)
    parsed = found is not None
    if not parsed:
        found = _stand_in(config, question)
    row = {"kind": question.kind, "id": question.id, "benchmark": question.benchmark, "judge": text, "parsed": parsed}
    if answer is not None and completions.may_be_thoughts(answer):
        row[CUT] = True
    if question.kind == FREE_FORM:
        return {**row, "score": found}
    return {**row, "n": len(question.options), "target": question.right, "option": found}


def _nothing(question: Question) -> float | str:
    return 0.0 if question.kind == FREE_FORM else NO_OPTION


def _stand_in(config: MixEvalConfig, question: Question) -> float | str | None:
    if config.unparsed == "wrong":
        return _nothing(question)
    if config.unparsed != "official":
        return None
    if question.kind == FREE_FORM:
        return random_score(config.seed, question.key)
    return random_option(config.seed, question.key, len(question.options))
