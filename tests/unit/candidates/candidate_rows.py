"""Ranked candidates for the tests of larpo_lib.candidates: by hand, drawn by hypothesis, and published ones."""

import json
import lzma
import math
import os
from collections import Counter
from pathlib import Path
from typing import cast

import pytest
from hypothesis import strategies as st
from table_rows import ranked as row_of

from larpo_lib.candidates.lists import Counts, Lists
from larpo_lib.candidates.memory import Memory, Merged, remembered
from larpo_lib.candidates.ranking import by_prompt
from larpo_lib.candidates.related import Relate, by_shared_words
from larpo_lib.candidates.selections.by_rank import BestWorstConfig, OneVsRestConfig, TopBottomConfig, WholeListConfig
from larpo_lib.config import ListsConfig, NegativesConfig
from larpo_lib.schemas import ListRow, PromptRow, RankedRow

PROMPT_IDS = ["p0", "p1", "p2", "p3"]
TEXTS = {"p0": "add two apples", "p1": "two pears", "p2": "sort a list", "p3": "???"}


def prompt(prompt_id: str, text: str | None = None) -> PromptRow:
    content = TEXTS[prompt_id] if text is None else text
    return {
        "prompt_id": prompt_id,
        "messages": [{"role": "user", "content": content}],
        "reference": None,
        "source": "test",
    }


PROMPTS = [prompt(prompt_id) for prompt_id in PROMPT_IDS]


def ranked(
    prompt_id: str,
    response: str,
    reward: float,
    *,
    iteration: int = 0,
    sample_index: int = 0,
    temperature: float | None = 1.0,
) -> RankedRow:
    """One row; its rank is wrong on purpose, because merging must recompute it."""
    return cast(
        RankedRow,
        row_of(
            prompt_id, response, reward, sample_index, iteration=iteration, temperature=temperature, rank=99,
            token_ids=[len(response), sample_index], num_tokens=2,
            finish_reason="length" if response == "c" else "stop", reranker="test",
        ),
    )  # fmt: skip


def build(
    prompts: list[PromptRow], history: list[list[RankedRow]], config: ListsConfig, relate: Relate = by_shared_words
) -> tuple[list[ListRow], Counts]:
    """All lists, and what became of everything."""
    lists = Lists({row["prompt_id"]: [row] for row in prompts}, [by_prompt(rows) for rows in history], config, relate)
    return list(lists), lists.counts()


def merge(history: list[list[RankedRow]], memory: Memory) -> Merged:
    return Merged(remembered([by_prompt(rows) for rows in history], memory))


def candidates(prompt_id: str, rewards: dict[str, float]) -> list[RankedRow]:
    return [
        ranked(prompt_id, response, reward, sample_index=index)
        for index, (response, reward) in enumerate(rewards.items())
    ]


@st.composite
def iterations(draw: st.DrawFn, iteration: int = 0) -> list[RankedRow]:
    """One iteration's rows: few texts and few rewards, so that duplicates and ties are common."""
    rows = []
    for prompt_id in PROMPT_IDS:
        samples = st.tuples(st.sampled_from("abcdef"), st.integers(-2, 2), st.sampled_from([0.7, 1.0]))
        rows += [
            ranked(prompt_id, text, float(reward), iteration=iteration, sample_index=index, temperature=temperature)
            for index, (text, reward, temperature) in enumerate(draw(st.lists(samples, max_size=6)))
        ]
    return rows


@st.composite
def histories(draw: st.DrawFn) -> list[list[RankedRow]]:
    return [draw(iterations(iteration)) for iteration in range(draw(st.integers(1, 3)))]


selections = st.one_of(
    st.just(BestWorstConfig()),
    st.builds(TopBottomConfig, top=st.integers(1, 4), bottom=st.integers(1, 4)),
    st.just(OneVsRestConfig()),
    st.just(WholeListConfig()),
)
negatives = st.builds(
    NegativesConfig, kind=st.sampled_from(["random", "related", "hot", "cold"]), count=st.integers(1, 3)
)
configs = st.builds(
    ListsConfig,
    selection=selections,
    memory=st.sampled_from(["current", "previous", "all"]),
    negatives=st.none() | negatives,
    seed=st.integers(0, 5),
)


def shared_data(name: str) -> Path:
    """A published file; skips the test where it is absent."""
    default = Path(__file__).parents[4] / "shared" / "data"
    path = Path(os.environ.get("LARPO_SHARED_DATA", default)) / name
    if not path.exists():
        pytest.skip(f"published test data {name} are absent; set LARPO_SHARED_DATA to their folder")
    return path


def alpaca_lists() -> list[dict]:
    """805 published lists: index, instruction, candidates (generator, response, score)."""
    with lzma.open(shared_data("alpaca_eval/candidate_lists.jsonl.xz"), "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def bm25(query: Counter[str], documents: list[Counter[str]], k1: float = 1.5, b: float = 0.75) -> list[float]:
    """Lucene's BM25 of each document (Kamphuis et al. 2020), word by word; texts are bags of words."""
    mean_length = sum(document.total() for document in documents) / len(documents)
    scores = [0.0] * len(documents)
    for word, asked in query.items():
        holding = sum(word in document for document in documents)
        idf = math.log(1 + (len(documents) - holding + 0.5) / (holding + 0.5))
        for place, document in enumerate(documents):
            times = document[word]
            scores[place] += asked * idf * times / (times + k1 * (1 - b + b * document.total() / mean_length))
    return scores
