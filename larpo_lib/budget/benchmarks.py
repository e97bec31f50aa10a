"""What the benchmarks of a run take: responses of policies and calls of judges."""

from collections.abc import Mapping

from larpo_lib.budget.calls import Calls
from larpo_lib.budget.work import Lengths, Work
from larpo_lib.config import LarpoConfig
from larpo_lib.evaluation.benchmark import Effort
from larpo_lib.evaluation.run_benchmarks import benchmark_effort, benchmarks_of_run, measured_policies


def benchmark_efforts(config: LarpoConfig, heldout: int | None) -> Mapping[str, Effort]:
    """What each benchmark takes for one policy; of one whose files are not on this machine, nothing is known.

    Raises:
        LarpoError: an input is missing, or a file is not as it should be.
    """
    return {one.name: benchmark_effort(one, config, heldout, fetched=False) for one, _ in benchmarks_of_run(config)}


def benchmark_work(config: LarpoConfig, efforts: Mapping[str, Effort], lengths: Lengths) -> list[Work]:
    """The responses that the benchmarks ask for."""
    found = []
    for name, effort in efforts.items():
        times = measured_policies(config, name)
        if effort.responses is None:
            found.append(Work(name, "sample", times, None, "unknown number of responses"))
        elif effort.responses:
            tokens = min(lengths.response_tokens, getattr(config, name).answers.max_new_tokens)
            how = f"{effort.responses:,} responses"
            found.append(Work(name, "sample", times, times * effort.responses * tokens, how))
    return found


def benchmark_calls(config: LarpoConfig, efforts: Mapping[str, Effort]) -> list[Calls]:
    """The calls of the benchmarks' judges. How long their questions are, nothing tells."""
    calls = {
        name: None if one.calls is None else measured_policies(config, name) * one.calls
        for name, one in efforts.items()
    }
    return [Calls(name, number, None) for name, number in calls.items() if number != 0]
