"""Plays many lists at a time: the questions that all of them have next are asked together."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from larpo_lib.endpoint import Endpoint
from larpo_lib.judging.decisions import Answer, Decisions
from larpo_lib.judging.unreadable import Unreadable
from larpo_lib.rewards.rerankers.judge.modes import Outcome, Play
from larpo_lib.rewards.rerankers.judge.questions import Questions
from larpo_lib.rewards.rerankers.llm_judge import LlmJudgeRerankerConfig

MISSING: Final = object()
"""Stands for the reading of an answer that is not stored."""
_FORMS = {
    "pointwise": "with a grade, such as 3 or [[3]]",
    "pairwise": "with A, B or C, or [[A]], [[B]] or [[C]]",
    "listwise": "with a ranking such as [2] > [1]",
}


def played(plays: Mapping[str, Play], read: Callable[[list[str]], Sequence[Any]]) -> dict[str, Outcome]:
    """Play all to their ends.

    Args:
        plays: the judging of each list, not begun.
        read: gives what is read of the answer to each question.
    """
    outcomes: dict[str, Outcome] = {}
    known: dict[str, Any] = dict.fromkeys(plays)  # None begins a play
    while known:
        asked: dict[str, list[str]] = {}
        for key, readings in known.items():
            try:
                asked[key] = plays[key].send(readings)
            except StopIteration as end:
                outcomes[key] = end.value
        found = iter(read([text for texts in asked.values() for text in texts]))
        known = {key: [next(found) for _ in texts] for key, texts in asked.items()}
    return outcomes


class Asking:
    """Asks a judge, again if a reply cannot be read.

    Args:
        config: the judge.
        questions: what is asked.
        endpoint: the judge's.
    """

    def __init__(self, config: LlmJudgeRerankerConfig, questions: Questions, endpoint: Endpoint[Answer]) -> None:
        self._attempts, self._questions, self._endpoint = config.attempts, questions, endpoint
        remedy = f"Use a judge that replies {_FORMS[config.mode]}, change the template, or increase max_tokens"
        self._guard = Unreadable(lambda answer: questions.read(answer) is not None, remedy)

    def readings(self, texts: Sequence[str], store: Decisions, counts: Counter[str]) -> list[Any]:
        """What is read of the answer to each text: from the store, else from the judge. Equal texts are asked once.

        Args:
            texts: the questions.
            store: of decisions.
            counts: to which is added how many could be read, could not be read, and are too long for the judge.

        Raises:
            LarpoError: none of the first replies can be read.
            EndpointError: a request failed for good.
        """
        found: dict[str, Any] = dict.fromkeys(texts)
        left, too_long = list(found), 0
        for attempt in range(self._attempts):
            requests = [self._questions.request(text) for text in left]
            answers = store.answers(self._endpoint, requests, attempt=attempt, look=self._guard.look)
            read = {
                text: self._questions.read(answer)
                for text, answer in zip(left, answers, strict=True)
                if answer is not None
            }
            found |= read
            too_long += len(left) - len(read)
            left = [text for text, reading in read.items() if reading is None]
        counts.update(
            judge_decisions=len(found) - len(left) - too_long, judge_unread=len(left), judge_too_long=too_long
        )
        return [found[text] for text in texts]


def stored_reading(config: LlmJudgeRerankerConfig, questions: Questions, store: Decisions, text: str) -> Any:
    """What `Asking` would read of the stored answers to a text; `MISSING` if it would ask."""
    request = questions.request(text)
    for attempt in range(config.attempts):
        answer = store.get(request, attempt)
        if answer is None:
            return MISSING
        reading = questions.read(answer)
        if reading is not None:
            return reading
    return None
