"""Rows of the tables between the steps, as tests write them by hand."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from larpo_lib.schemas import STOP, Messages, candidate_id, prompt_id
from larpo_lib.tables import Row, write_table


def candidate(prompt: str, response: str, index: int = 0, **other: Any) -> Row:
    """A row of `candidates`: text alone, sampled at temperature 1 in iteration 1, unless `other` says so."""
    return {
        "prompt_id": prompt, "candidate_id": candidate_id(prompt, response), "iteration": 1, "sample_index": index,
        "temperature": 1.0, "response": response, "token_ids": None, "num_tokens": None, "finish_reason": STOP,
        "policy": "policy", **other,
    }  # fmt: skip


def ranked(prompt: str, response: str, reward: float, index: int = 0, **other: Any) -> Row:
    """A row of `ranked`, of iteration 0 and of a rank that is not looked at."""
    scored = {"reranker": "verifier", "list_relative": False, "reward": reward, "rank": 1}
    return candidate(prompt, response, index, **{"iteration": 0, **scored, **other})


def preferences(messages: Messages, responses: Sequence[str], rewards: Sequence[float], **other: Any) -> Row:
    """A row of `lists`: texts, best first, each to its end."""
    key, size = prompt_id(messages), len(responses)
    return {
        "prompt_id": key, "messages": messages, "candidate_ids": [candidate_id(key, text) for text in responses],
        "responses": list(responses), "token_ids": [None] * size, "rewards": list(rewards),
        "finish_reasons": [STOP] * size, "negative_kinds": ["sampled"] * size, **other,
    }  # fmt: skip


def with_table(folder: Path, name: str, rows: Iterable[Row]) -> Path:
    """A folder with one table, as the steps read it."""
    folder.mkdir(parents=True, exist_ok=True)
    write_table(folder / f"{name}.parquet", name, rows)
    return folder
