"""The benchmarks that a run takes: `loop.benchmarks`, and those whose metrics its gate asks for."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from larpo_lib.artifacts import read_metrics
from larpo_lib.config import LarpoConfig, LlmJudgeConfig
from larpo_lib.config.gate import HELD_OUT
from larpo_lib.errors import ConfigError, DataError
from larpo_lib.evaluation import benchmarks
from larpo_lib.evaluation.benchmark import Benchmark, Effort, Number
from larpo_lib.judging.completions import check_judge
from larpo_lib.judging.known_judges import refuse_shut_down
from larpo_lib.reporting.benchmark import read_values
from larpo_lib.steps.judgements import EVALUATE_METRICS, LENGTH
from larpo_lib.storage import cache_dir, fetch, is_remote

_OF_A_RUN = dict.fromkeys(("policy", "baseline", "prompts", "evaluated"), "")
"""Inputs that a run has itself: the policy, the one that it began with, its held-out prompts, and the evaluation."""


def benchmarks_of_run(config: LarpoConfig) -> Iterator[tuple[Benchmark, Sequence[str]]]:
    """The benchmarks that a run takes, each with the metrics that the gate asks for, if any.

    Raises:
        ConfigError: there is no such benchmark, it measures no policy, or its section is missing.
    """
    for name in config.benchmarks:
        benchmark = _benchmark(name, "promote" if name in config.promote.benchmarks else "loop.benchmarks")
        if "policy" not in {one.name for one in benchmark.inputs}:
            raise ConfigError(f"{_asks(config, name)}, which measures no policy", remedy="Remove it")
        if getattr(config, name) is None:
            raise ConfigError(
                f"{_asks(config, name)}, but the section [{name}] is missing",
                remedy=f"Add it, with the settings of `larpo benchmark {name.replace('_', '-')}`",
            )
        yield benchmark, [one.name for one in config.promote.asked if one.benchmark == name]


def benchmark_inputs(benchmark: Benchmark, config: LarpoConfig, own: Mapping[str, str]) -> dict[str, str]:
    """What a benchmark reads when a run takes it.

    Args:
        benchmark: that the run takes.
        config: of the run.
        own: what the run has, by the inputs' names.

    Raises:
        ConfigError: an input is missing, or unknown.
    """
    files = config.loop.benchmark_files.get(benchmark.name, {})
    known = {one.name for one in benchmark.inputs}
    for name in sorted(set(files) - (known - own.keys())):
        why = "is what the run has itself" if name in own else f"is no input of {benchmark.name}"
        raise ConfigError(f"loop.benchmark_files.{benchmark.name}.{name} {why}", remedy="Remove it")
    found = {name: place for name, place in {**own, **files}.items() if name in known}
    needed = [one.name for one in benchmark.inputs if one.required or one.name in benchmark.asks_by]
    for name in needed:
        if name not in found:
            meaning = next(one.meaning for one in benchmark.inputs if one.name == name)
            raise ConfigError(
                f"{_asks(config, benchmark.name)}, which needs {name}: {meaning}",
                remedy=f"Set loop.benchmark_files.{benchmark.name}.{name}",
            )
    return found


def check_run_benchmarks(config: LarpoConfig) -> None:
    """Check that a run can take its benchmarks, and measure what its gate asks for.

    Raises:
        ConfigError: there is no such metric or benchmark, it measures no policy, or a section or an input is missing.
    """
    for name in sorted(config.loop.benchmark_files):
        _benchmark(name, "loop.benchmark_files")
    for one in config.promote.asked:
        known = _metrics(one.benchmark, config)
        if not any(number.is_named(one.name) for number in known):
            names = ", ".join(f"{one.benchmark}.{number.name}" for number in known)
            raise ConfigError(
                f"promote.{one.demand} asks for {one.metric}, but {one.benchmark} has no {one.name}",
                remedy=f"Use one of {names}" + (", or add it to evaluate.watch" if one.is_watched else ""),
            )
    for benchmark, metrics in benchmarks_of_run(config):
        benchmark_inputs(benchmark, config, _OF_A_RUN)
        files = config.loop.benchmark_files.get(benchmark.name, {})
        for metric in metrics:
            if why := benchmark.impossible(getattr(config, benchmark.name), metric, files, config.evaluate):
                raise ConfigError(
                    f"promote asks for {benchmark.name}.{metric}, which there will not be: {why}",
                    remedy="Ask for another metric, or change these settings",
                )


def check_benchmark_servers(config: LarpoConfig) -> None:
    """Check that the servers answer whose models judge in the benchmarks of a run.

    Raises:
        ConfigError: one has another model, or none.
        EndpointError: one does not answer.
    """
    for judge in _judges(config):
        check_judge(judge, retries=0)


def check_benchmark_files(config: LarpoConfig) -> None:
    """Check that the benchmarks of a run have the packages and files that they need, and judges that can be asked.

    Raises:
        ConfigError: one is missing, or a judge is shut down.
        StorageError: one in a store is missing.
    """
    for judge in _judges(config):
        refuse_shut_down(judge)
    for benchmark, _ in benchmarks_of_run(config):
        benchmark.require()
        for name, place in config.loop.benchmark_files.get(benchmark.name, {}).items():
            if is_remote(place):
                fetch(place, cache_dir())
            elif not Path(place).exists():
                setting = f"loop.benchmark_files.{benchmark.name}.{name}"
                raise ConfigError(f"{setting}: {place}: no such file", remedy="Give an existing file, or an s3:// URI")


def measured_policies(config: LarpoConfig, name: str) -> int:
    """How many policies of a run a benchmark measures at most, the one that it begins with included."""
    loop = config.loop
    measured = loop.evaluate if name in loop.benchmarks else loop.promote
    return loop.iterations + 1 if measured == "every_iteration" else 2


def benchmark_effort(benchmark: Benchmark, config: LarpoConfig, heldout: int | None, *, fetched: bool) -> Effort:
    """What a benchmark takes for one policy.

    Args:
        benchmark: that the run takes.
        config: of the run.
        heldout: number of the run's held-out prompts; None: unknown.
        fetched: whether its files are here, or in the cache; or else what is not here is not known.

    Raises:
        LarpoError: an input is missing, or a file is not as it should be.
    """
    benchmark_inputs(benchmark, config, _OF_A_RUN)
    places = config.loop.benchmark_files.get(benchmark.name, {})
    if not fetched and not all(Path(place).exists() for place in places.values()):
        return Effort()
    files = {name: fetch(place, cache_dir()) if is_remote(place) else Path(place) for name, place in places.items()}
    return benchmark.effort(getattr(config, benchmark.name), files, heldout)


def require_values(evaluation: Path, metrics: Sequence[str]) -> None:
    """Refuse a benchmark's artifact without values of the metrics that the gate asks for.

    Raises:
        DataError: one is missing, as where its settings leave the metric out.
    """
    known = read_values(evaluation) if metrics else {}
    for metric in metrics:
        if metric not in known:
            why = ""
            if metric in (told := read_metrics(evaluation)):
                whole = "is computed over all items at once, and is no mean over them"
                why = ", because it " + (
                    whole if told[metric] is not None else "is not defined, see its report's caveats"
                )
            raise DataError(
                f"has no {metric} for each item, which the gate asks for{why}",
                path=evaluation,
                remedy=f"Ask for one of {', '.join(sorted(known))}, or change the settings of the benchmark",
            )


def _judges(config: LarpoConfig) -> Iterator[LlmJudgeConfig]:
    for benchmark, _ in benchmarks_of_run(config):
        judge = getattr(getattr(config, benchmark.name), "judge", None)
        if isinstance(judge, LlmJudgeConfig):
            yield judge


def _metrics(name: str, config: LarpoConfig) -> Sequence[Number]:
    if name == HELD_OUT:
        watched = [one.metric for one in config.evaluate.watch]
        return [Number(metric, metric, "", "") for metric in (*EVALUATE_METRICS, LENGTH, *watched)]
    return _benchmark(name, "promote").numbers


def _benchmark(name: str, setting: str) -> Benchmark:
    known = benchmarks()
    if name not in known:
        others = f"{HELD_OUT} or " if setting == "promote" else ""
        raise ConfigError(
            f"{setting} names a benchmark '{name}', which there is not",
            remedy=f"Use {others}one of {', '.join(known)}",
        )
    return known[name]


def _asks(config: LarpoConfig, name: str) -> str:
    """Why a run takes a benchmark."""
    gate = name in config.promote.benchmarks
    return f"promote asks for metrics of {name}" if gate else f"loop.benchmarks contains {name}"
