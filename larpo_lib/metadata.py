"""Further columns of the prompts' rows: kept beside the prompts, typed, in a table of their own."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from larpo_lib.errors import DataError
from larpo_lib.tables import PromptTable, Row, write_table

_FILE = "metadata.parquet"


def column_types(rows: Iterable[Row], source: str) -> pa.DataType | None:
    """The struct type of the rows' `columns`, found from all their values; None where no row has any.

    Args:
        rows: of prompts; those of one source have the same columns.
        source: where they come from, for messages.

    Raises:
        DataError: a column holds values that are not of one type.
    """
    first = next(iter(rows), {})
    if not first.get("columns"):
        return None
    found = [row["columns"] for row in rows]
    return pa.struct([pa.field(name, _type(name, found, source)) for name in found[0]])


def write_metadata(directory: Path, rows: Iterable[Row], columns: pa.DataType | None) -> None:
    """Write the `columns` of prompts beside them; nothing where they have none."""
    if columns is not None:
        write_table(directory / _FILE, "metadata", rows, columns=columns)


def kept_columns(prompts: Path) -> list[str]:
    """Names of the columns that an artifact of prompts holds beside them."""
    if not (prompts / _FILE).is_file():
        return []
    return [field.name for field in PromptTable(prompts, "metadata").column_type("columns")]


class Asked:
    """The prompts of an artifact, each with the further columns of its row.

    Args:
        prompts: artifact with `prompts.parquet`, and perhaps `metadata.parquet`.

    Raises:
        ArtifactError: as `PromptTable`.
    """

    def __init__(self, prompts: Path) -> None:
        self._prompts = PromptTable(prompts, "prompts")
        self._metadata = PromptTable(prompts, "metadata") if (prompts / _FILE).is_file() else None

    def of(self, prompt_ids: Sequence[str]) -> Any:
        """The `PromptRow` of each of these prompts, by its id."""
        if self._metadata is None:
            return {prompt_id: self._prompts[prompt_id][0] for prompt_id in prompt_ids}
        return {
            prompt_id: {**self._prompts[prompt_id][0], "columns": self._metadata[prompt_id][0]["columns"]}
            for prompt_id in prompt_ids
        }


def _type(name: str, columns: Sequence[Row], source: str) -> pa.DataType:
    try:
        return pa.array([values[name] for values in columns]).type
    except (pa.ArrowException, OverflowError, TypeError, ValueError) as error:
        raise DataError(
            f"its values cannot be kept, for they are not of one type: {error}",
            path=source,
            field=name,
            remedy="Fix them, or name the columns to keep in columns.keep",
        ) from None
