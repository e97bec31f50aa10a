"""The behaviour policy retrieves candidates for each prompt."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from larpo_lib.artifacts import Metrics, WorkDir, digest, produce
from larpo_lib.config import EvaluateConfig, SampleConfig, SearchTemperatureConfig
from larpo_lib.config.mixins import Sampling
from larpo_lib.diversity import DIVERSITY_COLUMNS, Diversity, duplicates_above
from larpo_lib.errors import ConfigError, LarpoError
from larpo_lib.samplers import make_sampler
from larpo_lib.samplers.candidates import (
    Draws,
    Origin,
    draw_candidates,
    prompts_of_iteration,
    prompts_within,
    sampling_limits,
    training_draws,
)
from larpo_lib.schemas import LENGTH
from larpo_lib.shards import UNSHARDED, PartFn, PartResult, Shard, map_in_parts
from larpo_lib.tables import Counts, PromptTable

_LOG = logging.getLogger(__name__)


def run(
    config: SampleConfig,
    *,
    policy: Path,
    prompts: Path,
    candidates: Path,
    iteration: int = 1,
    shard: Shard = UNSHARDED,
) -> Metrics:
    """Sample candidates and publish them as `candidates`, prompts by rising prompt_id.

    Args:
        config: how many, how hot, how long.
        policy: directory of the behaviour policy.
        prompts: artifact with `prompts.parquet`.
        candidates: artifact to publish, with `candidates.parquet`.
        iteration: 1 for the first; decides prompts, temperature and seeds.
        shard: this machine's part of the iteration's prompts; `merge_shards` puts the shards together.

    Raises:
        ConfigError: there is no such iteration.
    """
    if iteration < 1:
        raise ConfigError(f"iteration is {iteration}, but the first one is 1", remedy="Pass 1 or more")
    inputs = {"policy": policy, "prompts": prompts}
    arguments = {"iteration": iteration, **shard.argument()}
    make = partial(_sample, config, policy, prompts, iteration, shard)
    return produce("sample", config, inputs, candidates, make, arguments=arguments)


def _sample(config: SampleConfig, policy: Path, prompts: Path, iteration: int, shard: Shard, work: WorkDir) -> Metrics:
    chosen = shard.of(sorted(prompts_of_iteration([*PromptTable(prompts, "prompts")], config, iteration)))
    output = work.data / "candidates.parquet"
    origin = Origin(digest(policy)[:16], iteration, config.seed)
    counts = map_in_parts(
        "sample",
        chosen,
        config,
        partial(_sampling, config, policy, prompts, origin, training_draws(config, iteration)),
        schema="candidates",
        scratch=work.scratch,
        output=output,
    )
    metrics = summarize(output, counts, config.max_prompt_tokens, shard, prompts)
    _warn_of_duplicates(metrics, config.max_duplicate_share)
    return metrics


@contextmanager
def _sampling(config: SampleConfig, policy: Path, prompts: Path, origin: Origin, draws: Draws) -> Iterator[PartFn]:
    with drawing(config, policy, prompts, origin, draws) as draw:

        def make(prompt_ids: Sequence[str]) -> PartResult:
            rows, counts = draw(prompt_ids)
            said = [row for row in rows if row["response"].strip()]
            return said, {**counts, "candidates": len(said), "empty_responses_dropped": len(rows) - len(said)}

        yield make


@contextmanager
def drawing(config: Sampling, policy: Path, prompts: Path, origin: Origin, draws: Draws) -> Iterator[PartFn]:
    """Work for `map_in_parts`: prompts to candidates, empty ones too. Its counts are of prompts."""
    table = PromptTable(prompts, "prompts")
    with closing(make_sampler(config.sampler, policy, sampling_limits(config))) as sampler:

        def make(prompt_ids: Sequence[str]) -> PartResult:
            rows: list[Any] = [row for prompt_id in prompt_ids for row in table[prompt_id]]
            fitting = prompts_within(rows, sampler, config.max_prompt_tokens)
            drawn = [dict(row) for row in draw_candidates(sampler, fitting, draws, origin)]
            return drawn, {
                "prompts": len(fitting),
                "prompts_too_long_dropped": len(rows) - len(fitting),
                "prompts_with_special_text": sum(sampler.has_special_text(row["messages"]) for row in fitting),
            }

        yield make


def chosen_prompts(prompts: Path, limit: int | None) -> list[str]:
    """The held-out prompts that a step samples for: all, or the first `limit`."""
    return [*PromptTable(prompts, "prompts")][:limit]


def draw_heldout(
    label: str,
    config: EvaluateConfig | SearchTemperatureConfig,
    policy: Path,
    prompts: Path,
    draws: Draws,
    work: WorkDir,
) -> tuple[Path, Counts]:
    """Candidates of held-out prompts in the step's scratch folder, and the counts of `drawing`.

    All are drawn before any is scored: the sampler has given back its GPUs when the reranker takes them.
    """
    chosen = chosen_prompts(prompts, config.limit)
    output = work.scratch / "candidates.parquet"
    origin = Origin(digest(policy)[:16], 0, config.seed)
    counts = map_in_parts(
        f"{label}, sampling",
        chosen,
        config,
        partial(drawing, config, policy, prompts, origin, draws),
        schema="candidates",
        scratch=work.scratch / "drawn",
        output=output,
    )
    return output, counts


def summarize(candidates: Path, counts: Counts, max_prompt_tokens: int, shard: Shard, source: Path) -> Metrics:
    """The metrics of `candidates`, which do not tell in how many shards it was made.

    Args:
        candidates: the table.
        counts: of what became of prompts and responses.
        max_prompt_tokens: that prompts were dropped by, for messages.
        shard: whose candidates they are. Only one of several may have none.
        source: what was sampled for, for messages.

    Raises:
        LarpoError: nothing was sampled.
    """
    if shard == UNSHARDED and not counts["prompts"]:
        raise LarpoError(
            f"{source}: none of the {counts['prompts_too_long_dropped']} prompts fits in max_prompt_tokens ="
            f" {max_prompt_tokens}",
            remedy="Increase sample.max_prompt_tokens",
        )
    if shard == UNSHARDED and not counts["candidates"]:
        raise LarpoError(f"{source}: every response is empty", remedy="Check the policy's chat template")
    return {**counts, **response_statistics(candidates, "candidates")}


def _warn_of_duplicates(metrics: Metrics, most: float) -> None:
    for temperature, share in duplicates_above(metrics, most):
        _LOG.warning(
            "At temperature %s, %.0f %% of the responses repeat another response to the same prompt "
            "(sample.max_duplicate_share = %s): lists will be short or dropped. Increase sample.temperature "
            "(larpo search-temperature compares several), or reduce sample.k.",
            temperature,
            100 * share,
            most,
        )


def response_statistics(path: Path, schema: str) -> Metrics:
    """Shares of distinct and of truncated responses, their mean length where the sampler tells it, their diversity."""
    table = PromptTable(path, schema, ["candidate_id", "num_tokens", "finish_reason", *DIVERSITY_COLUMNS])
    diversity, lengths, truncated, distinct = Diversity(), [0, 0], 0, 0
    for rows in table.values():
        distinct += len({row["candidate_id"] for row in rows})  # it tells the prompt, too
        for row in rows:
            diversity.add(row)
            truncated += row["finish_reason"] == LENGTH
            if row["num_tokens"] is not None:
                lengths = [lengths[0] + row["num_tokens"], lengths[1] + 1]
    return {
        "distinct_share": distinct / table.num_rows if table.num_rows else None,
        "truncated_share": truncated / table.num_rows if table.num_rows else None,
        "mean_tokens": lengths[0] / lengths[1] if lengths[1] else None,
        **diversity.metrics(),
    }
