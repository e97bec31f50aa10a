"""A policy's answers to the questions of a benchmark, made by any sampler and kept while a step is at work."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from larpo_lib.artifacts import Work, digest
from larpo_lib.config import AnswersConfig
from larpo_lib.samplers.candidates import Origin
from larpo_lib.schemas import PromptRow
from larpo_lib.shards import in_parts
from larpo_lib.steps.sample import drawing
from larpo_lib.tables import Counts, Row, read_table, write_table


def answer(
    label: str, config: AnswersConfig, policy: Path, prompts: Sequence[PromptRow], work: Work
) -> tuple[dict[str, Row], Counts]:
    """One response to each prompt; a step that starts again goes on from those it has.

    Args:
        label: for the progress, such as "alpaca_eval".
        config: how answers are made.
        policy: directory of the policy.
        prompts: questions; equal ones have one `prompt_id` and get one answer.
        work: of the step; answers are kept in its scratch folder.

    Returns:
        `candidates` rows by prompt_id (those of prompts that are too long are missing), and the counts
        `prompts` (answered) and `prompts_too_long_dropped`.
    """
    distinct = {row["prompt_id"]: row for row in prompts}
    asked, scratch, output = (work.scratch / name for name in ("prompts.parquet", "answers", "candidates.parquet"))
    scratch.mkdir(exist_ok=True)
    write_table(asked, "prompts", [distinct[prompt_id] for prompt_id in sorted(distinct)])
    origin = Origin(digest(policy)[:16], 0, config.seed)
    counts = in_parts(
        f"{label}, answering",
        sorted(distinct),
        config.part_prompts,
        partial(drawing, config, policy, asked, origin, [(config.temperature, 0)]),
        schema="candidates",
        scratch=scratch,
        output=output,
        processes=config.processes,
    )
    return {row["prompt_id"]: row for row in read_table(output, "candidates")}, counts
