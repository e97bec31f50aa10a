"""The servers that a configuration names: whether each answers, and serves what is asked of it."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from larpo_lib.config import EndpointConfig, EvaluateConfig, LarpoConfig, LlmJudgeConfig, RerankerConfig, SampleConfig
from larpo_lib.config.load import NOT_GIVEN
from larpo_lib.doctor.finding import Finding
from larpo_lib.errors import ConfigError, LarpoError
from larpo_lib.evaluation import benchmarks

_REMEDY = "Start the server, or fix its section"


def checks_of(config: LarpoConfig) -> Mapping[str, Callable[[], list[Finding]]]:
    """A check for each server of a run and of the benchmarks' judges, by the setting that names it."""
    asked: dict[str, Callable[[], str]] = {}
    for setting, reranker in {"rerank.reranker": config.rerank.reranker, **config.evaluate.rerankers}.items():
        for part in reranker.parts():
            if isinstance(part, EndpointConfig):
                asked[f"{setting}, {part.base_url}"] = partial(_check_reranker, part)
    for section, sampling in (("sample", config.sample), ("evaluate", config.evaluate)):
        if isinstance(sampling.sampler, EndpointConfig):
            asked[f"{section}.sampler, {sampling.sampler.base_url}"] = partial(_check_sampler, config, sampling)
    for name in benchmarks():
        judge = getattr(getattr(config, name), "judge", None)
        if isinstance(judge, LlmJudgeConfig):
            asked[f"{name}.judge, {judge.base_url}"] = partial(_check_judge, judge)
    return {name: partial(_found, name, check) for name, check in asked.items()}


def _found(name: str, check: Callable[[], str]) -> list[Finding]:
    """The finding of a check, which returns what there is to say of a server that answers."""
    try:
        note = check()
    except LarpoError as error:
        return [Finding(name, False, error.problem, error.remedy or _REMEDY)]
    return [Finding(name, True, f"answers; {note}" if note else "answers")]


def _check_judge(judge: LlmJudgeConfig) -> str:
    from larpo_lib.judging.completions import check_judge
    from larpo_lib.judging.known_judges import shut_down_note

    check_judge(judge, retries=0)
    return shut_down_note(judge)


def _check_reranker(part: RerankerConfig) -> str:
    from larpo_lib.judging.known_judges import shut_down_note

    part.check()
    return shut_down_note(part) if isinstance(part, EndpointConfig) else ""


def _check_sampler(config: LarpoConfig, step: SampleConfig | EvaluateConfig) -> str:
    from larpo_lib.samplers.candidates import sampling_limits

    if config.policy == NOT_GIVEN:
        raise ConfigError("not checked, because there is no policy to check it with", remedy="Add policy to the file")
    step.sampler.check(Path(config.policy), sampling_limits(step))
    return ""
