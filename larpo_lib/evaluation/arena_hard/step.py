"""The step `arena_hard`: a policy's answers to Arena-Hard's questions, judged against the baselines'."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from larpo_lib.artifacts import Metrics, WorkDir, digest, produce
from larpo_lib.config import EvaluateConfig
from larpo_lib.errors import ConfigError
from larpo_lib.evaluation.annotations import write_annotations
from larpo_lib.evaluation.answers import asking, replies, with_cut_told
from larpo_lib.evaluation.arena_hard import BENCHMARK
from larpo_lib.evaluation.arena_hard.files import (
    TITLES,
    Answer,
    Answers,
    Question,
    answer_row,
    check_set,
    judgement_row,
    read_answers,
    read_questions,
    require_answers,
)
from larpo_lib.evaluation.arena_hard.judging import Pair, judge_pairs
from larpo_lib.evaluation.arena_hard.report import PROTOCOL, Judged, judged_by, make_report
from larpo_lib.evaluation.arena_hard.settings import ArenaHardConfig
from larpo_lib.evaluation.benchmark import Effort
from larpo_lib.evaluation.judge_checks import check_told
from larpo_lib.files import write_json_lines
from larpo_lib.judging.completions import completions
from larpo_lib.judging.decisions import decisions as open_decisions
from larpo_lib.judging.decisions import has_decisions
from larpo_lib.judging.known_judges import require_askable
from larpo_lib.judging.pairs import Judgements
from larpo_lib.judging.pairs import Pair as Annotated
from larpo_lib.reporting.benchmark import write
from larpo_lib.tables import Counts

ANSWERS, JUDGMENTS, ANNOTATIONS = "answers.jsonl", "judgments.jsonl", "annotations.json"


@dataclass(frozen=True)
class _Asked:
    """The questions that are asked, the baselines' answers by category, and how many are not asked."""

    questions: Sequence[Question]
    baselines: Mapping[str, Answers]
    not_asked: int


def run(
    config: ArenaHardConfig,
    *,
    questions: Path,
    evaluation: Path,
    hard_prompt_baseline: Path | None = None,
    creative_writing_baseline: Path | None = None,
    policy: Path | None = None,
    answers: Path | None = None,
    decisions: Path | None = None,
    judge_check: Path | None = None,
) -> Metrics:
    """Let a policy answer Arena-Hard's questions, or take its answers, have them judged, and publish the scores.

    The artifact holds the answers (`answers.jsonl`) and the judgements (`judgments.jsonl`) in the official formats,
    which `larpo score arena-hard` reads, the latter also as AlpacaEval has them (`annotations.json`), which
    `larpo judge-check` reads, the judge's decisions that were used, and the report.

    Args:
        config: how answers are made and judged.
        questions: the published questions.
        evaluation: artifact to publish.
        hard_prompt_baseline, creative_writing_baseline: what answers are compared with; None: the category is not
            asked.
        policy: directory of the policy; not with `answers`.
        answers: answers in the official format; not with `policy`.
        decisions: file that keeps the judge's decisions; `<evaluation>.decisions.jsonl` if not given.
        judge_check: artifact of `judge_check` about this judge, which the report shows.

    Raises:
        ConfigError: neither policy nor answers, or both; no baseline; the set is not whole; more judge calls are
            needed than allowed; or the judge is shut down.
        DataError: a file is missing or not as published.
        EndpointError: the judge's server does not answer.
    """
    if (policy is None) == (answers is None):
        raise ConfigError("arena_hard needs either a policy or answers", remedy="Pass --policy or --answers")
    named = {"hard_prompt": hard_prompt_baseline, "creative_writing": creative_writing_baseline}
    files = {category: path for category, path in named.items() if path is not None}
    versions = BENCHMARK.require()
    asked = _read(config, questions, files)
    given = None if answers is None else read_answers(answers)
    if given is not None and not config.partial:
        require_answers(asked.questions, given)
    told = check_told(judge_check, judged_by(config), config.judge.model)
    endpoint = completions(config.judge)
    kept = decisions or evaluation.with_name(f"{evaluation.name}.decisions.jsonl")

    def make(work: WorkDir) -> Metrics:
        if not has_decisions(kept):
            require_askable(config.judge)
        if given is not None:
            model, counts = given, _dropped(given, asked.questions)
        else:
            assert policy is not None
            model, counts = _answered(config, policy, asked.questions, work)
        pairs = _pairs(asked, model)
        with open_decisions(kept, limit=config.judge.max_calls) as store:
            said = judge_pairs(config, pairs, store, endpoint)
            store.save(work.data / "decisions.jsonl")
        names = {category: (model.model, of_category.model) for category, of_category in asked.baselines.items()}
        judged = [Judged.of(config, pair, names[pair.question.category], games) for pair, games in said]
        _write(work.data, model.model, judged)
        counts |= {"questions": len(asked.questions), "not_asked": asked.not_asked}
        report = make_report(config, model.model, judged, counts, told)
        return write(with_cut_told(report, config.answers), work.data)

    inputs = {"questions": questions, "policy": policy, "answers": answers, "judge_check": judge_check}
    inputs |= {f"{category}_baseline": path for category, path in files.items()}
    found = {key: path for key, path in inputs.items() if path is not None}
    return produce(BENCHMARK.name, config, found, evaluation, make, arguments={"versions": versions})


def effort(config: ArenaHardConfig, files: Mapping[str, Path], _heldout: int | None) -> Effort:
    """A response to each question of a category that has a baseline, and two calls about each."""
    named = {name.removesuffix("_baseline"): path for name, path in files.items() if name.endswith("_baseline")}
    asked = len(_read(config, files["questions"], named).questions)
    return Effort(asked, 2 * asked)


def impossible(_config: ArenaHardConfig, metric: str, files: Mapping[str, str], _evaluate: EvaluateConfig) -> str:
    """Why the baselines cannot give a metric; else nothing."""
    category = next((name for name in TITLES if metric.startswith(f"{name}_")), None)
    if category is None:
        return f"the categories are {' and '.join(TITLES)}"
    baseline = f"{category}_baseline"
    return "" if baseline in files else f"it needs loop.benchmark_files.arena_hard.{baseline}"


def _read(config: ArenaHardConfig, questions: Path, baselines: Mapping[str, Path]) -> _Asked:
    if not baselines:
        remedy = "Pass --hard-prompt-baseline, --creative-writing-baseline, or both"
        raise ConfigError("arena_hard needs a baseline", remedy=remedy)
    every = read_questions(questions)
    asked: list[Question] = []
    found: dict[str, Answers] = {}
    for category, path in baselines.items():
        of_category = [one for one in every if one.category == category]
        check_set(category, of_category, questions, partial=config.partial)
        found[category] = read_answers(path)
        require_answers(of_category, found[category])
        asked += of_category
    return _Asked(asked, found, len(every) - len(asked))


def _pairs(asked: _Asked, model: Answers) -> list[Pair]:
    pairs = [
        Pair(one, asked.baselines[one.category].by_question[one.uid], model.by_question[one.uid])
        for one in asked.questions
        if one.uid in model.by_question
    ]
    if not pairs:
        raise ConfigError(
            f"{model.model} has answered none of the {len(asked.questions)} questions",
            remedy="Increase arena_hard.answers.max_prompt_tokens, or pass answers to these questions",
        )
    return pairs


def _write(folder: Path, model: str, judged: Sequence[Judged]) -> None:
    """Write answers and judgements in the official formats, and in that of AlpacaEval."""
    pairs = [one.pair for one in judged]
    write_json_lines(folder / ANSWERS, (answer_row(model, pair.question, pair.model) for pair in pairs))
    write_json_lines(folder / JUDGMENTS, (judgement_row(one.judgement, one.texts) for one in judged))
    said = Judgements(
        preferences=[one.preference for one in judged],
        completions=[None if text is None else {"text": text} for text, _ in (one.texts for one in judged)],
        model_first=[False] * len(judged),
    )
    texts = [Annotated(pair.question.prompt, pair.baseline.text, pair.model.text) for pair in pairs]
    names = [(one.judgement.baseline, model) for one in judged]
    write_annotations(folder / ANNOTATIONS, PROTOCOL, texts, names, said, [one.orders for one in judged])


def _dropped(given: Answers, asked: Sequence[Question]) -> Counts:
    known = {one.uid for one in asked}
    return {
        "answers_without_question_dropped": len(given.by_question.keys() - known),
        "unanswered_dropped": len(known - given.by_question.keys()),
    }


def _answered(
    config: ArenaHardConfig, policy: Path, asked: Sequence[Question], work: WorkDir
) -> tuple[Answers, Counts]:
    prompts = {one.uid: asking(one.prompt, BENCHMARK.name) for one in asked}
    said, counts = replies(BENCHMARK.name, config.answers, policy, prompts, work)
    answers = Answers(digest(policy)[:16], policy, {uid: Answer(text) for uid, text in said.items()})
    return answers, {name: count for name, count in counts.items() if name != "prompts"}
