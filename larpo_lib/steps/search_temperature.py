"""Which temperature to sample at: responses at every temperature of a grid, scored together."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import cast

from larpo_lib.artifacts import Metrics, Work, digest, produce, write_json
from larpo_lib.candidates.ranking import by_prompt, ranks
from larpo_lib.config import ClassifierConfig, SearchTemperatureConfig
from larpo_lib.diversity import Diversity
from larpo_lib.errors import LarpoError
from larpo_lib.reporting import drawing, temperatures
from larpo_lib.rerankers import make_reranker
from larpo_lib.samplers import make_sampler
from larpo_lib.samplers.candidates import Origin, draw_candidates, fitting_prompts, sampling_limits, search_draws
from larpo_lib.schemas import PromptRow
from larpo_lib.shards import in_shards
from larpo_lib.steps.rerank import score_rows
from larpo_lib.tables import Row, read_table

_COUNTED = ("prompt_id", "temperature", "response", "num_tokens", "finish_reason", "reward")


def run(config: SearchTemperatureConfig, *, policy: Path, prompts: Path, search: Path) -> Metrics:
    """Try every temperature on `prompts` and publish the responses, what was found and the choice.

    Args:
        config: the temperatures, how many responses at each, what gives rewards, and what to choose by.
        policy: directory of the policy.
        prompts: artifact of prompts, best held-out ones.
        search: artifact to publish, with `ranked.parquet` (each prompt's responses of all temperatures ranked as one
            list), `search.json`, `temperature.png` and `temperature.svg`.

    Returns:
        Under `temperature` the choice; `within_noise` is 1 if the interval of its lead over another one includes 0.

    Raises:
        LarpoError: no prompt fits, or none has a scored response at every temperature.
    """

    def make(work: Work) -> Metrics:
        return _search(config, policy, prompts, work)

    inputs = {"policy": policy, "prompts": prompts}
    if isinstance(config.reranker, ClassifierConfig):
        inputs["reranker"] = Path(config.reranker.path)
    return produce("search_temperature", config, inputs, search, make)


def _search(config: SearchTemperatureConfig, policy: Path, prompts: Path, work: Work) -> Metrics:
    rows = cast(list[PromptRow], read_table(prompts, "prompts"))[: config.limit]
    sampler = make_sampler(config.sampler, policy, sampling_limits(config))
    # In one order whatever the shards, on which the bootstrap would else depend.
    fitting = sorted(fitting_prompts(rows, sampler, config.max_prompt_tokens), key=lambda row: row["prompt_id"])
    if not fitting:
        raise LarpoError(
            f"{prompts}: no prompt is left to search on", remedy="Raise search_temperature.max_prompt_tokens"
        )
    reranker = make_reranker(config.reranker)
    known = {row["prompt_id"]: row for row in fitting}
    origin = Origin(digest(policy)[:16], 0, config.seed)
    draws = search_draws(config)

    def make_shard(shard: Sequence[PromptRow]) -> list[Row]:
        scored = score_rows(reranker, known, list(draw_candidates(sampler, shard, draws, origin)))
        return [
            {**row, "rank": rank}
            for group in by_prompt(scored).values()
            for row, rank in zip(group, ranks([row["reward"] for row in group]), strict=True)
        ]

    output = work.data / "ranked.parquet"
    in_shards(
        "search temperature",
        fitting,
        config.shard_prompts,
        make_shard,
        schema="ranked",
        scratch=work.scratch,
        output=output,
    )
    scored = read_table(output, "ranked", _COUNTED)
    found = _publish(config, prompts, scored, work)
    return {
        "prompts": len(fitting),
        "prompts_too_long_dropped": len(rows) - len(fitting),
        "prompts_not_compared_dropped": len(fitting) - found.prompts,
        "responses": len(scored),
        "too_long_to_score_dropped": len(fitting) * len(draws) - len(scored),
        "empty_responses": sum(not row["response"].strip() for row in scored),
        **found.metrics(),
        **Diversity(scored).metrics(),
    }


def _publish(config: SearchTemperatureConfig, prompts: Path, scored: Sequence[Row], work: Work) -> temperatures.Search:
    if not any(temperatures.compared_rewards(scored, config).values()):
        raise LarpoError(
            f"{prompts}: no prompt has a scored response at every temperature",
            remedy="Raise the reranker's max_tokens, or lower search_temperature.max_new_tokens",
        )
    found = temperatures.summarize(scored, config)
    write_json(work.data / "search.json", found.to_json())
    for suffix, content in drawing.sheet(list(temperatures.panels(found))).items():
        (work.data / f"temperature.{suffix}").write_bytes(content)
    return found
