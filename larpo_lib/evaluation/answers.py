"""A policy's answers to the questions of a benchmark, made by any sampler and kept while a step is at work."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from larpo_lib.artifacts import WorkDir, digest
from larpo_lib.config import AnswersConfig
from larpo_lib.reporting.evaluation import EvaluationReport
from larpo_lib.samplers.candidates import Draws, Origin
from larpo_lib.schemas import LENGTH, Messages, PromptRow, prompt_id
from larpo_lib.shards import map_in_parts
from larpo_lib.steps.sample import drawing
from larpo_lib.tables import Counts, Row, read_table, write_table
from larpo_lib.thinking import thought_counts, without_thoughts

_TRUNCATED = "truncated_responses"


def answer(
    label: str,
    config: AnswersConfig,
    policy: Path,
    prompts: Sequence[PromptRow],
    work: WorkDir,
    name: str = "answers",
) -> tuple[dict[str, Row], Counts]:
    """One response to each prompt, at the settings' temperature; see `answers`.

    Returns:
        `candidates` rows by prompt_id (those of prompts that are too long are missing), and the counts
        `prompts` (answered) and `prompts_too_long_dropped`.
    """
    found, counts = answers(label, config, policy, prompts, [(config.temperature, 0)], work, name)
    return {prompt_id: rows[0] for prompt_id, rows in found.items()}, counts


def replies(
    label: str, config: AnswersConfig, policy: Path, prompts: Mapping[str, PromptRow], work: WorkDir
) -> tuple[dict[str, str], Counts]:
    """What a policy says to each question, by the question's key, without its thoughts; see `answer`.

    Returns:
        The texts, those to prompts that are too long missing; and the counts `prompts` (answered, equal ones once),
        `prompts_too_long_dropped`, `truncated_responses`, and of thoughts.
    """
    rows, counts = answer(label, config, policy, [*prompts.values()], work)
    said = {
        key: without_thoughts(rows[prompt["prompt_id"]]["response"])
        for key, prompt in prompts.items()
        if prompt["prompt_id"] in rows
    }
    told = {name: counts[name] for name in ("prompts", "prompts_too_long_dropped")}
    told[_TRUNCATED] = sum(row["finish_reason"] == LENGTH for row in rows.values())
    return said, {**told, **thought_counts(row["response"] for row in rows.values())}


def with_cut_told(report: EvaluationReport, config: AnswersConfig) -> EvaluationReport:
    """A report on `replies` with a caveat where some of them were cut."""
    cut = report.counts.get(_TRUNCATED, 0)
    if not cut:
        return report
    said = f"{cut} responses were cut at max_new_tokens = {config.max_new_tokens}, and are judged as far as they go."
    return replace(report, caveats=[*report.caveats, said])


def asking(text: str, source: str, system: str | None = None) -> PromptRow:
    """A question as a prompt."""
    messages: Messages = [{"role": "user", "content": text}]
    if system is not None:
        messages.insert(0, {"role": "system", "content": system})
    return {"prompt_id": prompt_id(messages), "messages": messages, "reference": None, "source": source}


def answers(
    label: str,
    config: AnswersConfig,
    policy: Path,
    prompts: Sequence[PromptRow],
    draws: Draws,
    work: WorkDir,
    name: str = "answers",
) -> tuple[dict[str, list[Row]], Counts]:
    """Responses to each prompt; a step that starts again goes on from those it has.

    Args:
        label: for the progress, such as "alpaca_eval".
        config: how answers are made.
        policy: directory of the policy.
        prompts: questions; equal ones have one `prompt_id` and are answered once.
        draws: of each prompt.
        work: of the step; answers are kept in its scratch folder.
        name: of the folder, where a step asks more than one policy.

    Returns:
        `candidates` rows by prompt_id, in the order of `draws` (those of prompts that are too long are missing), and
        the counts `prompts` (answered) and `prompts_too_long_dropped`.
    """
    distinct = {row["prompt_id"]: row for row in prompts}
    asked, output = work.scratch / f".{name}-prompts.parquet", work.scratch / f"{name}-candidates.parquet"
    write_table(asked, "prompts", [distinct[prompt_id] for prompt_id in sorted(distinct)])
    origin = Origin(digest(policy)[:16], 0, config.seed)
    counts = map_in_parts(
        f"{label}, answering",
        sorted(distinct),
        config,
        partial(drawing, config, policy, asked, origin, draws),
        schema="candidates",
        scratch=work.scratch / name,
        output=output,
    )
    found: dict[str, list[Row]] = {}
    for row in read_table(output, "candidates"):
        found.setdefault(row["prompt_id"], []).append(row)
    return found, counts
