"""Which temperature to sample at: responses at every temperature of a grid, scored together."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from larpo_lib.artifacts import Metrics, WorkDir, produce
from larpo_lib.config import SearchTemperatureConfig
from larpo_lib.diversity import Diversity
from larpo_lib.errors import LarpoError
from larpo_lib.files import write_json
from larpo_lib.metadata import Asked
from larpo_lib.reporting import drawing, temperatures
from larpo_lib.rewards.references import require_references
from larpo_lib.rewards.rerankers import foresee, make_reranker
from larpo_lib.samplers.candidates import search_draws
from larpo_lib.shards import PartFn, PartResult, map_in_parts
from larpo_lib.steps.rerank import ToScore, ranked_rows, scorables, score_rows
from larpo_lib.steps.sample import chosen_prompts, draw_heldout
from larpo_lib.tables import PromptTable, Row, TableRows

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
        Under `temperature` the choice; `within_noise` is 1 if the interval of its lead over another one includes 0,
        or if there is none.

    Raises:
        LarpoError: no prompt fits, or none has a scored response at every temperature.
    """
    inputs = {"policy": policy, "prompts": prompts, **config.reranker.models()}
    return produce("search_temperature", config, inputs, search, partial(_search, config, policy, prompts))


def _search(config: SearchTemperatureConfig, policy: Path, prompts: Path, work: WorkDir) -> Metrics:
    require_references(prompts, config.reranker, among=set(chosen_prompts(prompts, config.limit)))
    candidates, drawn = draw_heldout("search temperature", config, policy, prompts, search_draws(config), work)
    if not drawn.get("prompts"):
        raise LarpoError(
            f"{prompts}: no prompt is left for the search", remedy="Increase search_temperature.max_prompt_tokens"
        )
    output, answers = work.data / "ranked.parquet", PromptTable(candidates, "candidates")
    foresee(config.reranker, "search temperature", ToScore(prompts, [answers]))
    counts = map_in_parts(
        "search temperature, scoring",
        [*answers],
        config,
        partial(_scoring, config, prompts, candidates),
        schema="ranked",
        scratch=work.scratch,
        output=output,
    )
    scored = TableRows(output, "ranked", _COUNTED)
    found = _publish(config, prompts, scored, work)
    return {
        **drawn,
        **counts,
        "prompts_not_compared_dropped": drawn["prompts"] - found.prompts,
        **found.metrics(),
        **Diversity(scored).metrics(),
    }


@contextmanager
def _scoring(config: SearchTemperatureConfig, prompts: Path, candidates: Path) -> Iterator[PartFn]:
    asked, answers = Asked(prompts), PromptTable(candidates, "candidates")
    reranker = make_reranker(config.reranker)

    def make(prompt_ids: Sequence[str]) -> PartResult:
        known = asked.of(prompt_ids)
        rows: Any = [row for prompt_id in prompt_ids for row in answers[prompt_id]]
        scored = score_rows(reranker, known, rows)
        return ranked_rows(scored), {
            "responses": len(scored),
            "too_long_to_score_dropped": len(rows) - len(scored),
            "empty_responses": sum(not row["response"].strip() for row in scored),
            **reranker.cut(scorables(known, rows)),
        }

    yield make


def _publish(
    config: SearchTemperatureConfig, prompts: Path, scored: Iterable[Row], work: WorkDir
) -> temperatures.Search:
    if not any(temperatures.compared_rewards(scored, config).values()):
        raise LarpoError(
            f"{prompts}: no prompt has a scored response at every temperature",
            remedy="Increase the reranker's max_tokens, or reduce search_temperature.max_new_tokens",
        )
    found = temperatures.summarize(scored, config)
    write_json(work.data / "search.json", found.to_json())
    for suffix, content in drawing.sheet(list(temperatures.panels(found))).items():
        (work.data / f"temperature.{suffix}").write_bytes(content)
    return found
