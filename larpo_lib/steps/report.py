"""The step `report`: a run's artifacts to one HTML page, its figures and a summary for the terminal."""

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from larpo_lib.artifacts import AGAIN, Metrics, WorkDir, digest, produce, read_manifest, read_metrics
from larpo_lib.config import ReportConfig
from larpo_lib.config.differences import differences
from larpo_lib.contamination import trained_on
from larpo_lib.errors import ArtifactError
from larpo_lib.files import read_json, write_json
from larpo_lib.provenance import RecordedEvaluation, read_settings, scored_text
from larpo_lib.reporting import content, drawing, page
from larpo_lib.reporting.examples import Example, choose_examples
from larpo_lib.reporting.figures import panels
from larpo_lib.reporting.hacking import FILE as HACKING
from larpo_lib.reporting.held_out import QUALITY_COLUMNS
from larpo_lib.reporting.quality import Change, Quality, headline, summarize
from larpo_lib.reporting.table import summary_table
from larpo_lib.statistics.estimates import Bootstrap
from larpo_lib.steps.report_hacking import read_hacking
from larpo_lib.tables import PromptTable, iterate_table, rewards_and_lengths
from larpo_lib.training.advice import diagnose
from larpo_lib.training.history import read_history

_HELD_OUT = "prepare.heldout"
_EXAMPLE_COLUMNS = (
    "prompt_id", "sample_index", "temperature", "response", "num_tokens", "finish_reason", "reward", "correct",
)  # fmt: skip


@dataclass(frozen=True)
class _Artifact:
    """An artifact, its place in the run (0: before the first iteration), and a name of its own."""

    name: str
    iteration: int
    path: Path

    def manifest(self) -> dict[str, Any]:
        """Its manifest; held-out prompts, even of a source of their own, are of another step than the training's."""
        manifest = read_manifest(self.path)
        return {**manifest, "step": _HELD_OUT} if self.name == "prompts" else manifest


@dataclass(frozen=True)
class _Sources:
    """The artifacts of a run, by iteration; `evaluations` holds the starting policy's first."""

    prompts: Path
    evaluations: Sequence[Path]
    preparations: Sequence[Path]
    candidates: Sequence[Path]
    ranked: Sequence[Path]
    lists: Sequence[Path]
    policies: Sequence[Path]
    promotion: Path | None
    benchmarks: Sequence[Path]

    def inputs(self) -> dict[str, Path]:
        """Every artifact under its name."""
        named = {artifact.name: artifact.path for artifact in self.artifacts()}
        named |= {f"benchmark_{i}": path for i, path in enumerate(self.benchmarks)}
        return named if self.promotion is None else {**named, "promotion": self.promotion}

    def artifacts(self) -> Iterator[_Artifact]:
        """Every artifact but the promotion, in the order of the run."""
        yield from (_Artifact(f"preparation_{i}", 0, path) for i, path in enumerate(self.preparations))
        yield _Artifact("prompts", 0, self.prompts)
        for name in ("candidates", "ranked", "lists", "policies"):
            yield from (_Artifact(f"{name}_{i}", i, path) for i, path in enumerate(getattr(self, name), start=1))
        yield from (_Artifact(f"evaluation_{i}", i, path) for i, path in self.measured().items())

    def measured(self) -> dict[int, Path]:
        """The evaluations by iteration."""
        return dict(zip(self.evaluated(), self.evaluations, strict=True))

    def evaluated(self) -> Sequence[int]:
        """The iterations that were evaluated: all, or the start and the last one only."""
        iterations = len(self.policies)
        return [0, iterations] if len(self.evaluations) == 2 else range(iterations + 1)


def run(
    config: ReportConfig,
    *,
    prompts: Path,
    evaluations: Sequence[Path],
    ranked: Sequence[Path],
    lists: Sequence[Path],
    policies: Sequence[Path],
    promotion: Path | None,
    report: Path,
    preparations: Sequence[Path] = (),
    candidates: Sequence[Path] = (),
    benchmarks: Sequence[Path] = (),
) -> Metrics:
    """Write `report.html`, `figures/*.png`, `summary.txt` and `reward_hacking.json`.

    Args:
        config: title and number of examples.
        prompts: artifact of the evaluated prompts.
        evaluations: artifacts of the starting policy's evaluation and of each iteration's, or of the last one's only.
        ranked: artifacts of ranked candidates, one an iteration; `lists` and `policies` likewise.
        promotion: artifact of the gate's decision, if there was a gate.
        report: artifact to make.
        preparations: artifacts of what came before the first iteration (prompts to train on, demonstrations, SFT) whose
            drops and settings the page is to list as well.
        candidates: artifacts of sampled candidates, for the same purpose and for their diversity.
        benchmarks: artifacts of benchmarks that measured some of the evaluated policies.

    Returns:
        How many prompts got `better`, `worse`, stayed the `same` or are `undecided`, how many examples are shown, and
        with `preparations` how many held-out prompts are among them.

    Raises:
        ArtifactError: an artifact is missing, their numbers do not fit one run, the evaluations' settings differ, or a
            benchmark measured another policy.
    """
    sources = _Sources(prompts, evaluations, preparations, candidates, ranked, lists, policies, promotion, benchmarks)
    _check_numbers(sources)
    _check_alike(evaluations)

    def make(work: WorkDir) -> Metrics:
        built = _build(config, sources)
        drawn = panels(built)
        (work.data / "figures").mkdir()
        for panel in (panel for group in drawn.values() for panel in group):
            (work.data / "figures" / f"{panel.name}.png").write_bytes(drawing.png(panel))
        (work.data / "report.html").write_text(page.render(built, drawn), "utf-8")
        summary = summary_table({number: read_metrics(path) for number, path in sources.measured().items()})
        (work.data / "summary.txt").write_text(summary + "\n", "utf-8")
        write_json(work.data / HACKING, built.hacking.to_json())
        compared = {"heldout_trained_on": built.trained_on} if sources.preparations else {}
        return {"examples": len(built.examples), **built.outcomes, **compared}

    return produce("report", config, sources.inputs(), report, make)


def _check_numbers(sources: _Sources) -> None:
    evaluations, iterations = len(sources.evaluations), len(sources.policies)
    for name in ("ranked", "lists", "policies", *(["candidates"] if sources.candidates else [])):
        given = len(getattr(sources, name))
        if given != iterations or iterations < 1 or evaluations not in (2, iterations + 1):
            raise ArtifactError(
                f"report: {given} {name} do not match {evaluations} evaluations",
                remedy=f"Pass one of {name} for each iteration, and the evaluations of the starting policy and of each "
                "iteration, in this order; or only the evaluations of the starting policy and of the last iteration",
            )


def _check_alike(evaluations: Sequence[Path]) -> None:
    """Numbers of evaluations with different settings must not stand in one table."""
    first, *others = evaluations
    settings = read_manifest(first)["config"]
    for path in others:
        different = differences(read_manifest(path)["config"], settings)
        if different:
            raise ArtifactError(
                f"{path}: its settings differ from those of {first}: {different}",
                remedy="Evaluate all policies with the same settings",
            )


def _build(config: ReportConfig, sources: _Sources) -> content.Report:
    evaluate = read_settings(sources.evaluations[0], RecordedEvaluation)
    judged, bootstrap = evaluate.judge is not None, Bootstrap.of(evaluate)
    qualities, compared, prompts = _qualities(sources, bootstrap, judged=judged)
    examples, outcomes = _examples(sources, config.examples)
    histories = [read_history(path) for path in sources.policies]
    columns = ["start", *(f"iteration {number}" for number in range(1, len(sources.policies) + 1))]
    artifacts = [(item.iteration, item.manifest(), read_metrics(item.path)) for item in sources.artifacts()]
    return content.Report(
        title=config.title,
        confidence=evaluate.confidence,
        headline=compared,
        qualities=qualities,
        judged=judged,
        prompts=prompts,
        lists=[
            {"iteration": number, "ranked": read_metrics(ranked), "lists": read_metrics(lists)}
            for number, (ranked, lists) in enumerate(zip(sources.ranked, sources.lists, strict=True), start=1)
        ],
        diversity=[
            row
            for number, path in enumerate(sources.candidates, start=1)
            for row in content.sample_diversity(number, read_metrics(path))
        ],
        length_curves=[
            content.length_curve(number, *rewards_and_lengths(path, scored_text(path)))
            for number, path in enumerate(sources.ranked, start=1)
        ],
        hacking=read_hacking(sources.measured(), sources.ranked[-1], histories, sources.benchmarks, bootstrap),
        histories=[content.history(rows) for rows in histories],
        fixed_reference=any("reference" in read_manifest(path)["inputs"] for path in sources.policies),
        diagnoses=[
            asdict(diagnose(rows, read_manifest(policy)["config"], read_metrics(ranked)["reward_std"]))
            for rows, policy, ranked in zip(histories, sources.policies, sources.ranked, strict=True)
        ],
        examples=examples,
        outcomes=outcomes,
        drop_columns=columns,
        drops=content.drops([(manifest["step"], i, metrics) for i, manifest, metrics in artifacts], len(columns)),
        settings=content.settings([(columns[i], manifest) for i, manifest, _ in artifacts]),
        versions=_versions(read_manifest(sources.policies[-1])),
        trained_on=len(set[Hashable]().union(*trained_on(sources.prompts, sources.preparations))),
        promotion=None if sources.promotion is None else _promotion(sources.promotion, sources.evaluations, qualities),
    )


def _qualities(sources: _Sources, bootstrap: Bootstrap, *, judged: bool) -> tuple[list[Quality], list[Change], int]:
    """The quality of each policy, what changed from the first to the last, and how many prompts the last has.

    Values prompt by prompt are left out of them: later nobody asks for these, and in a large report they would take
    most of the memory.
    """
    qualities = [
        summarize(
            number, bootstrap, read_metrics(path), iterate_table(path, "evaluated", QUALITY_COLUMNS), judged=judged
        )
        for number, path in sources.measured().items()
    ]
    first, last = qualities[0], qualities[-1]
    compared, prompts = headline(first, last, bootstrap, judged=judged), len(last.values["reward"])
    return [replace(quality, values={}) for quality in qualities], compared, prompts


def _examples(sources: _Sources, wanted: int) -> tuple[list[Example], dict[str, int]]:
    first, last = (PromptTable(sources.evaluations[i], "evaluated", _EXAMPLE_COLUMNS) for i in (0, -1))
    return choose_examples(_prompts(sources, first), first, last, wanted)


def _prompts(sources: _Sources, evaluated: PromptTable) -> PromptTable:
    rows = PromptTable(sources.prompts, "prompts")
    for prompt_id in evaluated:
        if prompt_id not in rows:
            raise ArtifactError(
                f"{sources.prompts}: does not contain the evaluated prompt {prompt_id}",
                remedy="Pass the prompts artifact from which the evaluations were made",
            )
    return rows


def _promotion(promotion: Path, evaluations: Sequence[Path], qualities: Sequence[Quality]) -> dict[str, Any]:
    """The gate's decision, and whose policy it was about: with early stop not always the last one's."""
    decision: dict[str, Any] = read_json(promotion / "promotion.json", remedy=AGAIN)
    judged = read_manifest(promotion)["inputs"]["evaluation"]
    names = [quality.name for quality, path in zip(qualities, evaluations, strict=True) if digest(path) == judged]
    if not names:
        raise ArtifactError(
            f"{promotion}: does not belong to any of these evaluations", remedy="Pass the promotion of the same run"
        )
    return {**decision, "policy": names[-1]}


def _versions(manifest: dict[str, Any]) -> list[tuple[str, str]]:
    return list({"larpo": manifest["code"], **dict(sorted(manifest["libraries"].items()))}.items())
