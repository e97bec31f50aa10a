"""The servers that a configuration names: whether each answers, and serves what is asked of it."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from larpo_lib.config import EndpointConfig, EvaluateConfig, LarpoConfig, LlmJudgeConfig, SampleConfig
from larpo_lib.doctor.finding import Finding
from larpo_lib.errors import LarpoError
from larpo_lib.evaluation import benchmarks

_REMEDY = "Start the server, or fix its section"


def checks_of(config: LarpoConfig) -> Mapping[str, Callable[[], list[Finding]]]:
    """A check for each server of a run and of the benchmarks' judges, by the setting that names it."""
    asked: dict[str, Callable[[], None]] = {}
    for section, step in (("rerank", config.rerank), ("evaluate", config.evaluate)):
        for part in step.reranker.parts():
            if isinstance(part, EndpointConfig):
                asked[f"{section}.reranker, {part.base_url}"] = part.check
    for section, sampling in (("sample", config.sample), ("evaluate", config.evaluate)):
        if isinstance(sampling.sampler, EndpointConfig):
            asked[f"{section}.sampler, {sampling.sampler.base_url}"] = partial(_check_sampler, config, sampling)
    for name in benchmarks():
        judge = getattr(getattr(config, name), "judge", None)
        if isinstance(judge, LlmJudgeConfig):
            asked[f"{name}.judge, {judge.base_url}"] = partial(_check_judge, judge)
    return {name: partial(_found, name, check) for name, check in asked.items()}


def _found(name: str, check: Callable[[], None]) -> list[Finding]:
    try:
        check()
    except LarpoError as error:
        return [Finding(name, False, error.problem, error.remedy or _REMEDY)]
    return [Finding(name, True, "answers")]


def _check_judge(judge: LlmJudgeConfig) -> None:
    from larpo_lib.judging.completions import check_judge

    check_judge(judge, retries=0)


def _check_sampler(config: LarpoConfig, step: SampleConfig | EvaluateConfig) -> None:
    from larpo_lib.samplers.candidates import sampling_limits

    step.sampler.check(Path(config.policy), sampling_limits(step))
