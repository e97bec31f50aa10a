"""How a policy did, item by item, as the gate reads it of an evaluation, and whether two policies can be compared."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from importlib import import_module
from pathlib import Path
from typing import Any

from larpo_lib.config.differences import differences
from larpo_lib.config.gate import HELD_OUT
from larpo_lib.config.sections import WATCH
from larpo_lib.errors import ArtifactError, ConfigError, DataError
from larpo_lib.provenance import deciding, judge_name, sampled_with, scored_by, scored_text
from larpo_lib.reporting.benchmark import REPORT, VALUES, read_values
from larpo_lib.reporting.held_out import QUALITY_COLUMNS, Groups, greedy_and_sampled, is_greedy, means
from larpo_lib.tables import Row, iterate_table

VERIFIER = "verifier"
"""The judge of answers that are numbers."""
EVALUATE_METRICS = ("reward", "accuracy", "greedy_accuracy")
"""What an artifact of the step `evaluate` can be compared by."""
LENGTH = "length"
"""And besides, where several metrics are asked for: mean characters of a prompt's sampled responses, without thoughts
that the reward is not of."""


@dataclass(frozen=True)
class Judgement:
    """How a policy did on each held-out prompt, or on each item of a benchmark.

    Attributes:
        reranker: what gave the rewards; of a benchmark, what judged.
        values: metric, then prompt_id or item, to the value. A metric that the evaluation does not hold is absent.
        benchmark: which benchmark, and which edition of it; None of an artifact of the step `evaluate`.
        judge: who said right or wrong in the step `evaluate`; in the registry, nothing stands for the judge of numbers.
        sampling: how responses were sampled; None: it is not known, as of what older versions kept of one metric.
            Where a metric may depend on how many were, `n` says it.
        falling: metrics that are better if they go down, where the evaluation and not its benchmark tells.
        watched: metric of a reward, to what gave it: `reranker` is its name, `settings` decide what it gives. Older
            versions kept this of further rewards only. Of a benchmark, `reward` is all that depends on rewards.
        kinds: metric, to what an item's value is, where earlier versions kept another one.
    """

    reranker: str
    values: Mapping[str, Mapping[str, float]]
    benchmark: str | None = None
    judge: str = VERIFIER
    sampling: Mapping[str, Any] | None = None
    falling: Sequence[str] = ()
    watched: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    kinds: Mapping[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """What stands before its metrics where the gate asks for several."""
        return HELD_OUT if self.benchmark is None else self.benchmark.partition(" ")[0]

    def to_json(self) -> dict[str, Any]:
        """As the registry keeps it; which way is better, the policy that is compared with it tells again."""
        unset = [name for name in ("sampling", "watched", "kinds") if not getattr(self, name)]
        return {name: value for name, value in asdict(self).items() if name not in {"falling", *unset}}

    def lower_is_better(self, metric: str) -> bool:
        """Whether one of its metrics is better if it goes down, by its own name."""
        return metric in self.falling or lower_is_better(f"{self.name}.{metric}")


def read_judgement(evaluation: Path) -> Judgement:
    """What an artifact of the step `evaluate` says about each prompt, or one of a benchmark about each item.

    Raises:
        ArtifactError: `evaluation` is no such artifact.
        DataError: it has no sampled response, or rewards that hold only within a list.
    """
    if (evaluation / VALUES).is_file():
        return _of_benchmark(evaluation)
    rerankers: set[str] = set()
    greedy, sampled = greedy_and_sampled(_comparable_rows(evaluation, rerankers))
    if not sampled.rewards:
        raise DataError("contains no sampled response", path=evaluation, remedy="Evaluate on at least one prompt")
    groups: tuple[Groups, ...] = (
        sampled.rewards,
        {} if sampled.undecided else sampled.right,
        {} if greedy.undecided else greedy.right,
    )
    values = {name: dict(sorted(means(found).items())) for name, found in zip(EVALUATE_METRICS, groups, strict=True)}
    reranker, made = " + ".join(sorted(rerankers)), scored_by(evaluation)
    return Judgement(
        reranker=reranker,
        values={metric: means for metric, means in values.items() if means},
        judge=judge_name(evaluation) or VERIFIER,
        sampling=sampled_with(evaluation) or None,
        watched={"reward": {"reranker": reranker, "settings": made["reward"]}} if "reward" in made else {},
    )


def read_whole_judgement(evaluation: Path) -> Judgement:
    """As `read_judgement`, with all that the gate of several metrics asks for: lengths, and watches."""
    judgement = read_judgement(evaluation)
    if judgement.benchmark:
        return judgement
    watched, rerankers = _watched(evaluation)
    values = {**judgement.values, LENGTH: _lengths(evaluation), **watched}
    return replace(judgement, values=values, watched={**judgement.watched, **rerankers})


def watched_rows(evaluation: Path, columns: Sequence[str]) -> Iterator[Row]:
    """The further rewards of an evaluation; none where nothing was watched."""
    path = evaluation / "watched.parquet"
    return iterate_table(path, "watched", columns) if path.is_file() else iter(())


def _watched(evaluation: Path) -> tuple[dict[str, dict[str, float]], dict[str, dict[str, Any]]]:
    """By the metrics of further rewards: the mean of each prompt's sampled responses, and what gave them."""
    names: dict[str, str] = {}
    rewards: dict[str, dict[str, list[float]]] = {}
    for row in watched_rows(evaluation, ("watch", "prompt_id", "temperature", "reward", "reranker")):
        metric = f"{WATCH}{row['watch']}"
        names[metric] = row["reranker"]
        if not is_greedy(row):
            rewards.setdefault(metric, {}).setdefault(row["prompt_id"], []).append(row["reward"])
    values = {metric: dict(sorted(means(found).items())) for metric, found in rewards.items()}
    settings = scored_by(evaluation)
    return values, {metric: {"reranker": names[metric], "settings": settings[metric]} for metric in values}


def _lengths(evaluation: Path) -> dict[str, float]:
    found: dict[str, list[int]] = {}
    scored = scored_text(evaluation)
    for row in iterate_table(evaluation, "evaluated", ("prompt_id", "temperature", "response")):
        if not is_greedy(row):
            found.setdefault(row["prompt_id"], []).append(len(scored(row["response"])))
    return dict(sorted(means(found).items()))


def kept_judgement(stored: Mapping[str, Any]) -> Judgement:
    """What the registry keeps of an evaluation, perhaps of another version; what else stands there is passed over."""
    known = {name: stored[name] for name in ("benchmark", "judge", "sampling", "watched", "kinds") if name in stored}
    return Judgement(stored["reranker"], stored["values"], **known)


def by_name(judgements: Iterable[Judgement]) -> dict[str, Judgement]:
    """Judgements by the name before their metrics.

    Raises:
        ConfigError: two have one name.
    """
    found: dict[str, Judgement] = {}
    for one in judgements:
        if one.name in found:
            raise ConfigError(f"two evaluations of one policy are by {one.name}", remedy="Pass one of them")
        found[one.name] = one
    return found


def lower_is_better(metric: str) -> bool:
    """Whether a metric such as `divergence.kl` is better if it goes down, as its benchmark declares it."""
    if metric.partition(".")[0] == HELD_OUT:
        return metric == f"{HELD_OUT}.{LENGTH}"
    return any(one.lower_is_better for one in _declared(metric))


def scale(metric: str) -> float:
    """The range that a metric's values can have, if it is known: 100 of percentages, 1 of shares, or else 0."""
    benchmark, _, name = metric.partition(".")
    if benchmark == HELD_OUT:
        return float(name in ("accuracy", "greedy_accuracy"))
    return max(({"%": 100.0, "": 1.0}.get(one.unit, 0.0) for one in _declared(metric)), default=0.0)


def _declared(metric: str) -> Iterator[Any]:
    """The numbers of that name, or the families that it belongs to, as its benchmark declares them."""
    benchmark, _, name = metric.partition(".")
    # Looked up, not imported: the benchmarks are of a room above this one.
    declared = import_module("larpo_lib.evaluation").benchmarks().get(benchmark)
    return (one for one in (declared.numbers if declared else ()) if one.is_named(name))


def incomparable(metric: str, policy: Judgement, opponent: Judgement | None) -> str | None:
    """Why the two cannot be compared; None if they can."""
    if opponent is None:
        return "its evaluation is not in the registry"
    if metric not in opponent.values:
        return f"its evaluation has no {metric}"
    by, old_by = (one.benchmark or "the step evaluate" for one in (policy, opponent))
    if by != old_by:
        return f"it was evaluated by {old_by}, not by {by}"
    if all(one.by_responses for one in _declared(f"{policy.name}.{metric}")):
        difference = _judged_otherwise(metric, policy, opponent) or _sampled_otherwise(metric, policy, opponent)
        if difference is not None:
            return difference
    new, old = set(policy.values[metric]), set(opponent.values[metric])
    if new != old:
        items = "prompts" if policy.benchmark is None else "items"
        return f"it was evaluated on different {items} ({len(new & old)} of {len(new)} in common)"
    return None


def _judged_otherwise(metric: str, policy: Judgement, opponent: Judgement) -> str | None:
    """What is different in how the two were judged; None where it is the same."""
    if policy.kinds.get(metric) != opponent.kinds.get(metric):
        return f"an earlier version kept other values of {metric}"
    rewards = policy.benchmark is None and metric == "reward"
    if metric in policy.watched and (metric in opponent.watched or metric != "reward"):
        return _scored_otherwise(metric, policy.watched[metric], opponent.watched.get(metric, {}))
    if policy.benchmark is None and not rewards:
        new, old = policy.judge, opponent.judge
    else:
        new, old = policy.reranker, opponent.reranker
    if new == old:
        return _rewarded_otherwise(policy, opponent) if _is_by_reward(metric, policy) else None
    if rewards:
        return f"its rewards come from {old}, not from {new}"
    why = "judges are strict in different ways, so a difference could come from them and not from the policies"
    return f"it was judged by {old}, not by {new}; {why}"


def _is_by_reward(metric: str, policy: Judgement) -> bool:
    """Of a benchmark's number; the plain reward, which `retrieval` has besides, is not declared."""
    declared = _declared(f"{policy.name}.{metric}")
    return policy.benchmark is not None and (metric == "reward" or any(one.by_reward for one in declared))


def _rewarded_otherwise(policy: Judgement, opponent: Judgement) -> str | None:
    """What is different in the rewards that two evaluations by one benchmark read, if it reads any."""
    new, old = (one.watched.get("reward") for one in (policy, opponent))
    if new is None and old is None:
        return None
    if new is None or old is None:
        return "what gave its rewards was kept by an earlier version, without the settings"
    return _scored_otherwise("reward", new, old)


def _scored_otherwise(metric: str, new: Mapping[str, Any], old: Mapping[str, Any]) -> str | None:
    what = differences(deciding(old.get("settings", {})), deciding(new["settings"]))
    name, before = new["reranker"], old.get("reranker")
    if not what and name == before:
        return None
    come = "rewards come" if metric == "reward" else f"{metric} comes"
    who = f"another {name}" if name == before else f"{before}, not from {name}"
    return f"its {come} from {who}" + (f" ({what})" if what else "")


def _sampled_otherwise(metric: str, policy: Judgement, opponent: Judgement) -> str | None:
    """What is different in how the two were sampled, as far as it is known of both."""
    if policy.sampling is None or opponent.sampling is None:
        return None
    greedy = policy.benchmark is None and metric == "greedy_accuracy"
    left_out = {"temperature", "top_p"} if greedy else set()
    if not any(one.by_n for one in _declared(f"{policy.name}.{metric}")):
        left_out |= {"n"}
    old, new = (
        {name: value for name, value in sampling.items() if name not in left_out}
        for sampling in (opponent.sampling, policy.sampling)
    )
    if unknown := ("n" in old) != ("n" in new):
        old, new = ({name: value for name, value in one.items() if name != "n"} for one in (old, new))
    if what := differences(old, new):
        return f"its responses were sampled with other settings: {what}"
    return "an earlier version did not keep how many responses were sampled" if unknown else None


def _of_benchmark(evaluation: Path) -> Judgement:
    try:
        report = json.loads((evaluation / REPORT).read_text("utf-8"))
        judged_by, benchmark = str(report["judged_by"]), f"{report['benchmark']} {report['version']}".strip()
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ArtifactError(
            f"{evaluation / REPORT}: cannot be read: {error}", remedy="Delete the artifact and make it again"
        ) from None
    made = report.get("made_by", {})
    return Judgement(
        judged_by,
        read_values(evaluation),
        benchmark,
        sampling={**sampled_with(evaluation), **made.get("sampling", {})} or None,
        falling=report.get("falling", ()),
        watched={"reward": made["reward"]} if "reward" in made else {},
        kinds=made.get("values", {}),
    )


def _comparable_rows(evaluation: Path, rerankers: set[str]) -> Iterator[Row]:
    """What the rows say of quality. Adds who gave the rewards to `rerankers`."""
    columns = (*QUALITY_COLUMNS, "list_relative", "reranker")
    for number, row in enumerate(iterate_table(evaluation, "evaluated", columns)):
        if row["list_relative"]:
            raise DataError(
                f"rewards of '{row['reranker']}' are only comparable within one list, so they cannot compare "
                "two policies",
                path=evaluation,
                row=number,
                field="list_relative",
                remedy="Evaluate with a reranker that scores each response on its own",
            )
        rerankers.add(row["reranker"])
        yield row
