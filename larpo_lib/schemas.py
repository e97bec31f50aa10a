"""Columns of the tables that pass between steps. All are Parquet; `larpo_lib.tables` reads and writes them.

Words: a prompt is the query, a response the document, a list the slate; a candidate is a response and its origin.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import TypedDict

import pyarrow as pa

SCHEMA_VERSION = 2

Messages = list[dict[str, str]]

MESSAGES = pa.list_(
    pa.struct([pa.field("role", pa.string(), nullable=False), pa.field("content", pa.string(), nullable=False)])
)
TOKEN_IDS = pa.list_(pa.int32())


def _required(name: str, kind: pa.DataType) -> pa.Field:
    return pa.field(name, kind, nullable=False)


PROMPTS = pa.schema(
    [
        _required("prompt_id", pa.string()),
        _required("messages", MESSAGES),
        pa.field("reference", pa.string()),
        _required("source", pa.string()),
    ]
)
DEMONSTRATIONS = pa.schema(
    [
        _required("prompt_id", pa.string()),
        _required("messages", MESSAGES),
        _required("response", pa.string()),
        pa.field("finish_reason", pa.string()),
        _required("source", pa.string()),
    ]
)
CANDIDATES = pa.schema(
    [
        _required("prompt_id", pa.string()),
        _required("candidate_id", pa.string()),
        _required("iteration", pa.int32()),
        _required("sample_index", pa.int32()),
        pa.field("temperature", pa.float64()),
        _required("response", pa.string()),
        pa.field("token_ids", TOKEN_IDS),
        pa.field("num_tokens", pa.int32()),
        _required("finish_reason", pa.string()),
        _required("policy", pa.string()),
    ]
)
RANKED = pa.schema(
    [
        *CANDIDATES,
        _required("reranker", pa.string()),
        _required("list_relative", pa.bool_()),
        _required("reward", pa.float64()),
        _required("rank", pa.int32()),
    ]
)
LISTS = pa.schema(
    [
        _required("prompt_id", pa.string()),
        _required("messages", MESSAGES),
        _required("candidate_ids", pa.list_(pa.string())),
        _required("responses", pa.list_(pa.string())),
        _required("token_ids", pa.list_(TOKEN_IDS)),
        _required("rewards", pa.list_(pa.float64())),
        _required("finish_reasons", pa.list_(pa.string())),
        _required("negative_kinds", pa.list_(pa.string())),
    ]
)
EVALUATED = pa.schema([*RANKED, pa.field("correct", pa.bool_())])
SCORES = pa.schema(
    [_required("metric", pa.string()), _required("item_id", pa.string()), _required("value", pa.float64())]
)
LOGPS = pa.schema(
    [
        _required("prompt_id", pa.string()),
        _required("candidate_id", pa.string()),
        _required("sample_index", pa.int32()),
        _required("logp", pa.float64()),
        _required("num_tokens", pa.int32()),
    ]
)

SCHEMAS: dict[str, pa.Schema] = {
    "prompts": PROMPTS,
    "demonstrations": DEMONSTRATIONS,
    "candidates": CANDIDATES,
    "ranked": RANKED,
    "lists": LISTS,
    "evaluated": EVALUATED,
    "scores": SCORES,
    "logps": LOGPS,
}


class PromptRow(TypedDict):
    """A row of PROMPTS."""

    prompt_id: str
    messages: Messages
    reference: str | None
    source: str


class CandidateRow(TypedDict):
    """A row of CANDIDATES."""

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
    """A row of RANKED; `list_relative`: the reward holds only beside those it was ranked with."""

    reranker: str
    list_relative: bool
    reward: float
    rank: int


class ListRow(TypedDict):
    """A row of LISTS; every list but `messages` has one entry a response, best first."""

    prompt_id: str
    messages: Messages
    candidate_ids: list[str]
    responses: list[str]
    token_ids: list[list[int] | None]
    rewards: list[float]
    finish_reasons: list[str]
    negative_kinds: list[str]


STOP, LENGTH, UNKNOWN = "stop", "length", "unknown"
"""finish_reason: the end-of-turn token was generated; the response was cut at its longest; nothing was said of it, as
in most files of responses, where `unknown_end` of the training decides. In DEMONSTRATIONS null is unknown, too."""


def prompt_id(messages: Sequence[dict[str, str]]) -> str:
    """The identity of a prompt: a hash of its messages."""
    canonical = json.dumps([[m["role"], m["content"]] for m in messages], ensure_ascii=False)
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def candidate_id(prompt: str, response: str) -> str:
    """The identity of a candidate: a hash of its prompt's identity and its text. Equal texts are one candidate."""
    return hashlib.sha256(f"{prompt}\0{response}".encode()).hexdigest()[:16]
