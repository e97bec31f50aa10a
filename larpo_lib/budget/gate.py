"""What the benchmarks of a run take: responses of policies and calls of judges."""

from collections.abc import Mapping

from larpo_lib.budget.calls import Calls
from larpo_lib.budget.work import Lengths, Work
from larpo_lib.config import LarpoConfig
from larpo_lib.evaluation.benchmark import Effort
from larpo_lib.evaluation.gating import gate_benchmarks, gate_effort, gate_policies


def gate_efforts(config: LarpoConfig, heldout: int | None) -> Mapping[str, Effort]:
    """What each benchmark takes for one policy; of one whose files are not on this machine, nothing is known.

    Raises:
        LarpoError: an input is missing, or a file is not as it should be.
    """
    return {one.name: gate_effort(one, config, heldout, fetched=False) for one, _ in gate_benchmarks(config)}


def gate_work(config: LarpoConfig, efforts: Mapping[str, Effort], lengths: Lengths) -> list[Work]:
    """The responses that the benchmarks ask for."""
    found = []
    for name, effort in efforts.items():
        times = gate_policies(config, name)
        if effort.responses is None:
            found.append(Work(name, "sample", times, None, "unknown number of responses"))
        elif effort.responses:
            tokens = min(lengths.response_tokens, getattr(config, name).answers.max_new_tokens)
            how = f"{effort.responses:,} responses"
            found.append(Work(name, "sample", times, times * effort.responses * tokens, how))
    return found


def gate_calls(config: LarpoConfig, efforts: Mapping[str, Effort]) -> list[Calls]:
    """The calls of the benchmarks' judges. How long their questions are, nothing tells."""
    calls = {
        name: None if one.calls is None else gate_policies(config, name) * one.calls for name, one in efforts.items()
    }
    return [Calls(name, number, None) for name, number in calls.items() if number != 0]
