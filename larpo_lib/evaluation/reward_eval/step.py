"""The benchmark `reward_eval`: a policy against a baseline policy, with a reward model as the judge."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, cast

from larpo_lib.artifacts import Metrics, WorkDir, digest, produce
from larpo_lib.config import EvaluateConfig, LlmJudgeConfig
from larpo_lib.errors import ConfigError, LarpoError
from larpo_lib.evaluation.answers import answer
from larpo_lib.evaluation.benchmark import Effort
from larpo_lib.evaluation.judge_checks import check_told
from larpo_lib.evaluation.reward_eval.scoring import Duel, duel, report
from larpo_lib.evaluation.reward_eval.settings import RewardEvalConfig
from larpo_lib.metadata import Asked
from larpo_lib.provenance import scored_with
from larpo_lib.reporting.benchmark import write
from larpo_lib.reporting.evaluation import EvaluationReport
from larpo_lib.rewards.rerankers import foresee, make_reranker, scored_text
from larpo_lib.schemas import LENGTH, PromptRow
from larpo_lib.shards import PartFn, PartResult, map_in_parts
from larpo_lib.statistics.estimates import Bootstrap
from larpo_lib.steps.rerank import ToScore, ranked_rows, scorables, score_rows
from larpo_lib.tables import PromptTable, Row, read_table, write_table

_POLICY, _BASELINE = 0, 1
"""`sample_index` of the two responses to a prompt."""


def run(
    config: RewardEvalConfig,
    *,
    policy: Path,
    baseline: Path,
    prompts: Path,
    evaluation: Path,
    judge_check: Path | None = None,
) -> Metrics:
    """Publish how often the reward model prefers `policy` to `baseline`, with both responses in `ranked.parquet`.

    Args:
        config: how both answer, and which reward model judges.
        policy, baseline: directories of the policies.
        prompts: artifact with `prompts.parquet`.
        evaluation: artifact to publish.
        judge_check: artifact of `judge_check` about the judge if that is a language model, which the report shows.

    Raises:
        ConfigError: the sampler is a server, which serves one policy; or the check is of another judge.
        LarpoError: no prompt has two scored responses.
    """
    if config.answers.sampler.serves_one_policy:
        raise ConfigError(
            "reward_eval.answers.sampler is a server, which serves only one policy, but two are compared",
            remedy="Set its type to hf or vllm",
        )

    model = config.reranker.model if isinstance(config.reranker, LlmJudgeConfig) else ""
    told = check_told(judge_check, model or config.reranker.type, model)

    def make(work: WorkDir) -> Metrics:
        return write(replace(_evaluate(config, policy, baseline, prompts, work), judge_check=told), work.data)

    inputs = {"policy": policy, "baseline": baseline, "prompts": prompts, **config.reranker.models()}
    inputs |= {} if judge_check is None else {"judge_check": judge_check}
    return produce("reward_eval", config, inputs, evaluation, make)


def effort(config: RewardEvalConfig, _files: Mapping[str, Path], heldout: int | None) -> Effort:
    """A response of both policies to each prompt, and what the reward model asks about these two."""
    calls = sum(part.most_calls(2) for part in config.reranker.parts())
    if heldout is None:
        return Effort(None, None if calls else 0)
    prompts = min(heldout, config.limit or heldout)
    return Effort(2 * prompts, prompts * calls)


def impossible(config: RewardEvalConfig, metric: str, _files: Mapping[str, str], _evaluate: EvaluateConfig) -> str:
    """Why the reward model cannot give a metric; else nothing."""
    if metric in ("reward", "baseline_reward") and config.reranker.list_relative:
        return "rewards of reward_eval.reranker are only comparable within one list"
    return ""


def _evaluate(config: RewardEvalConfig, policy: Path, baseline: Path, prompts: Path, work: WorkDir) -> EvaluationReport:
    rows = cast(list[PromptRow], read_table(prompts, "prompts"))
    asked = rows[: config.limit]
    own, _ = answer("reward_eval", config.answers, policy, asked, work)
    other, _ = answer("reward_eval, baseline", config.answers, baseline, asked, work, "baseline")
    both = [
        {**found[prompt_id], "sample_index": index}
        for prompt_id in sorted(own.keys() & other.keys())
        for index, found in ((_POLICY, own), (_BASELINE, other))
    ]
    pairs, ranked = work.scratch / ".pairs.parquet", work.data / "ranked.parquet"
    write_table(pairs, "candidates", both)
    answers = PromptTable(pairs, "candidates")
    foresee(config.reranker, "reward_eval", ToScore(prompts, [answers]))
    scoring = map_in_parts(
        "reward_eval, scoring",
        [*answers],
        config,
        partial(_scoring, config, prompts, pairs),
        schema="ranked",
        scratch=work.scratch / "scored",
        output=ranked,
    )
    judged = read_table(ranked, "ranked")
    scored = scored_text(config.reranker)
    duels = _duels(judged, scored)
    if not duels:
        raise LarpoError(
            f"{prompts}: no prompt has two scored responses",
            remedy="Increase reward_eval.answers.max_prompt_tokens or the reranker's max_tokens",
        )
    counts = {
        "prompts": len(asked),
        "over_limit_dropped": len(rows) - len(asked),
        "prompts_too_long_dropped": len({row["prompt_id"] for row in asked}) - len(both) // 2,
        "too_long_to_score_dropped": len(both) // 2 - len(duels),
        "compared": len(duels),
        "equal_responses": sum(scored(own[item]["response"]) == scored(other[item]["response"]) for item in duels),
        "truncated_responses": _truncated(own),
        "truncated_baseline_responses": _truncated(other),
        **{name: count for name, count in scoring.items() if name not in ("responses", "too_long_to_score_dropped")},
    }
    judge, version = _judge(config, judged[0]["reranker"]), f"against {digest(baseline)[:16]}"
    bootstrap = Bootstrap.of(config)
    found = report(
        duels, policy=digest(policy)[:16], judged_by=judge.text, version=version, counts=counts, bootstrap=bootstrap
    )
    return replace(found, made_by={"reward": judge.made})


def _truncated(responses: Mapping[str, Mapping[str, Any]]) -> int:
    return sum(row["finish_reason"] == LENGTH for row in responses.values())


@contextmanager
def _scoring(config: RewardEvalConfig, prompts: Path, pairs: Path) -> Iterator[PartFn]:
    known, answers = Asked(prompts), PromptTable(pairs, "candidates")
    reranker = make_reranker(config.reranker)

    def make(prompt_ids: Sequence[str]) -> PartResult:
        asked = known.of(prompt_ids)
        rows: Any = [row for prompt_id in prompt_ids for row in answers[prompt_id]]
        return ranked_rows(score_rows(reranker, asked, rows)), reranker.cut(scorables(asked, rows))

    yield make


def _duels(rows: Sequence[Row], scored: Callable[[str], str]) -> dict[str, Duel]:
    """Prompts with two scored responses; `scored`: from a response to what its reward is of."""
    sides: dict[str, dict[int, Mapping[str, Any]]] = {}
    for row in rows:
        sides.setdefault(row["prompt_id"], {})[row["sample_index"]] = row
    return {
        prompt_id: duel(
            scored(found[_POLICY]["response"]),
            scored(found[_BASELINE]["response"]),
            found[_POLICY]["reward"],
            found[_BASELINE]["reward"],
            list_relative=found[_POLICY]["list_relative"],
        )
        for prompt_id, found in sides.items()
        if len(found) == 2
    }


@dataclass(frozen=True)
class _Judge:
    """The reward model's name, with its content where it has any; and all that decides its rewards."""

    text: str
    made: Mapping[str, Any]


def _judge(config: RewardEvalConfig, name: str) -> _Judge:
    models = {key: digest(path) for key, path in config.reranker.models().items()}
    text = f"{name} ({', '.join(content[:8] for content in models.values())})" if models else name
    return _Judge(text, {"reranker": name, "settings": scored_with(config.reranker.identity(), models)})
