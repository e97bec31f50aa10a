"""Whether the verifier can read the references it is to judge by; asked before anything expensive."""

from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from larpo_lib.config.kinds import JudgeConfig, Reading, RerankerConfig
from larpo_lib.errors import ColumnError, DataError
from larpo_lib.metadata import KeptColumns, kept_columns
from larpo_lib.rewards.answers import final_values
from larpo_lib.rewards.answers.expressions import Expressions
from larpo_lib.rewards.answers.mathematics import readable
from larpo_lib.tables import read_table

_TOLD = 20


def require_references(
    prompts: Path,
    *parts: RerankerConfig | JudgeConfig | None,
    among: Collection[str] | None = None,
) -> None:
    """Check that the verifier can read every reference it will judge by, and rules and functions their columns.

    Args:
        prompts: artifact with `prompts.parquet`.
        parts: what gives rewards, and what says right or wrong, if anything does.
        among: the prompts that matter; None: all.

    Raises:
        DataError: names each row whose reference cannot be read, a row whose columns cannot be used, or a column that
            is not kept.
    """
    asking = [part for part in parts if part is not None]
    require_columns(prompts, frozenset[str]().union(*(each.columns for each in asking)))
    _check_rows(prompts, [each for each in asking if each.columns], among)
    needed = frozenset[Reading]().union(*(each.references for each in asking))
    for reading in sorted(needed, reverse=True):  # numbers first
        _check(prompts, reading, among)


def require_columns(prompts: Path, needed: frozenset[str]) -> None:
    """Check that prompts keep the columns that rules and functions cannot do without.

    Raises:
        DataError: names the first that they do not.
    """
    if not needed:
        return
    kept = kept_columns(prompts)
    for name in sorted(needed - {*kept}):
        raise DataError(
            f"the reward needs it, but these prompts keep {'only ' + ', '.join(kept) if kept else 'no columns'}",
            path=prompts,
            field=name,
            remedy="Name the column in prepare.columns.keep, or give the function a default or a setting of this name",
        )


def _check_rows(prompts: Path, asking: Sequence[RerankerConfig | JudgeConfig], among: Collection[str] | None) -> None:
    if not asking:
        return
    rows = KeptColumns(prompts)
    for prompt_id in rows:
        if among is not None and prompt_id not in among:
            continue
        for each in asking:
            try:
                each.check_columns(rows[prompt_id])
            except ColumnError as error:
                problem, row = f"prompt {prompt_id} {error.problem}", rows.row_number(prompt_id)
                raise DataError(problem, path=prompts, row=row, field=error.field, remedy=error.remedy) from None


def _check(prompts: Path, reading: Reading, among: Collection[str] | None) -> None:
    can_read = _reader(reading)
    unread = [
        (number, row)
        for number, row in enumerate(read_table(prompts, "prompts", ["prompt_id", "reference"]))
        if (among is None or row["prompt_id"] in among) and (row["reference"] is None or not can_read(row["reference"]))
    ]
    if not unread:
        return
    (first, row), others = unread[0], unread[1:]
    needed = "an answer that it can read" if reading == "expressions" else "a number"
    problem = f"prompt {row['prompt_id']} has the reference {row['reference']!r}, but the verifier needs {needed}"
    if others:
        told = ", ".join(f"{number} ({other['reference']!r:.60})" for number, other in others[:_TOLD])
        more = f" and {len(others) - _TOLD} more" if len(others) > _TOLD else ""
        problem += f"; the same applies to {'rows' if len(others) > 1 else 'row'} {told}{more}"
    raise DataError(
        problem,
        path=prompts,
        row=first,
        field="reference",
        remedy="Set prepare.columns.reference to the column with the answers, "
        + ("" if reading == "expressions" else "set the verifier's mode to math if answers are expressions or words, ")
        + "or rerank with a reward model",
    )


def _reader(reading: Reading) -> Callable[[str], bool]:
    if reading == "numbers":
        return lambda reference: bool(final_values(reference))
    expressions = Expressions()
    return lambda reference: readable(reference, expressions)
