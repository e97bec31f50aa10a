"""Regular expressions as a reranker."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, ClassVar, Literal

from pydantic import PositiveFloat

from larpo_lib.errors import ColumnError, ConfigError
from larpo_lib.rewards.answers import Scorable
from larpo_lib.rewards.rerankers import Reranker
from larpo_lib.rewards.rerankers._rules import FixedOrColumnConfig, RuleReranker, Verdict, of_row

_OUT_OF_TIME = "regex_out_of_time_dropped"


class RegexConfig(FixedOrColumnConfig):
    """1 if a response matches a regular expression, else 0.

    Expressions are those of the package `regex`, which has all of Python's `re`. Flags stand in the expression, as in
    `(?i)yes`. A response that takes longer than `timeout_s` is dropped and counted.
    """

    does: ClassVar[str] = "a regular expression"
    when: ClassVar[str] = "a pattern says what a response must look like"
    packages: ClassVar[tuple[str, ...]] = ("regex",)
    fixed_or_column: ClassVar[tuple[str, str]] = ("pattern", "pattern_column")
    execution: ClassVar[frozenset[str]] = frozenset({"timeout_s"})

    type: Literal["regex"] = "regex"
    pattern: str | None = None
    """The expression."""
    pattern_column: str | None = None
    """Column with the prompt's expression, instead of `pattern`."""
    match: Literal["search", "whole"] = "search"
    """`search`: somewhere in the response. `whole`: all of it, without white space around it."""
    timeout_s: PositiveFloat = 1.0
    """Seconds that one response may take."""

    def check(self) -> None:
        """That the expression can be read."""
        if self.pattern is not None:
            try:
                _compiled(self.pattern)
            except ValueError as error:
                raise ConfigError(f"regex: pattern {self.pattern!r} {error}") from None

    def check_columns(self, columns: Mapping[str, Any]) -> None:
        """That the prompt's expression can be read."""
        self.expression(columns)

    def expression(self, columns: Mapping[str, Any]) -> Any:
        """The compiled expression for a prompt.

        Raises:
            ColumnError: it cannot be read.
        """
        if self.pattern_column is None:
            return _compiled(self.pattern or "")
        pattern = of_row(columns, self.pattern_column)
        try:
            return _compiled(pattern)
        except ValueError as error:
            remedy = f"Correct the column '{self.pattern_column}'"
            raise ColumnError(f"has {pattern!r:.80}, which {error}", field=self.pattern_column, remedy=remedy) from None

    def make(self) -> Reranker:
        """Read the expression."""
        self.check()
        return RegexReranker(self)


class RegexReranker(RuleReranker[RegexConfig]):
    """Scores a response by whether it matches."""

    counts: ClassVar[tuple[str, ...]] = (_OUT_OF_TIME,)

    def verdict(self, item: Scorable) -> Verdict:
        """1 if it matches, 0 if not, None if that takes too long to tell."""
        expression, limit = self._config.expression(item.columns), self._config.timeout_s
        try:
            if self._config.match == "whole":
                found = expression.fullmatch(item.response.strip(), timeout=limit)
            else:
                found = expression.search(item.response, timeout=limit)
        except TimeoutError:
            return Verdict(None, _OUT_OF_TIME)
        return Verdict(float(found is not None))


@lru_cache(maxsize=4096)
def _compiled(pattern: Any) -> Any:
    import regex

    if not isinstance(pattern, str):
        raise ValueError("is no text")
    try:
        return regex.compile(pattern)
    except regex.error as error:
        raise ValueError(f"is no regular expression: {error}") from None
