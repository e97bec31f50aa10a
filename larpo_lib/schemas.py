"""Columns of the tables that pass between steps. All are Parquet; `larpo_lib.tables` reads and writes them.

Words: a prompt is the query, a response the document, a list the slate; a candidate is a response and its origin.
"""

import hashlib
import json
from collections.abc import Sequence
from types import UnionType
from typing import Any, TypedDict, get_args, get_type_hints

import pyarrow as pa

SCHEMA_VERSION = 2

Messages = list[dict[str, str]]

_MESSAGES = pa.list_(
    pa.struct([pa.field("role", pa.string(), nullable=False), pa.field("content", pa.string(), nullable=False)])
)
_PLAIN = {str: pa.string(), int: pa.int32(), float: pa.float64(), bool: pa.bool_()}


class PromptRow(TypedDict):
    """A row of `prompts`."""

    prompt_id: str
    messages: Messages
    reference: str | None
    source: str


class AskedRow(PromptRow, total=False):
    """A prompt with what `metadata` holds of it."""

    columns: dict[str, Any]


class MetadataRow(TypedDict):
    """A row of `metadata`, but for a struct of the kept columns, `columns`: typed, or as `larpo_lib.metadata` says."""

    prompt_id: str


class DemonstrationRow(TypedDict):
    """A row of `demonstrations`."""

    prompt_id: str
    messages: Messages
    response: str
    finish_reason: str | None
    source: str


class CandidateRow(TypedDict):
    """A row of `candidates`."""

    prompt_id: str
    candidate_id: str
    iteration: int
    sample_index: int
    temperature: float | None
    response: str
    token_ids: list[int] | None
    num_tokens: int | None
    finish_reason: str
    policy: str


class RankedRow(CandidateRow):
    """A row of `ranked`; `list_relative`: the reward holds only beside those it was ranked with."""

    reranker: str
    list_relative: bool
    reward: float
    rank: int


class ListRow(TypedDict):
    """A row of `lists`; every list but `messages` has one entry a response, best first."""

    prompt_id: str
    messages: Messages
    candidate_ids: list[str]
    responses: list[str]
    token_ids: list[list[int] | None]
    rewards: list[float]
    finish_reasons: list[str]
    negative_kinds: list[str]


class EvaluatedRow(RankedRow):
    """A row of `evaluated`."""

    correct: bool | None


class WatchedRow(TypedDict):
    """A row of `watched`: a further reward of a response in `evaluated`, by the name of its `watch`."""

    watch: str
    prompt_id: str
    sample_index: int
    temperature: float | None
    reranker: str
    reward: float


class ScoreRow(TypedDict):
    """A row of `scores`."""

    metric: str
    item_id: str
    value: float


class LogpRow(TypedDict):
    """A row of `logps`."""

    prompt_id: str
    candidate_id: str
    sample_index: int
    logp: float
    num_tokens: int


def _arrow(kind: Any) -> pa.DataType:
    if kind == Messages:
        return _MESSAGES
    if kind in _PLAIN:
        return _PLAIN[kind]
    inner = _arrow(get_args(kind)[0])  # of `inner | None` or of `list[inner]`
    return inner if isinstance(kind, UnionType) else pa.list_(inner)


def _schema(row: type) -> pa.Schema:
    """The columns of a row; those that may be None may be null."""
    kinds = get_type_hints(row)
    return pa.schema(
        [pa.field(name, _arrow(kind), nullable=isinstance(kind, UnionType)) for name, kind in kinds.items()]
    )


_ROWS: dict[str, type] = {
    "prompts": PromptRow,
    "metadata": MetadataRow,
    "demonstrations": DemonstrationRow,
    "candidates": CandidateRow,
    "ranked": RankedRow,
    "lists": ListRow,
    "evaluated": EvaluatedRow,
    "watched": WatchedRow,
    "scores": ScoreRow,
    "logps": LogpRow,
}
SCHEMAS = {name: _schema(row) for name, row in _ROWS.items()}
"""The columns of each table."""

STOP, LENGTH, UNKNOWN = "stop", "length", "unknown"
"""finish_reason: the end-of-turn token was generated; the response was cut at its longest; nothing was said of it, as
in most files of responses, where `unknown_end` of the training decides. In demonstrations null is unknown, too."""


def prompt_id(messages: Sequence[dict[str, str]]) -> str:
    """The identity of a prompt: a hash of its messages."""
    canonical = json.dumps([[m["role"], m["content"]] for m in messages], ensure_ascii=False)
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def candidate_id(prompt: str, response: str) -> str:
    """The identity of a candidate: a hash of its prompt's identity and its text. Equal texts are one candidate."""
    return hashlib.sha256(f"{prompt}\0{response}".encode()).hexdigest()[:16]
