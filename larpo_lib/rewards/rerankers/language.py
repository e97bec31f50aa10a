"""The language of a response as a reward."""

from collections.abc import Mapping
from functools import cache
from typing import Any, ClassVar, Literal

from pydantic import Field

from larpo_lib.errors import ColumnError, ConfigError
from larpo_lib.rewards.answers import Scorable
from larpo_lib.rewards.rerankers import Reranker
from larpo_lib.rewards.rerankers._rules import FixedOrColumnConfig, RuleReranker, Verdict, of_row

_UNKNOWN = "language_unknown"


class LanguageConfig(FixedOrColumnConfig):
    """1 if a response is in a language, else 0, as py3langid tells languages.

    Where its probability is below `least_probability`, as of a few letters, the language is unknown: the score is 0,
    and the response is counted.
    """

    does: ClassVar[str] = "the language"
    when: ClassVar[str] = "responses must be in the language that was asked for"
    packages: ClassVar[tuple[str, ...]] = ("py3langid",)
    fixed_or_column: ClassVar[tuple[str, str]] = ("language", "language_column")

    type: Literal["language"] = "language"
    language: str | None = None
    """The language, by its ISO 639 code, such as `de`."""
    language_column: str | None = None
    """Column with the code of the prompt's language, instead of `language`."""
    least_probability: float = Field(0.5, ge=0.0, lt=1.0)
    """Probability that a language must have to be told, among all that py3langid knows."""

    def check(self) -> None:
        """That the language is known."""
        if self.language is not None and self.language not in _identifier().labels:
            raise ConfigError(f"language: {_unknown(self.language)}", remedy=_remedy())

    def check_columns(self, columns: Mapping[str, Any]) -> None:
        """That the prompt's language is known."""
        self.wanted(columns)

    def wanted(self, columns: Mapping[str, Any]) -> str:
        """The code of a prompt's language.

        Raises:
            ColumnError: there is no such language.
        """
        if self.language_column is None:
            assert self.language is not None
            return self.language
        code: str = of_row(columns, self.language_column)
        if code not in _identifier().labels:
            raise ColumnError(_unknown(code), field=self.language_column, remedy=_remedy())
        return code

    def make(self) -> Reranker:
        """Load py3langid's model."""
        self.check()
        return LanguageReranker(self)


class LanguageReranker(RuleReranker[LanguageConfig]):
    """Scores a response by its language."""

    counts: ClassVar[tuple[str, ...]] = (_UNKNOWN,)

    def verdict(self, item: Scorable) -> Verdict:
        """1 if it is in the language, else 0."""
        wanted = self._config.wanted(item.columns)
        identifier = _identifier()
        found, probability = identifier.classify(item.response)
        nothing = identifier.classify("")  # what it also says of signs alone
        if probability < self._config.least_probability or (found, probability) == nothing:
            return Verdict(0.0, _UNKNOWN)
        return Verdict(float(found == wanted))


def _unknown(code: Any) -> str:
    return f"{code!r} is no language that py3langid knows"


def _remedy() -> str:
    return f"Use one of {', '.join(sorted(_identifier().labels))}"


@cache
def _identifier() -> Any:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
