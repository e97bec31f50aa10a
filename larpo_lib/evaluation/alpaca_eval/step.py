"""The step `alpaca_eval`: a policy's answers to AlpacaEval's instructions, judged against the reference's."""

from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path

from larpo_lib.artifacts import Metrics, WorkDir, digest, produce
from larpo_lib.config import EvaluateConfig
from larpo_lib.endpoint import Endpoint
from larpo_lib.errors import ConfigError
from larpo_lib.evaluation.alpaca_eval import BENCHMARK
from larpo_lib.evaluation.alpaca_eval.files import (
    Outputs,
    read_length_control,
    read_outputs,
    require_whole,
    write_outputs,
    write_preferences,
)
from larpo_lib.evaluation.alpaca_eval.report import judged_by, make_report
from larpo_lib.evaluation.alpaca_eval.scoring import Comparison, LengthControl, row_of, score
from larpo_lib.evaluation.alpaca_eval.settings import AlpacaEvalConfig
from larpo_lib.evaluation.annotations import write_annotations
from larpo_lib.evaluation.answers import asking, replies, with_cut_told
from larpo_lib.evaluation.benchmark import Effort
from larpo_lib.evaluation.judge_checks import check_told
from larpo_lib.judging.completions import completions
from larpo_lib.judging.decisions import Answer, has_decisions
from larpo_lib.judging.decisions import decisions as open_decisions
from larpo_lib.judging.known_judges import require_askable
from larpo_lib.judging.pairs import Judgements, Pair, judge_in_both_orders, judge_pairs, mean_of_orders
from larpo_lib.reporting.benchmark import write
from larpo_lib.tables import Counts


def run(
    config: AlpacaEvalConfig,
    *,
    reference: Path,
    evaluation: Path,
    gamed: Path | None = None,
    difficulty: Path | None = None,
    policy: Path | None = None,
    answers: Path | None = None,
    decisions: Path | None = None,
    judge_check: Path | None = None,
) -> Metrics:
    """Let a policy answer AlpacaEval's instructions, or take its answers, have them judged, and publish the scores.

    The artifact holds the answers in the published format (`outputs.json`), what the judge said of each
    (`annotations.json`), `preferences.csv`, which `larpo score alpaca_eval` reads, the judge's decisions that were
    used, and the report.

    Args:
        config: how answers are made and judged.
        reference: the reference's answers; their instructions are what is asked.
        evaluation: artifact to publish.
        gamed: gamed rows; None: no length-controlled win rate.
        difficulty: difficulties of instructions; None: what `gamed` says of them.
        policy: directory of the policy; not with `answers`.
        answers: answers in the published format; not with `policy`.
        decisions: file that keeps the judge's decisions; `<evaluation>.decisions.jsonl` if not given.
        judge_check: artifact of `judge_check` about this judge, which the report shows.

    Raises:
        ConfigError: neither policy nor answers, or both; the official package is missing; the set is not whole; more
            judge calls are needed than allowed; or the judge is shut down.
        DataError: a file is missing or not as published.
        EndpointError: the judge's server does not answer.
    """
    if (policy is None) == (answers is None):
        raise ConfigError("alpaca_eval needs either a policy or answers", remedy="Pass --policy or --answers")
    versions = {**BENCHMARK.require(), "scikit-learn": metadata.version("scikit-learn")}
    control = read_length_control(gamed, difficulty)
    asked = read_outputs(reference, kind="reference")
    _check_set(config, asked, control, reference)
    given = None if answers is None else read_outputs(answers)
    told = check_told(judge_check, judged_by(config))
    endpoint = completions(config.judge)
    kept = decisions or evaluation.with_name(f"{evaluation.name}.decisions.jsonl")

    def make(work: WorkDir) -> Metrics:
        if not has_decisions(kept):
            require_askable(config.judge)
        if given is not None:
            name, (responses, counts) = given.generator, _of_the_set(given, asked)
        else:
            assert policy is not None
            name, (responses, counts) = digest(policy)[:16], _answered(config, policy, asked, work)
        require_whole(len(responses), f"answers of {name}", partial=config.partial)
        pairs = [Pair(key, text, responses[key]) for key, text in asked.by_instruction.items() if key in responses]
        judged, orders = _judge(config, pairs, kept, endpoint, work)
        compared = {
            pair.instruction: Comparison(row_of(pair.instruction), value, len(pair.reference), len(pair.model))
            for pair, value in zip(pairs, judged.preferences, strict=True)
        }
        write_outputs(work.data / "outputs.json", name, {pair.instruction: pair.model for pair in pairs})
        write_preferences(work.data / "preferences.csv", name, compared.values())
        generators = [(asked.generator, name)] * len(pairs)
        write_annotations(work.data / "annotations.json", config.protocol, pairs, generators, judged, orders)
        counts |= judged.counts
        scores = score([*compared.values()], control)
        report = make_report(config, name, asked.generator, compared, scores, counts, asked.datasets, told)
        return write(with_cut_told(report, config.answers), work.data)

    named = {"reference": reference, "gamed": gamed, "difficulty": difficulty, "policy": policy, "answers": answers}
    inputs = {key: path for key, path in [*named.items(), ("judge_check", judge_check)] if path is not None}
    return produce(BENCHMARK.name, config, inputs, evaluation, make, arguments={"versions": versions})


def effort(config: AlpacaEvalConfig, files: Mapping[str, Path], _heldout: int | None) -> Effort:
    """A response to each instruction, and a call about each, or two."""
    asked = len(read_outputs(files["reference"], kind="reference").by_instruction)
    return Effort(asked, asked * (2 if config.both_orders else 1))


def impossible(_config: AlpacaEvalConfig, metric: str, files: Mapping[str, str], _evaluate: EvaluateConfig) -> str:
    """Why the files cannot give a metric with a value for each instruction; else nothing."""
    if metric == "average_length":
        return "it is reported without a value for each instruction"
    if metric == "lc_win_rate" and "gamed" not in files:
        return "it needs the gamed rows, loop.benchmark_files.alpaca_eval.gamed"
    return ""


def _check_set(config: AlpacaEvalConfig, asked: Outputs, control: LengthControl | None, reference: Path) -> None:
    require_whole(len(asked.by_instruction), str(reference), partial=config.partial)
    foreign = sum(row_of(instruction) is None for instruction in asked.by_instruction)
    if foreign and (control is not None or not config.partial):
        raise ConfigError(
            f"{reference}: {foreign} of {len(asked.by_instruction)} instructions are not from AlpacaEval",
            remedy="Remove them; or set alpaca_eval.partial = true and remove --gamed, for a win rate without length "
            "control",
        )


def _of_the_set(given: Outputs, asked: Outputs) -> tuple[dict[str, str], Counts]:
    kept = {key: text for key, text in given.by_instruction.items() if key in asked.by_instruction}
    return kept, {
        "answers_without_reference_dropped": len(given.by_instruction) - len(kept),
        "unanswered_dropped": len(asked.by_instruction) - len(kept),
    }


def _answered(config: AlpacaEvalConfig, policy: Path, asked: Outputs, work: WorkDir) -> tuple[dict[str, str], Counts]:
    prompts = {instruction: asking(instruction, BENCHMARK.name) for instruction in asked.by_instruction}
    said, counts = replies(BENCHMARK.name, config.answers, policy, prompts, work)
    return said, {name: count for name, count in counts.items() if name != "prompts"}


def _judge(
    config: AlpacaEvalConfig, pairs: Sequence[Pair], kept: Path, endpoint: Endpoint[Answer], work: WorkDir
) -> tuple[Judgements, list[tuple[float | None, float | None]]]:
    """What the judge says of each pair, and what it said in each order if it was asked in both."""
    with open_decisions(kept, limit=config.judge.max_calls) as store:
        asked = (config.protocol, config.judge.model, pairs, store, endpoint, BENCHMARK.name)
        if config.both_orders:
            first, second = judge_in_both_orders(*asked)
            judged, orders = mean_of_orders(first, second), [*zip(first.preferences, second.preferences, strict=True)]
        else:
            judged, orders = judge_pairs(*asked), []
        store.save(work.data / "decisions.jsonl")
    return judged, orders
