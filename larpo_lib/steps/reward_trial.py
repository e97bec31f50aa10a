"""A reward function, or another reranker, on a handful of responses, before any run."""

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path

from larpo_lib.config import PrepareConfig, RerankerConfig
from larpo_lib.errors import ConfigError
from larpo_lib.metadata import Asked
from larpo_lib.rewards.answers import Scorable
from larpo_lib.rewards.references import require_columns
from larpo_lib.rewards.rerankers import foresee, make_reranker
from larpo_lib.sources import conversion, locating
from larpo_lib.steps.rerank import scorables
from larpo_lib.tables import PromptTable


def try_rewards(
    config: RerankerConfig, prompts: Path, responses: Path | None, limit: int, reading: PrepareConfig
) -> Iterator[tuple[Scorable, float | None]]:
    """Score the responses to a few prompts.

    Args:
        config: the function, or another reranker.
        prompts: artifact of prompts; without `responses` a file whose rows hold a prompt and a response.
        responses: artifact of candidates.
        limit: prompts whose responses are scored.
        reading: how a file is read, as its own source.

    Returns:
        Each response with its score; None: it cannot be scored.

    Raises:
        LarpoError: the function cannot be loaded, or raises, or gives what is no score; or there are no responses; or
            a judge would have to be asked more often than its settings allow.
    """
    reranker = make_reranker(config)
    if responses is not None:
        require_columns(prompts, config.columns)
        items = _of_artifacts(prompts, responses, limit)
    elif (prompts / "prompts.parquet").is_file():
        raise ConfigError(
            f"{prompts}: contains prompts without responses", remedy="Give an artifact of candidates with --responses"
        )
    else:
        items = _of_source(reading, limit)
    lists: dict[str, list[Scorable]] = {}
    for item in items:
        lists.setdefault(item.prompt_id, []).append(item)
    foresee(config, "rewards try", lists.values())
    return zip(items, reranker.score(items), strict=True)


def _of_artifacts(prompts: Path, responses: Path, limit: int) -> Sequence[Scorable]:
    schema = "ranked" if (responses / "ranked.parquet").is_file() else "candidates"
    candidates = PromptTable(responses, schema)
    chosen = list(itertools.islice(candidates, limit))
    rows = [row for prompt_id in chosen for row in candidates[prompt_id]]
    return scorables(Asked(prompts).of(chosen), rows)  # type: ignore[arg-type]  # rows of the schema


def _of_source(reading: PrepareConfig, limit: int) -> Sequence[Scorable]:
    located = locating.locate(reading.source, Path(reading.source), reading.split)
    items = conversion.answered(located.read(), reading)
    chosen = set(itertools.islice(dict.fromkeys(item.prompt_id for item in items), limit))
    return [item for item in items if item.prompt_id in chosen]
