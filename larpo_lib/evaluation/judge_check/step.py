"""The step `judge_check`: how a judge's preferences agree with annotations by others."""

import random
from collections.abc import Mapping, Sequence
from pathlib import Path

from larpo_lib.artifacts import Metrics, WorkDir, digest, produce
from larpo_lib.config import LlmJudgeConfig
from larpo_lib.errors import ConfigError, DataError, LarpoError
from larpo_lib.evaluation.annotations import write_annotations
from larpo_lib.evaluation.judge_check import BENCHMARK
from larpo_lib.evaluation.judge_check.reading import (
    ANNOTATIONS,
    Annotated,
    Annotations,
    compared,
    read_annotations,
)
from larpo_lib.evaluation.judge_check.report import make_report
from larpo_lib.evaluation.judge_check.settings import JudgeCheckConfig
from larpo_lib.judging.completions import completions
from larpo_lib.judging.decisions import decisions as open_decisions
from larpo_lib.judging.decisions import has_decisions
from larpo_lib.judging.known_judges import require_askable
from larpo_lib.judging.official import installed_version
from larpo_lib.judging.pairs import Pair, judge_in_both_orders, judge_name, judge_pairs, mean_of_orders
from larpo_lib.reporting.benchmark import write
from larpo_lib.tables import Counts


def run(
    config: JudgeCheckConfig,
    *,
    reference: Sequence[Path],
    evaluation: Path,
    judged: Sequence[Path] = (),
    decisions: Path | None = None,
) -> Metrics:
    """Publish how a judge agrees with reference annotations, and which biases it has.

    The judge is asked about the annotated pairs, or what it has decided is read. If it is asked, the artifact also
    holds its `annotations.json` and the decisions that were used.

    Args:
        config: the judge, and how intervals are made.
        reference: annotations by people or by another judge.
        evaluation: artifact to publish.
        judged: what the judge has decided; not with `config.judge`.
        decisions: file that keeps the judge's decisions; `<evaluation>.decisions.jsonl` if not given.

    Raises:
        ConfigError: neither a judge nor its decisions, or both; or the judge cannot be asked.
        DataError: a file is malformed.
        LarpoError: there is no pair on which both have a preference.
        EndpointError: the judge's server does not answer.
    """
    if (config.judge is None) == (not judged):
        raise ConfigError(
            "judge_check needs either a judge to ask or what one has decided",
            remedy="Set judge_check.judge, or pass --judged",
        )
    wanted = read_annotations(reference)
    decided = read_annotations(judged, config.judged_by, one_judge=True) if judged else None
    if decided is None and not wanted.with_texts:
        raise DataError("has no texts to ask a judge about", path=reference[0], remedy="Use annotations with texts")
    if decided is not None and decided.with_texts != wanted.with_texts:
        remedy = "Use two tables of preferences, or two files of annotations"
        raise DataError("is not of the kind of the reference", path=judged[0], remedy=remedy)
    kept = decisions or evaluation.with_name(f"{evaluation.name}.decisions.jsonl")

    def make(work: WorkDir) -> Metrics:
        drawn = _drawn(config, wanted.by_pair)
        counts = {
            "annotations": sum(one.count for one in drawn.values()),
            "not_drawn": len(wanted.by_pair) - len(drawn),
        }
        found = decided
        if found is None:
            assert config.judge is not None
            found, undecided = _asked(config, config.judge, drawn, kept, work)
            counts |= undecided
        pairs, dropped = compared(drawn, found.by_pair)
        if not pairs:
            raise LarpoError(
                f"judge and reference have no preference on a common pair (pairs of the reference: {len(drawn)}; not "
                f"judged: {dropped['not_judged_dropped']}, without a preference: {dropped['undecided_dropped']})",
                remedy="Check that both annotate the same answers to the same instructions, and that the judge's "
                "answers can be read",
            )
        version = " ".join(digest(path)[:16] for path in reference)
        names = found.name, wanted.name if wanted.name != found.name else f"{wanted.name} in {_places(reference)}"
        report = make_report(config, pairs, names, version, {**counts, **dropped})
        return write(report, work.data)

    inputs = {f"reference.{number}": path for number, path in enumerate(reference)}
    inputs |= {f"judged.{number}": path for number, path in enumerate(judged)}
    versions = {} if judged else {"alpaca_eval": installed_version()}
    return produce(BENCHMARK.name, config, inputs, evaluation, make, arguments={"versions": versions})


def _places(paths: Sequence[Path]) -> str:
    return " and ".join("/".join(path.parts[-2:]) for path in paths)


def _drawn(config: JudgeCheckConfig, by_pair: Mapping[Pair, Annotated]) -> dict[Pair, Annotated]:
    """The pairs that are used, in an order that depends on nothing but themselves; more of them hold the fewer ones."""
    pairs = sorted(by_pair, key=lambda pair: (pair.instruction, pair.reference, pair.model))
    if config.limit is not None and config.limit < len(pairs):
        order = random.Random(config.seed).sample(range(len(pairs)), len(pairs))  # noqa: S311 - no secret
        chosen = {*order[: config.limit]}
        pairs = [pair for place, pair in enumerate(pairs) if place in chosen]
    return {pair: by_pair[pair] for pair in pairs}


def _asked(
    config: JudgeCheckConfig, judge: LlmJudgeConfig, drawn: Mapping[Pair, Annotated], kept: Path, work: WorkDir
) -> tuple[Annotations, Counts]:
    """What the judge says of the pairs, and how many are too long for it, or name neither answer."""
    if not has_decisions(kept):
        require_askable(judge)
    pairs, orders = [*drawn], []
    with open_decisions(kept, limit=judge.max_calls) as store:
        asked = (config.protocol, judge.model, pairs, store, completions(judge), BENCHMARK.name)
        if config.both_orders:
            first, second = judge_in_both_orders(*asked)
            judged, orders = mean_of_orders(first, second), [*zip(first.preferences, second.preferences, strict=True)]
        else:
            judged = judge_pairs(*asked)
        store.save(work.data / "decisions.jsonl")
    generators = [one.generators for one in drawn.values()]
    write_annotations(work.data / ANNOTATIONS, config.protocol, pairs, generators, judged, orders)
    return read_annotations([work.data / ANNOTATIONS], judge_name(judge.model, config.protocol)), judged.counts
