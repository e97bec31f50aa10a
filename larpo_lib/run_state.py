"""How far a run has come: which of its steps are made, and which are left."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from larpo_lib.artifacts import MANIFEST, Metrics, digest, read_manifest, read_metrics, recorded_digest
from larpo_lib.config.differences import differences
from larpo_lib.config.load import check
from larpo_lib.config.tree import LoopConfig
from larpo_lib.early_stop import best_iteration
from larpo_lib.errors import ArtifactError, ConfigError
from larpo_lib.functions import functions_of
from larpo_lib.half_done import refuse_other_settings
from larpo_lib.plan import Plan, StepCall
from larpo_lib.results import other_results
from larpo_lib.run_inputs import changed_input, digest_there

_ELSEWHERE = {"changes", "benchmark_files"}
"""Settings of the loop that steps know: `changes` as their own settings, files as inputs, whose places do not count."""


@dataclass(frozen=True)
class RunState:
    """The steps of a run on this machine, in the order of the run.

    Attributes:
        made: what they publish is there.
        left: the others.
    """

    made: Sequence[StepCall]
    left: Sequence[StepCall]

    @property
    def names(self) -> frozenset[str]:
        """Names of the steps that are left."""
        return frozenset(call.name for call in self.left)


@dataclass(frozen=True)
class Artifacts:
    """How to know what a run has published.

    Attributes:
        made: whether an artifact is there.
        folder: a local directory that holds its manifest.
        metrics: its metrics.
    """

    made: Callable[[str], bool]
    folder: Callable[[str], Path]
    metrics: Callable[[str], Metrics]


HERE = Artifacts(
    lambda path: (Path(path) / MANIFEST).is_file(),
    Path,
    lambda path: read_metrics(Path(path)),
)
"""On this machine."""


def find_run_state(plan: Plan, artifacts: Artifacts = HERE) -> RunState:
    """How far the run of a plan has come.

    Args:
        plan: of the run.
        artifacts: how to know what it has published.

    Raises:
        ArtifactError: a step was made, or half made, with other settings, or an end was made that the run has not come
            to: told now, not after hours of other steps.
    """
    made: list[StepCall] = []
    left: list[StepCall] = []
    for call in all_calls(plan, _measured(plan, artifacts)):
        (made if _is_made(call, artifacts) else left).append(call)
    state = RunState(made, left)
    for call in made:
        _check_settings(call, artifacts, goes_on=bool(left))
    for call in left if artifacts is HERE else ():
        assert call.config is not None, f"{call.name} has settings"
        refuse_other_settings(Path(call.output), call.config.identity())
    _check_end(plan, state, artifacts)
    return state


def check_finished(plan: Plan, artifacts: Artifacts, recorded: Mapping[str, Any]) -> None:
    """Check that a finished run was made with the policy, the loop and the inputs of a plan: no step is left to look.

    Args:
        plan: of the run.
        artifacts: how to know what it has published.
        recorded: the settings that it was finished with; empty: they are not known.

    Raises:
        ArtifactError: it was made with others; names them.
    """
    what = (_other_settings(plan, artifacts, recorded) if recorded else "") or _other_inputs(plan, artifacts)
    if what:
        raise ArtifactError(
            f"{plan.root}: is finished, but was made with {what}", remedy="Choose another output, or undo the change"
        )


def _other_settings(plan: Plan, artifacts: Artifacts, recorded: Mapping[str, Any]) -> str:
    """Of those that are settings of no step."""
    before = check(LoopConfig, recorded.get("loop", {}), prefix=("loop",))
    earlier = replace(plan, config=plan.config.model_copy(update={"loop": before}))
    old, new = (one.config.loop.model_dump(mode="json", exclude=_ELSEWHERE) for one in (earlier, plan))
    if _last(earlier, artifacts) == _last(plan, artifacts):  # it stops early, before either number
        new["iterations"] = old["iterations"]
    if what := differences(old, new, "loop"):
        return what
    if plan.config.demonstrations is None and recorded.get("demonstrations") is not None:
        return "demonstrations"
    return _other_policy(plan, artifacts, recorded.get("policy", plan.config.policy))


def _last(plan: Plan, artifacts: Artifacts) -> int:
    return plan.last(_measured(plan, artifacts))


def _other_policy(plan: Plan, artifacts: Artifacts, recorded: str) -> str:
    """How the policy differs from the one that a run began with; the same in another place is no other one."""
    policy = plan.config.policy
    if policy == recorded:
        return ""
    first = plan.evaluate(0) if plan.config.demonstrations is None else plan.sft()
    same = Path(policy).exists() and recorded_digest(Path(policy)) == _known(first, artifacts)
    return "" if same else f'policy "{recorded}" instead of "{policy}"'


def _known(call: StepCall, artifacts: Artifacts) -> str:
    return str(read_manifest(artifacts.folder(call.output))["inputs"]["policy"])


def _other_inputs(plan: Plan, artifacts: Artifacts) -> str:
    """Which of the things that a run has read from outside is there and has been changed since."""
    calls = list(all_calls(plan, _measured(plan, artifacts)))
    own = {path for call in calls for path in call.outputs.values()}
    digest_once = cache(digest_there)
    for call in calls:
        assert call.config is not None, f"{call.name} has settings"
        given = {name: place for name, place in call.inputs.items() if isinstance(place, str) and place not in own}
        recorded = read_manifest(artifacts.folder(call.output))["inputs"]
        if changed := changed_input(call.config, given, recorded, digest_once):
            return f"another version of {changed}"
    return ""


def all_calls(plan: Plan, measured: Mapping[int, Metrics]) -> Iterator[StepCall]:
    """The calls of a run in turn.

    Args:
        plan: of the run.
        measured: metrics of the iterations that were evaluated, which tell where the run ends, and whose policy is its
            result, as far as they do. Whoever takes the calls adds those of each evaluation before the next call.
    """
    loop, s = plan.config.loop, 0
    yield from plan.prepare()
    if plan.config.demonstrations is not None:
        yield plan.sft()
    yield plan.evaluate(0)
    yield from plan.benchmarks(0)
    while s < plan.last(measured):
        s += 1
        yield from (step(s) for step in (plan.sample, plan.rerank, plan.build_lists, plan.train))
        if plan.measures(s, loop.iterations):
            yield plan.evaluate(s)
            yield from plan.benchmarks(s)
            if loop.promote == "every_iteration":
                yield plan.promote(s, plan.at(s, "promotion"), s)
    best = best_iteration(measured, loop.early_stop) if s in measured else s
    yield from plan.late_benchmarks(best)
    yield plan.promote(best, plan.promotion)
    yield plan.report(s, best)


def _measured(plan: Plan, artifacts: Artifacts) -> dict[int, Metrics]:
    """Of the iterations from the first on that are measured."""
    found: dict[int, Metrics] = {}
    for i in range(plan.config.loop.iterations + 1):
        if plan.measures(i, plan.config.loop.iterations):
            call = plan.evaluate(i)
            if not _is_made(call, artifacts):
                break
            found[i] = artifacts.metrics(call.output)
    return found


def _is_made(call: StepCall, artifacts: Artifacts) -> bool:
    return all(artifacts.made(path) for path in call.outputs.values())


def _check_settings(call: StepCall, artifacts: Artifacts, *, goes_on: bool) -> None:
    """Of a run that is finished the results are only read, whatever other versions of larpo would give."""
    assert call.config is not None, f"{call.name} has settings"
    manifest = read_manifest(artifacts.folder(call.output))
    recorded = manifest["config"]
    what = (
        differences(recorded, _expected(call.config.identity(), recorded), "config")
        or _other_code(call, manifest)
        or (other_results(manifest["step"], manifest["code"]) if goes_on else "")
    )
    if what:
        raise ArtifactError(
            f"{call.output}: exists already, but was made with {what}",
            remedy="Choose another output, or delete this one to make it again",
        )


def _other_code(call: StepCall, manifest: Mapping[str, Any]) -> str:
    """Which function of a step's settings has been changed since, of those whose file is there."""
    assert call.config is not None, f"{call.name} has settings"
    for function in functions_of(call.config).values():
        with suppress(ConfigError):
            if function.content() not in manifest["inputs"].values():
                return f"another version of {function.target}"
    return ""


def _expected(settings: dict[str, Any], recorded: Mapping[str, Any]) -> dict[str, Any]:
    """The settings as they are recorded: of a source in a local file its name, not its place."""
    source = settings.get("source")
    if source is not None and recorded.get("source") == Path(source).name:
        return {**settings, "source": recorded["source"]}
    return settings


def _check_end(plan: Plan, state: RunState, artifacts: Artifacts) -> None:
    """With more iterations than before the run would go on for long, and then find its end made already."""
    ends = [call for call in state.made if call.output == plan.promotion]
    left = [call for call in state.left if call.name == "evaluate"]
    if not ends or not left:
        return
    judged = read_manifest(artifacts.folder(plan.promotion))["inputs"]["evaluation"]
    of_others = [call.output for call in state.made if call.name == "evaluate"]
    if any(digest(artifacts.folder(path)) == judged for path in of_others):
        raise ArtifactError(
            f"{plan.promotion}: ends a shorter run, but {left[0].output} does not exist yet",
            remedy=f"Delete it and {plan.root}/report to continue the run, or choose another output",
        )
