"""Which temperature to sample at: responses at every temperature of a grid, scored together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from larpo_lib.artifacts import Metrics, Work, digest, produce, write_json
from larpo_lib.config import SearchTemperatureConfig
from larpo_lib.diversity import Diversity
from larpo_lib.errors import LarpoError
from larpo_lib.reporting import drawing, temperatures
from larpo_lib.rerankers import make_reranker, model_paths
from larpo_lib.samplers import make_sampler
from larpo_lib.samplers.candidates import Origin, draw_candidates, fitting_prompts, sampling_limits, search_draws
from larpo_lib.shards import Made, Make, in_parts
from larpo_lib.steps.rerank import ranked_rows, score_rows
from larpo_lib.tables import PromptTable, Row, read_table

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

    inputs = {"policy": policy, "prompts": prompts, **model_paths(config.reranker)}
    return produce("search_temperature", config, inputs, search, make)


def _search(config: SearchTemperatureConfig, policy: Path, prompts: Path, work: Work) -> Metrics:
    # In one order whatever the parts, on which the bootstrap would else depend.
    chosen = [*PromptTable(prompts, "prompts")][: config.limit]
    output = work.data / "ranked.parquet"
    counts = in_parts(
        "search temperature",
        chosen,
        config.part_prompts,
        partial(_searching, config, policy, prompts),
        schema="ranked",
        scratch=work.scratch,
        output=output,
        processes=config.processes,
    )
    if not counts.get("prompts"):
        raise LarpoError(
            f"{prompts}: no prompt is left to search on", remedy="Raise search_temperature.max_prompt_tokens"
        )
    scored = read_table(output, "ranked", _COUNTED)
    found = _publish(config, prompts, scored, work)
    return {
        **counts,
        "prompts_not_compared_dropped": counts["prompts"] - found.prompts,
        **found.metrics(),
        **Diversity(scored).metrics(),
    }


@contextmanager
def _searching(config: SearchTemperatureConfig, policy: Path, prompts: Path) -> Iterator[Make]:
    table = PromptTable(prompts, "prompts")
    origin = Origin(digest(policy)[:16], 0, config.seed)
    draws = search_draws(config)
    reranker = make_reranker(config.reranker)
    with closing(make_sampler(config.sampler, policy, sampling_limits(config))) as sampler:

        def make(prompt_ids: Sequence[str]) -> Made:
            rows: list[Any] = [row for prompt_id in prompt_ids for row in table[prompt_id]]
            fitting = fitting_prompts(rows, sampler, config.max_prompt_tokens)
            known = {row["prompt_id"]: row for row in fitting}
            drawn = list(draw_candidates(sampler, fitting, draws, origin))
            scored = score_rows(reranker, known, drawn)
            return ranked_rows(scored), {
                "prompts": len(fitting),
                "prompts_too_long_dropped": len(rows) - len(fitting),
                "responses": len(scored),
                "too_long_to_score_dropped": len(drawn) - len(scored),
                "empty_responses": sum(not row["response"].strip() for row in scored),
            }

        yield make


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
