"""The benchmark GSM8K: a policy's responses, or solutions made before, and how many are right."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from larpo_lib.artifacts import Metrics, WorkDir, digest, produce
from larpo_lib.config import EvaluateConfig
from larpo_lib.errors import ConfigError, DataError
from larpo_lib.evaluation.answers import answers as answer
from larpo_lib.evaluation.benchmark import Effort, not_from_1_to
from larpo_lib.evaluation.gsm8k.files import Problem, Solved, read_problems, read_solutions
from larpo_lib.evaluation.gsm8k.scoring import Judged, conversation, judge, report
from larpo_lib.evaluation.gsm8k.settings import Gsm8kConfig
from larpo_lib.files import write_json_lines
from larpo_lib.reporting.benchmark import write
from larpo_lib.samplers.candidates import greedy_and_sampled
from larpo_lib.schemas import LENGTH, PromptRow, prompt_id
from larpo_lib.statistics.estimates import Bootstrap
from larpo_lib.storage import cache_dir, fetch, is_remote
from larpo_lib.thinking import thought_counts, without_thoughts

SOLUTIONS = "solutions.jsonl"
_GREEDY, _SAMPLED = "greedy", "sampled_"
_ALONE = "Pass --policy and --problems, or only --answers"


@dataclass(frozen=True)
class _Responses:
    """The texts a problem got; None and nothing where it was too long to be asked."""

    problem: Problem
    greedy: str | None
    sampled: Sequence[str]


def run(
    config: Gsm8kConfig,
    *,
    evaluation: Path,
    policy: Path | None = None,
    problems: Path | None = None,
    answers: Path | None = None,
) -> Metrics:
    """Publish a policy's accuracy on `problems`, with every response in `solutions.jsonl`.

    Args:
        config: how the problems are asked, and how often.
        evaluation: artifact to publish.
        policy: directory of the policy.
        problems: file of question and answer.
        answers: instead of both: a file in the form of GSM8K's example_model_solutions.jsonl, or a solutions.jsonl.

    Raises:
        ConfigError: it is not clear what to score.
        DataError: a file is malformed.
    """
    if (answers is None) == (policy is None or problems is None) or (answers is not None and (policy or problems)):
        raise ConfigError("gsm8k needs a policy and problems, or answers", remedy=_ALONE)
    given = {"policy": policy, "problems": problems, "answers": answers}
    inputs = {name: path for name, path in given.items() if path is not None}
    if config.examples is not None:
        inputs["examples"] = _place(config.examples)

    def make(work: WorkDir) -> Metrics:
        if answers is not None:
            name, responses, counts = _given(config, answers)
            return _publish(config, f"answers of {name}", "as given", responses, counts, work)
        assert policy is not None
        assert problems is not None
        examples = _examples(config)
        responses, counts = _asked(config, policy, problems, examples, work)
        return _publish(config, digest(policy)[:16], _version(config, examples), responses, counts, work)

    return produce("gsm8k", config, inputs, evaluation, make)


def effort(config: Gsm8kConfig, files: Mapping[str, Path], _heldout: int | None) -> Effort:
    """A greedy response to each problem and the sampled ones; nobody is asked about them."""
    _examples(config)  # told now if they cannot be used
    problems, _ = read_problems(files["problems"], str(files["problems"]))
    return Effort(len(problems[: config.limit]) * (1 + config.n), 0)


def impossible(config: Gsm8kConfig, metric: str, _files: Mapping[str, str], _evaluate: EvaluateConfig) -> str:
    """Why the sampled responses cannot give a metric; else nothing."""
    if metric.startswith("pass_at_"):
        return not_from_1_to(config.n, metric.removeprefix("pass_at_"), "gsm8k.n")
    return "" if config.n or metric == "accuracy" else "no response is sampled with gsm8k.n = 0"


def _asked(
    config: Gsm8kConfig, policy: Path, path: Path, examples: Sequence[Problem], work: WorkDir
) -> tuple[list[_Responses], dict[str, int]]:
    problems, repeated = read_problems(path, str(path))
    chosen = problems[: config.limit]
    shown = [(example.question, example.answer) for example in examples]
    prompts = {problem.item_id: _prompt(problem, config.template, shown, path.name) for problem in chosen}
    draws = greedy_and_sampled(config.answers.temperature, config.n)
    found, counts = answer("gsm8k", config.answers, policy, list(prompts.values()), draws, work)
    responses = []
    for problem in chosen:
        texts = [without_thoughts(row["response"]) for row in found.get(prompts[problem.item_id]["prompt_id"], ())]
        responses.append(_Responses(problem, texts[0] if texts else None, texts[1:] or [""] * config.n))
    cut = sum(row["finish_reason"] == LENGTH for rows in found.values() for row in rows)
    return responses, {
        "problems": len(chosen),
        "repeated_problems_dropped": repeated,
        "over_limit_dropped": len(problems) - len(chosen),
        "prompts_too_long_counted_wrong": counts.get("prompts_too_long_dropped", 0),
        "responses": sum(map(len, found.values())),
        "truncated_responses": cut,
        **thought_counts(row["response"] for rows in found.values() for row in rows),
    }


def _prompt(problem: Problem, template: str, examples: Sequence[tuple[str, str]], source: str) -> PromptRow:
    messages = conversation(problem.question, template, examples)
    return {"prompt_id": prompt_id(messages), "messages": messages, "reference": problem.answer, "source": source}


def _examples(config: Gsm8kConfig) -> list[Problem]:
    if config.examples is None:
        return []
    found, _ = read_problems(_place(config.examples), config.examples)
    if len(found) < config.shots:
        raise DataError(
            f"contains {len(found)} examples, fewer than gsm8k.shots = {config.shots}",
            path=config.examples,
            remedy="Reduce gsm8k.shots",
        )
    return found[: config.shots]


def _place(examples: str) -> Path:
    return fetch(examples, cache_dir()) if is_remote(examples) else Path(examples)


def _version(config: Gsm8kConfig, examples: Sequence[Problem]) -> str:
    """What must be the same for accuracies to be compared: the template and the worked examples."""
    shown = json.dumps([config.template, [[example.question, example.answer] for example in examples]])
    return f"{len(examples)}-shot, prompt {sha256(shown.encode()).hexdigest()[:8]}"


def _given(config: Gsm8kConfig, path: Path) -> tuple[str, list[_Responses], dict[str, int]]:
    """Whose solutions are scored, and those."""
    solved = read_solutions(path, str(path))
    name, sampled = _columns(config, solved, path)
    chosen = solved[: config.limit]
    responses = [
        _Responses(one.problem, one.solutions[name], [one.solutions[column] for column in sampled]) for one in chosen
    ]
    return name, responses, {"problems": len(chosen), "over_limit_dropped": len(solved) - len(chosen)}


def _columns(config: Gsm8kConfig, solved: Sequence[Solved], path: Path) -> tuple[str, list[str]]:
    """Whose solutions are scored as the greedy ones, and which as sampled ones."""
    names = list(solved[0].solutions)
    if config.answers_of is None and _GREEDY in names:
        return _GREEDY, [name for name in names if name.startswith(_SAMPLED)]
    if config.answers_of in names:
        return config.answers_of, []
    if config.answers_of is None and len(names) == 1:
        return names[0], []
    raise ConfigError(
        f"{path}: contains solutions of {', '.join(names)}, but gsm8k.answers_of names "
        + ("none of them" if config.answers_of else "nobody"),
        remedy=f"Use --set gsm8k.answers_of={names[0]}",
    )


def _publish(
    config: Gsm8kConfig,
    policy: str,
    version: str,
    responses: Sequence[_Responses],
    counts: Mapping[str, int],
    work: WorkDir,
) -> Metrics:
    judged = {one.problem.item_id: judge(one.problem.answer, one.greedy, one.sampled) for one in responses}
    write_json_lines(work.data / SOLUTIONS, (_solution(one, judged[one.problem.item_id]) for one in responses))
    bootstrap = Bootstrap.of(config)
    return write(report(judged, policy=policy, version=version, counts=counts, bootstrap=bootstrap), work.data)


def _solution(one: _Responses, judged: Judged) -> dict[str, object]:
    """A row as GSM8K publishes solutions, with a column a response."""
    row: dict[str, object] = {"question": one.problem.question, "ground_truth": one.problem.answer}
    row[_GREEDY] = {"solution": one.greedy or "", "is_correct": judged.greedy == judged.wanted}
    for number, (text, answer_) in enumerate(zip(one.sampled, judged.sampled, strict=True)):
        row[f"{_SAMPLED}{number}"] = {"solution": text, "is_correct": answer_ == judged.wanted}
    return row
