"""When the loop ends before its last iteration, and whose policy is its result."""

from collections.abc import Mapping, Sequence

from larpo_lib.artifacts import Metrics
from larpo_lib.config import EarlyStopConfig, LarpoConfig
from larpo_lib.config.base import do_the_same
from larpo_lib.config.sections import WATCH
from larpo_lib.errors import ArtifactError, ConfigError


def check_early_stop(config: LarpoConfig) -> None:
    """Refuse to end the loop by a further reward that is not watched, or that is what training learns from."""
    metric = "" if config.loop.early_stop is None else config.loop.early_stop.metric
    if not metric.startswith(WATCH):
        return
    known = {one.metric: one.reranker for one in config.evaluate.watch}
    if metric not in known:
        raise ConfigError(
            f"loop.early_stop.metric is '{metric}', but evaluate.watch has no entry of this name",
            remedy=f"Use one of {', '.join(('mean_reward', 'accuracy', *known))}, or add it to evaluate.watch",
        )
    if do_the_same(known[metric], config.rerank.reranker):
        raise ConfigError(
            f"loop.early_stop.metric is '{metric}', whose reranker has the settings of rerank.reranker: a policy that "
            "exploits the reward goes on to gain by it, so it cannot end the loop",
            remedy="Give this entry of evaluate.watch another reranker",
        )


def has_stalled(measured: Sequence[Metrics], rule: EarlyStopConfig) -> bool:
    """Whether none of the last `patience` iterations beat the best one before them by more than `min_delta`."""
    values = [_defined(metrics, rule.metric) for metrics in measured]
    if len(values) <= rule.patience:
        return False
    return max(values[-rule.patience :]) <= max(values[: -rule.patience]) + rule.min_delta


def best_iteration(measured: Mapping[int, Metrics], rule: EarlyStopConfig | None) -> int:
    """The iteration whose policy is the result: the last one, or with early stop the best one."""
    if rule is None:
        return max(measured)
    return max(sorted(measured), key=lambda i: _defined(measured[i], rule.metric))


def _defined(metrics: Metrics, name: str) -> float:
    value = metrics.get(name)
    if value is None:
        raise ArtifactError(
            f"an evaluation of this run has no {name}, which loop.early_stop.metric names: other settings made it",
            remedy="Choose another output, or delete the run's evaluations to make them again",
        )
    return value
