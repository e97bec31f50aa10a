"""JSON Schema as a reranker."""

import json
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import JsonValue, PositiveFloat

from larpo_lib.errors import ColumnError, ConfigError
from larpo_lib.rewards.answers import Scorable
from larpo_lib.rewards.rerankers import Reranker
from larpo_lib.rewards.rerankers._rules import FixedOrColumnConfig, RuleReranker, Verdict, of_row
from larpo_lib.rewards.rules.checks import JsonVerdict, judged_json
from larpo_lib.rewards.rules.schemas import read_schema

_UNREAD, _OUT_OF_TIME = "json_unread", "json_schema_out_of_time_dropped"
_VERDICTS: dict[JsonVerdict | None, Verdict] = {
    "accepted": Verdict(1.0),
    "refused": Verdict(0.0),
    "unread": Verdict(0.0, _UNREAD),
    None: Verdict(None, _OUT_OF_TIME),
}


class JsonSchemaConfig(FixedOrColumnConfig):
    """1 if a response is JSON that a JSON Schema accepts, else 0.

    A response that is no JSON scores 0 and is counted. One that takes longer than `timeout_s` is dropped and counted.
    References in a schema may lead to its own parts only.
    """

    does: ClassVar[str] = "JSON, against a schema"
    when: ClassVar[str] = "responses must be JSON of a given form"
    packages: ClassVar[tuple[str, ...]] = ("jsonschema",)
    fixed_or_column: ClassVar[tuple[str, str]] = ("accepted", "schema_column")
    execution: ClassVar[frozenset[str]] = frozenset({"timeout_s"})

    type: Literal["json_schema"] = "json_schema"
    accepted: dict[str, JsonValue] | None = None
    """The schema, as a table."""
    schema_column: str | None = None
    """Column with the prompt's schema, an object or JSON text, instead of `accepted`."""
    fences: Literal["strip", "keep"] = "strip"
    """`strip`: if a response has exactly one block in code fences, only the block is read. `keep`: all of it is."""
    timeout_s: PositiveFloat = 1.0
    """Seconds of processor time that one response may take."""

    def check(self) -> None:
        """That the schema is one."""
        if self.accepted is not None:
            try:
                read_schema(json.dumps(self.accepted))
            except ValueError as error:
                raise ConfigError(f"json_schema: accepted {error}") from None

    def check_columns(self, columns: Mapping[str, Any]) -> None:
        """That the prompt's schema is one."""
        self.of_prompt(columns)

    def of_prompt(self, columns: Mapping[str, Any]) -> str:
        """The schema of a prompt, as JSON text.

        Raises:
            ColumnError: it cannot be read.
        """
        if self.schema_column is None:
            return json.dumps(self.accepted)
        found, remedy = of_row(columns, self.schema_column), f"Correct the column '{self.schema_column}'"
        if _has_null(found):
            problem = "has a schema with a key that is null, as Parquet gives to an object the keys of other rows"
            raise ColumnError(problem, field=self.schema_column, remedy="Write schemas as JSON text")
        text = json.dumps(found, default=str) if isinstance(found, dict) else found
        if not isinstance(text, str):
            problem, remedy = "has a schema that is neither an object nor text", "Write schemas as objects or JSON text"
            raise ColumnError(problem, field=self.schema_column, remedy=remedy)
        try:
            read_schema(text)
        except ValueError as error:
            raise ColumnError(f"has a schema that {error}", field=self.schema_column, remedy=remedy) from None
        return text

    def make(self) -> Reranker:
        """Read the schema."""
        self.check()
        return JsonSchemaReranker(self)


class JsonSchemaReranker(RuleReranker[JsonSchemaConfig]):
    """Scores a response by whether its JSON is accepted."""

    counts: ClassVar[tuple[str, ...]] = (_UNREAD, _OUT_OF_TIME)

    def verdict(self, item: Scorable) -> Verdict:
        """1 if it is accepted, 0 if not, None if that takes too long to tell."""
        schema, strip = self._config.of_prompt(item.columns), self._config.fences == "strip"
        return _VERDICTS[judged_json(schema, item.response, strip=strip, timeout_s=self._config.timeout_s)]


def _has_null(value: Any) -> bool:
    """Whether a key of an object, or of one in it, is null."""
    if isinstance(value, dict):
        return any(each is None or _has_null(each) for each in value.values())
    return isinstance(value, list) and any(map(_has_null, value))
