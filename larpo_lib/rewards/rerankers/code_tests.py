"""Tests of code as a reranker."""

import re
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ClassVar, Literal

from pydantic import Field, PositiveFloat, PositiveInt

from larpo_lib.config.kinds import RuleRerankerConfig
from larpo_lib.errors import ColumnError, ConfigError
from larpo_lib.parsing import parse_json
from larpo_lib.rewards.answers import Scorable
from larpo_lib.rewards.rerankers import Reranker
from larpo_lib.rewards.rerankers._rules import RuleReranker, Verdict, of_row
from larpo_lib.rewards.rules.fences import blocks
from larpo_lib.rewards.rules.sandbox import Limits, Outcome, Test, check_sandbox, run_tests

_UNREAD, _OUT_OF_TIME = "code_unread", "code_out_of_time"
_PYTHON = re.compile(r"\{?\.?i?py(?:thon)?[\d.]*(?![\w-])", re.ASCII | re.IGNORECASE)
"""At the beginning of a fence's words: py, python3, python3.11, {python}, python:main.py; not pycon, python-repl."""


class CodeTestsConfig(RuleRerankerConfig):
    """How many of a prompt's tests the Python code in a response passes.

    The code is the last block in code fences that is named Python, or else the last without a name, or else the whole
    response. Every test is run in a process of its own, without network, other processes and the environment's
    variables; it can read files, and write none but its own. It needs Linux with user namespaces.
    """

    does: ClassVar[str] = "code, run against tests"
    when: ClassVar[str] = "responses are Python code, and prompts have tests"
    execution: ClassVar[frozenset[str]] = frozenset({"allow_code_execution", "at_once"})

    type: Literal["code_tests"] = "code_tests"
    allow_code_execution: bool = False
    """Allows that code which a model wrote is run on this machine. Nothing is run without it."""
    tests_column: str = "tests"
    """Column with the prompt's tests, a list, or JSON of one: Python code such as `assert double(2) == 4`, which is run
    behind the response's code; or tables of `stdin` and the `stdout` that is due."""
    score: Literal["share", "all"] = "share"
    """`share`: the share of tests that are passed. `all`: 1 if all are passed, else 0."""
    timeout_s: PositiveFloat = 10.0
    """Seconds that one test may take. One that takes longer is failed."""
    memory_mb: PositiveInt = Field(1024, ge=64)
    """Memory, in MiB, of a process that a test runs in."""
    at_once: PositiveInt = 1
    """Responses that are tested at the same time."""

    @property
    def columns(self) -> frozenset[str]:
        """The tests."""
        return frozenset({self.tests_column})

    def check(self) -> None:
        """That code may be run, and can be."""
        self._allowed()
        check_sandbox()

    def check_columns(self, columns: Mapping[str, Any]) -> None:
        """That the prompt's tests can be read."""
        self.tests(columns)

    def tests(self, columns: Mapping[str, Any]) -> list[Test]:
        """The tests of a prompt.

        Raises:
            ColumnError: they cannot be read.
        """
        found, name = of_row(columns, self.tests_column), self.tests_column
        try:
            read = _tests(parse_json(found) if isinstance(found, str) else found)
        except ValueError as error:
            remedy = "Give a list of Python code, or of tables of stdin and stdout"
            raise ColumnError(f"has tests that cannot be read: {error}", field=name, remedy=remedy) from None
        return read

    def make(self) -> Reranker:
        """Nothing is loaded.

        Raises:
            ConfigError: code may not be run.
        """
        self._allowed()
        return CodeTestsReranker(self)

    def _allowed(self) -> None:
        if not self.allow_code_execution:
            raise ConfigError(
                "code_tests runs code that a model wrote, on this machine",
                remedy="If that is what you want, set the reranker's allow_code_execution to true",
            )


class CodeTestsReranker(RuleReranker[CodeTestsConfig]):
    """Scores a response by the tests that its code passes; code that Python cannot read passes none, and is counted."""

    counts: ClassVar[tuple[str, ...]] = (_UNREAD, _OUT_OF_TIME)

    def __init__(self, config: CodeTestsConfig) -> None:
        super().__init__(config)
        self._limits = Limits(config.timeout_s, config.memory_mb)

    def verdicts(self, items: Sequence[Scorable]) -> list[Verdict]:
        """Test several at the same time."""
        with ThreadPoolExecutor(self._config.at_once) as pool:
            return list(pool.map(self.verdict, items))

    def verdict(self, item: Scorable) -> Verdict:
        """The share of passed tests, or whether all are passed."""
        tests = self._config.tests(item.columns)
        outcomes: list[Outcome] = run_tests(code_of(item.response), tests, self._limits)
        passed = outcomes.count("passed")
        score = float(passed == len(tests)) if self._config.score == "all" else passed / len(tests)
        if "unread" in outcomes:
            return Verdict(score, _UNREAD)
        return Verdict(score, _OUT_OF_TIME if "out_of_time" in outcomes else None)


def code_of(response: str) -> str:
    """The last block of Python in code fences, else the last of no named language, else the whole response."""
    found = blocks(response)
    python = [block.content for block in found if _PYTHON.match(block.info)]
    unnamed = [block.content for block in found if not block.info]
    return (python or unnamed or [response])[-1]


def _tests(found: Any) -> list[Test]:
    if not isinstance(found, list) or not found:
        raise ValueError("they are no list with at least one")
    return [_test(each) for each in found]


def _test(found: Any) -> Test:
    if isinstance(found, str):
        return {"code": found}
    if isinstance(found, dict) and isinstance(found.get("stdout"), str):
        given = {name: value for name, value in found.items() if value is not None}
        if given.keys() <= {"stdin", "stdout"} and isinstance(given.get("stdin", ""), str):
            return given
    raise ValueError(f"{found!r:.80} is neither code nor a table of stdin and stdout, both text")
