"""The step `mixeval`: a policy's answers to MixEval's questions, judged."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from larpo_lib.artifacts import Metrics, WorkDir, digest, produce
from larpo_lib.errors import ConfigError
from larpo_lib.evaluation.answers import asking, replies, with_cut_told
from larpo_lib.evaluation.benchmark import Effort
from larpo_lib.evaluation.mixeval import BENCHMARK
from larpo_lib.evaluation.mixeval.judging import judge_responses, needs_judge
from larpo_lib.evaluation.mixeval.prompts import asked
from larpo_lib.evaluation.mixeval.questions import (
    FREE_FORM,
    KIND_NAMES,
    MULTIPLE_CHOICE,
    Question,
    answered,
    check_set,
    read_answers,
    read_questions,
)
from larpo_lib.evaluation.mixeval.report import make_report
from larpo_lib.evaluation.mixeval.scoring import read_judged
from larpo_lib.evaluation.mixeval.settings import MixEvalConfig
from larpo_lib.files import write_json_lines
from larpo_lib.judging.completions import completions
from larpo_lib.judging.decisions import decisions as open_decisions
from larpo_lib.judging.decisions import has_decisions
from larpo_lib.judging.known_judges import require_askable
from larpo_lib.reporting.benchmark import write
from larpo_lib.tables import Counts

JUDGED = "judged.jsonl"


def run(
    config: MixEvalConfig,
    *,
    free_form: Path,
    multiple_choice: Path,
    evaluation: Path,
    policy: Path | None = None,
    answers: Sequence[Path] = (),
    decisions: Path | None = None,
) -> Metrics:
    """Let a policy answer MixEval's questions, or take its answers, have them judged, and publish the scores.

    The artifact holds the answers in the official output format (`free-form.answers.jsonl`,
    `multiple-choice.answers.jsonl`), `judged.jsonl`, which `larpo score mixeval` reads, the judge's decisions that were
    used, and the report.

    Args:
        config: how answers are made and judged.
        free_form: published file of free-form questions.
        multiple_choice: published file of multiple-choice questions.
        evaluation: artifact to publish.
        policy: directory of the policy; not with `answers`.
        answers: files of answers in the official output format; not with `policy`.
        decisions: file that keeps the judge's decisions; `<evaluation>.decisions.jsonl` if not given.

    Raises:
        ConfigError: neither policy nor answers, or both; more judge calls are needed than allowed; or
            the judge is shut down.
        DataError: a file is not as published.
        EndpointError: the judge's server does not answer.
    """
    if (policy is None) == (not answers):
        raise ConfigError("mixeval needs either a policy or answers", remedy="Pass --policy or --answers")
    of_kinds = [_questions(config, free_form, FREE_FORM), _questions(config, multiple_choice, MULTIPLE_CHOICE)]
    given = read_answers(answers, [*of_kinds[0], *of_kinds[1]]) if answers else None
    questions = [question for of_kind in of_kinds for question in of_kind[: config.limit]]
    endpoint = completions(config.judge)
    kept = decisions or evaluation.with_name(f"{evaluation.name}.decisions.jsonl")

    def make(work: WorkDir) -> Metrics:
        if not has_decisions(kept):
            require_askable(config.judge)
        if policy is None:
            assert given is not None
            responses, counts, name = given, Counts(), " and ".join(path.name for path in answers)
        else:
            responses, counts = _responses(config, policy, questions, work)
            name = digest(policy)[:16]
        with open_decisions(kept, limit=config.judge.max_calls) as store:
            judged, further = judge_responses(config, questions, responses, store, endpoint)
            store.save(work.data / "decisions.jsonl")
        write_json_lines(work.data / JUDGED, judged)
        for kind, file in KIND_NAMES.items():
            of_kind = [question for question in questions if question.kind == kind and question.key in responses]
            rows = [answered(question, asked(question), responses[question.key]) for question in of_kind]
            write_json_lines(work.data / f"{file}.answers.jsonl", rows)
        report = make_report(config, questions, read_judged([work.data / JUDGED]), name, {**counts, **further})
        return write(with_cut_told(report, config.answers), work.data)

    inputs = {"free_form": free_form, "multiple_choice": multiple_choice}
    inputs |= {"policy": policy} if policy is not None else {}
    inputs |= {f"answers.{number}": path for number, path in enumerate(answers)}
    return produce(BENCHMARK.name, config, inputs, evaluation, make)


def effort(config: MixEvalConfig, files: Mapping[str, Path], _heldout: int | None) -> Effort:
    """A response to each question, and as many calls about those that the judge reads as there may be attempts."""
    kinds = {"free_form": FREE_FORM, "multiple_choice": MULTIPLE_CHOICE}
    asked = [one for name, kind in kinds.items() for one in _questions(config, files[name], kind)[: config.limit]]
    return Effort(len(asked), config.attempts * sum(needs_judge(config, one) for one in asked))


def _questions(config: MixEvalConfig, path: Path, kind: str) -> list[Question]:
    questions = read_questions(path, kind)
    check_set(questions, config.benchmark, config.version, path)
    return questions


def _responses(
    config: MixEvalConfig, policy: Path, questions: Sequence[Question], work: WorkDir
) -> tuple[dict[str, str], Counts]:
    """The policy's response to each question, by its key."""
    system = config.answers.system_message
    prompts = {question.key: asking(asked(question), BENCHMARK.name, system) for question in questions}
    said, counts = replies(BENCHMARK.name, config.answers, policy, prompts, work)
    del counts["prompts_too_long_dropped"]  # of distinct questions
    distinct, too_long = counts.pop("prompts"), len(questions) - len(said)
    return said, {**counts, "distinct_questions": distinct, "prompts_too_long_dropped": too_long}
