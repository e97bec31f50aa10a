"""A user's own function as a selection."""

from collections.abc import Callable, Sequence
from typing import ClassVar, Literal

from larpo_lib.config.kinds import SelectionConfig
from larpo_lib.errors import LarpoError
from larpo_lib.functions import CallError, FunctionTarget, Keywords, call
from larpo_lib.schemas import RankedRow
from larpo_lib.targets import Loaded


class FunctionSelectionConfig(FunctionTarget, SelectionConfig):
    """A Python function of your own.

    It is called with `candidates`, the distinct responses to a prompt as dictionaries, best first (`response`,
    `reward`, `temperature`, `num_tokens` and the other columns of ranked candidates), and with its settings. It gives a
    list of those that make up the prompt's list, in any order.
    """

    does: ClassVar[str] = "what a Python function of yours chooses"
    when: ClassVar[str] = "the others do not fit"

    first: ClassVar[tuple[str, ...]] = ("type",)

    type: Literal["function"] = "function"

    @property
    def in_words(self) -> str:
        """The function."""
        return str(self.identity()["target"])

    def select(self, ordered: Sequence[RankedRow]) -> list[RankedRow]:
        """What the function chooses; `make` loads it once for many prompts."""
        return self.make()(ordered)

    def make(self) -> Callable[[Sequence[RankedRow]], list[RankedRow]]:
        """The function with its settings. What it gives is checked.

        Raises:
            ConfigError: it cannot be loaded, or not be called with these settings.
        """
        loaded, keywords = self.called_with(("candidates",))
        return lambda ordered: _selected(loaded, keywords, ordered)

    def check(self) -> None:
        """That it can be loaded and called."""
        self.make()


def _selected(loaded: Loaded, keywords: Keywords, ordered: Sequence[RankedRow]) -> list[RankedRow]:
    try:
        given = call(loaded, keywords.of({"candidates": [dict(row) for row in ordered]}))
    except CallError as error:
        raise _wrong(loaded, str(error), ordered) from error.__cause__
    if not isinstance(given, list | tuple):
        raise _wrong(loaded, f"gave {type(given).__name__}, not a list of candidates", ordered)
    chosen = [row.get("candidate_id") if isinstance(row, dict) else None for row in given]
    if not {row["candidate_id"] for row in ordered}.issuperset(chosen):
        raise _wrong(loaded, "gave something else than the candidates it was given", ordered)
    if len(set(chosen)) < len(chosen):
        raise _wrong(loaded, "gave a candidate twice", ordered)
    if not chosen:
        raise _wrong(loaded, "gave no candidate", ordered)
    return [row for row in ordered if row["candidate_id"] in chosen]


def _wrong(loaded: Loaded, what: str, ordered: Sequence[RankedRow]) -> LarpoError:
    return LarpoError(f"{loaded.shown} {what}; prompt {ordered[0]['prompt_id']}", remedy="Fix the function")
