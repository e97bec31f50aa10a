"""Reads what a report says of reward hacking from the artifacts of a run."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from larpo_lib.artifacts import AGAIN, read_manifest
from larpo_lib.config.differences import differences
from larpo_lib.config.sections import WATCH
from larpo_lib.errors import ArtifactError
from larpo_lib.files import read_json
from larpo_lib.manifest import hash_json
from larpo_lib.provenance import scored_by, scored_text
from larpo_lib.reporting.benchmark import REPORT
from larpo_lib.reporting.hacking import Hacking, Judged, examine
from larpo_lib.reporting.hacking_policies import COLUMNS, REWARD, read_policy
from larpo_lib.rewards.length import unpenalised
from larpo_lib.statistics.estimates import Bootstrap, Estimate
from larpo_lib.steps.judgements import watched_rows
from larpo_lib.tables import iterate_table
from larpo_lib.training.advice import late_mean


def read_hacking(
    evaluations: Mapping[int, Path],
    ranked: Path,
    histories: Sequence[Sequence[Mapping[str, float]]],
    benchmarks: Sequence[Path],
    bootstrap: Bootstrap,
) -> Hacking:
    """What the policies of a run say, and benchmarks of them.

    Args:
        evaluations: artifacts of the step `evaluate` by iteration, the starting policy's first.
        ranked: artifact of the candidates that the last iteration learned from.
        histories: of the trainings, from the first iteration on.
        benchmarks: artifacts of benchmarks that measured some of these policies, in any order.
        bootstrap: how intervals are made.

    Raises:
        ArtifactError: an artifact cannot be read, or a benchmark measured another policy or the same one twice.
    """
    policies = [
        read_policy(
            number,
            iterate_table(path, "evaluated", COLUMNS),
            watched_rows(path, ("watch", "prompt_id", "temperature", "reward")),
            late_mean(histories[number - 1], "kl") if number else None,
            scored_text(path),
        )
        for number, path in evaluations.items()
    ]
    trained = _trained([*evaluations.values()][-1], ranked)
    return examine(policies, bootstrap, trained, _judged(benchmarks, evaluations))


def _trained(evaluation: Path, ranked: Path) -> str | None:
    """The measure of held-out responses by the reranker that ranked what is learned from, with a penalty or without."""
    learned = unpenalised(next(iterate_table(ranked, "ranked", ["reranker"]))["reranker"])
    measured = {REWARD: next(iterate_table(evaluation, "evaluated", ["reranker"]))["reranker"]}
    measured |= {f"{WATCH}{row['watch']}": row["reranker"] for row in watched_rows(evaluation, ("watch", "reranker"))}
    made, by = scored_by(ranked).get(REWARD), scored_by(evaluation)
    alike = (name for name, reranker in measured.items() if reranker == learned and _may_be_one(made, by.get(name)))
    return next(alike, None)


def _may_be_one(one: Mapping[str, Any] | None, other: Mapping[str, Any] | None) -> bool:
    """Whether what decides the rewards of two rerankers of one name is the same, as far as it is recorded of both."""
    return one is None or other is None or not differences(one, other)


def _judged(benchmarks: Sequence[Path], evaluations: Mapping[int, Path]) -> list[Judged]:
    """The first number of each benchmark, apart by judge and edition."""
    policies = {_identity(path): number for number, path in evaluations.items()}
    found: dict[tuple[str, str, str, str], dict[int, Estimate]] = {}
    for path in benchmarks:
        read_manifest(path)
        report = read_json(path / REPORT, remedy=AGAIN)
        number = policies.get(report["policy"])
        if number is None:
            raise ArtifactError(
                f"{path}: measured {report['policy']}, which is no evaluated policy of this run",
                remedy="Pass benchmarks' artifacts of the policies whose evaluations are passed",
            )
        name, label, score = _first(report)
        scores = found.setdefault((name, label, report["judged_by"], report["version"]), {})
        if number in scores:
            raise ArtifactError(f"{path}: this benchmark is passed twice for one policy", remedy="Pass it once")
        scores[number] = score
    names = [name for name, *_ in found]
    return [
        Judged(name if names.count(name) == 1 else f"{name}_{place}", label, judge, scores)
        for place, ((name, label, judge, _), scores) in enumerate(found.items(), start=1)
    ]


def _identity(evaluation: Path) -> str:
    """The policy that was evaluated, as benchmarks name it."""
    recorded = str(read_manifest(evaluation)["inputs"].get("policy", ""))
    return (recorded if re.fullmatch(r"[0-9a-f]{64}", recorded) else hash_json({"hub": recorded}))[:16]


def _first(report: Mapping[str, Any]) -> tuple[str, str, Estimate]:
    """The number that the benchmark's page shows first: its name, its title, and itself."""
    shown = [*report["headline"], report["scores"][0]["name"]]
    score = next(one for one in report["scores"] if one["name"] == shown[0])
    unit = f" ({score['unit']})" if score["unit"] else ""
    estimate = Estimate(*(score[key] for key in ("value", "low", "high")))
    return f"{report['benchmark']}_{score['name']}", f"{report['title']}: {score['label']}{unit}", estimate
