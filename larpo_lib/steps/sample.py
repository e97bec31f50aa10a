"""The behaviour policy retrieves candidates for each prompt."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import cast

from larpo_lib.artifacts import Metrics, Work, digest, produce
from larpo_lib.config import SampleConfig
from larpo_lib.errors import LarpoError
from larpo_lib.metrics import distinct_share
from larpo_lib.samplers import make_sampler
from larpo_lib.samplers.candidates import (
    Origin,
    draw_candidates,
    fitting_prompts,
    prompts_of_iteration,
    sampling_limits,
    training_draws,
)
from larpo_lib.schemas import LENGTH, PromptRow
from larpo_lib.shards import in_shards
from larpo_lib.tables import Row, read_table


def run(config: SampleConfig, *, policy: Path, prompts: Path, candidates: Path, iteration: int = 1) -> Metrics:
    """Sample candidates and publish them as `candidates`.

    Args:
        config: how many, how hot, how long.
        policy: directory of the behaviour policy.
        prompts: artifact with `prompts.parquet`.
        candidates: artifact to publish, with `candidates.parquet`.
        iteration: 1 for the first; decides prompts, temperature and seeds.
    """

    def make(work: Work) -> Metrics:
        return _sample(config, policy, prompts, iteration, work)

    inputs = {"policy": policy, "prompts": prompts}
    return produce("sample", config, inputs, candidates, make, arguments={"iteration": iteration})


def _sample(config: SampleConfig, policy: Path, prompts: Path, iteration: int, work: Work) -> Metrics:
    rows = cast(list[PromptRow], read_table(prompts, "prompts"))
    chosen = prompts_of_iteration(rows, config, iteration)
    sampler = make_sampler(config.sampler, policy, sampling_limits(config))
    fitting = fitting_prompts(chosen, sampler, config.max_prompt_tokens)
    if not fitting:
        raise LarpoError(
            f"{prompts}: none of the {len(chosen)} prompts fits into max_prompt_tokens = {config.max_prompt_tokens}",
            remedy="Raise sample.max_prompt_tokens",
        )
    origin = Origin(digest(policy)[:16], iteration, config.seed)
    draws = training_draws(config, iteration)

    def make_shard(shard: Sequence[PromptRow]) -> list[Row]:
        drawn = draw_candidates(sampler, shard, draws, origin)
        return [dict(row) for row in drawn if row["response"].strip()]

    output = work.data / "candidates.parquet"
    in_shards(
        "sample",
        fitting,
        config.shard_prompts,
        make_shard,
        schema="candidates",
        scratch=work.scratch,
        output=output,
    )
    drawn = read_table(output, "candidates", ["candidate_id", "num_tokens", "finish_reason"])
    if not drawn:
        raise LarpoError(f"{policy}: every response is empty", remedy="Check the policy's chat template")
    return {
        "prompts": len(fitting),
        "prompts_too_long_dropped": len(chosen) - len(fitting),
        "candidates": len(drawn),
        "empty_responses_dropped": len(fitting) * len(draws) - len(drawn),
        **response_statistics(drawn),
    }


def response_statistics(rows: Sequence[Row]) -> Metrics:
    """Shares of distinct and of truncated responses, and their mean length where the sampler tells it."""
    lengths = [row["num_tokens"] for row in rows if row["num_tokens"] is not None]
    return {
        "distinct_share": distinct_share([row["candidate_id"] for row in rows]),
        "truncated_share": sum(row["finish_reason"] == LENGTH for row in rows) / len(rows),
        "mean_tokens": sum(lengths) / len(lengths) if lengths else None,
    }
