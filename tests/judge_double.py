"""A judge on loopback whose replies a test writes, and what it was asked, by content."""

import json
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from server_double import Asked, Reply, ServerDouble, serve

from larpo_lib.rewards.rerankers import Reranker, Scorable, make_reranker
from larpo_lib.rewards.rerankers.llm_judge import LlmJudgeRerankerConfig

Say = Callable[[list[str]], "str | dict[str, Any] | Reply"]
"""From the responses that a question shows, in their order, to the reply, or the whole first choice, or answer."""
_BLOCK = re.compile(
    r"----- RESPONSE(?: \S+)? ([0-9a-f]+) -----\n(.*?)\n----- END OF RESPONSE(?: \S+)? \1 -----", re.DOTALL
)


class Judge:
    """A server, and how often it gave a whole answer to each question, by the question's content."""

    def __init__(self, say: Say) -> None:
        self.say = say
        self.server: ServerDouble
        self.bought: Counter[str] = Counter()
        self._lock = threading.Lock()

    def answer(self, asked: Asked) -> Reply:
        if asked.path == "/v1/models":
            return Reply({"data": [{"id": "big", "max_model_len": 4096}]})
        said = self.say(shown(asked.payload["messages"][0]["content"]))
        reply = said if isinstance(said, Reply) else answered(said)
        if reply.status == 200 and not reply.cut_off:
            with self._lock:
                self.bought[json.dumps(asked.payload, sort_keys=True)] += 1
        return reply

    def questions(self) -> list[str]:
        """What it was asked, each time."""
        return [payload["messages"][0]["content"] for payload in self.server.payloads("/v1/chat/completions")]

    def calls(self) -> int:
        """How often it was asked."""
        return len(self.questions())

    def config(self, folder: Path, **settings: Any) -> LlmJudgeRerankerConfig:
        """Settings of this judge, whose decisions are kept in `folder`."""
        given = {"base_url": f"{self.server.url}/v1", "model": "big", "decisions": str(folder), "retries": 0}
        return LlmJudgeRerankerConfig.model_validate(given | settings)

    def reranker(self, folder: Path, **settings: Any) -> Reranker:
        """The reranker of these settings."""
        return make_reranker(self.config(folder, **settings))


def shown(question: str) -> list[str]:
    """The responses that a question shows."""
    return [text for _, text in _BLOCK.findall(question)]


def answered(reply: str | dict[str, Any]) -> Reply:
    """An answer with this reply, or this first choice."""
    first = {"message": {"role": "assistant", "content": reply}} if isinstance(reply, str) else reply
    return Reply({"id": "x", "choices": [first], "usage": {"prompt_tokens": 9}})


def broken(reply: str) -> Reply:
    """The same, cut off in the middle."""
    return replace(answered(reply), cut_off=True)


@contextmanager
def judging(say: Say) -> Iterator[Judge]:
    """A judge that replies as `say` does."""
    judge = Judge(say)
    with serve(judge.answer) as server:
        judge.server = server
        yield judge


def items(*responses: str, prompt: str = "p", reference: str | None = None) -> list[Scorable]:
    """Responses to one prompt."""
    return [
        Scorable(prompt, [{"role": "user", "content": f"Question {prompt}?"}], each, reference) for each in responses
    ]


def longer(responses: list[str]) -> str:
    """The verdict of a judge that prefers the longer one of two responses."""
    first, second = map(len, responses)
    return "C" if first == second else "A" if first > second else "B"


def by_length(responses: list[str]) -> str:
    """The ranking of a judge that prefers long responses."""
    order = sorted(range(len(responses)), key=lambda place: -len(responses[place]))
    return " > ".join(f"[{place + 1}]" for place in order)
