"""The benchmark `lm_eval`: lets a policy do tasks of lm-eval, one after another, and publishes every sample."""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from larpo_lib.artifacts import Metrics, WorkDir, digest, produce
from larpo_lib.batches import kept_in
from larpo_lib.config import EvaluateConfig
from larpo_lib.evaluation.benchmark import Effort
from larpo_lib.evaluation.lm_eval import BENCHMARK
from larpo_lib.evaluation.lm_eval.official import official
from larpo_lib.evaluation.lm_eval.report import NO_ANSWER, Evaluated, Group, numbers_of, report
from larpo_lib.evaluation.lm_eval.settings import LmEvalConfig
from larpo_lib.files import is_sealed, make_directory, read_json_lines, seal, write_json_lines
from larpo_lib.models.model_dir import ModelDir
from larpo_lib.progress import progress
from larpo_lib.reporting.benchmark import write
from larpo_lib.samplers.base import SamplingLimits

SAMPLES = "samples"
_PERCENT = 100
_WHOLE = ("word_perplexity", "byte_perplexity", "bits_per_byte")


def run(
    config: LmEvalConfig,
    *,
    policy: Path,
    evaluation: Path,
    data: Path | None = None,
    own_tasks: Path | None = None,
) -> Metrics:
    """Publish lm-eval's numbers of a policy, with its samples in `samples/TASK.jsonl`.

    Args:
        config: which tasks, and how they are asked.
        policy: directory of the policy.
        evaluation: artifact to publish.
        data: folder of data sets, by their names on the hub.
        own_tasks: folder with YAML files of further tasks.

    Raises:
        ConfigError: there is no such task, or it cannot be evaluated here.
        DataError: the data of a task are missing.
        ModelError: the policy cannot be used.
    """
    package = BENCHMARK.require()["lm_eval"]
    with official(), TemporaryDirectory() as cache:
        from larpo_lib.evaluation.lm_eval.generation import check_generation
        from larpo_lib.evaluation.lm_eval.tasks import check_tasks, identity, load_tasks, max_length

        source = ModelDir(policy, config.sampler.model)
        longest = max_length(config, source.context_length)
        config.sampler.check(policy, SamplingLimits(longest - 1, 1, 1.0))
        tasks = load_tasks(config, data, own_tasks, Path(cache))
        check_tasks(tasks, config, longest)
        if config.sampler.type == "hf":
            for name, task in tasks.single.items():
                if task.get_config("output_type") == "generate_until":
                    check_generation(name, task.get_config("generation_kwargs") or {}, len(source.tokenizer))
        inputs = {"policy": policy} | ({} if own_tasks is None else {"own_tasks": own_tasks})

        def make(work: WorkDir) -> Metrics:
            evaluated = _evaluate(tasks.single, config, source, longest, work)
            groups = [_group(name, group, evaluated) for name, group in tasks.groups.items()]
            _write_samples(evaluated, work.data)
            return write(report(config, digest(policy)[:16], package, evaluated, groups), work.data)

        arguments = {"lm_eval": package, "tasks": identity(tasks, config)}
        return produce(BENCHMARK.name, config, inputs, evaluation, make, arguments=arguments)


def effort(_config: LmEvalConfig, _files: Mapping[str, Path], _heldout: int | None) -> Effort:
    """How many requests there are is known when the tasks' data are read; nobody judges the responses."""
    return Effort(None, 0)


def impossible(config: LmEvalConfig, metric: str, _files: Mapping[str, str], _evaluate: EvaluateConfig) -> str:
    """Why the settings cannot give a metric with a value for each item, as far as is known now; else nothing."""
    if metric.rpartition(".")[2] in _WHOLE:
        return "it relates all documents' log-probability to all their words or bytes, and has no value for each item"
    if any(metric.startswith(f"{task}.") for task in config.tasks):
        return ""
    BENCHMARK.require()
    with official():
        from larpo_lib.evaluation.lm_eval.index import names_of

        names = names_of(config.tasks)
    if names is None or any(metric.startswith(f"{task}.") for task in names):
        return ""
    return f"lm_eval.tasks has only {', '.join(config.tasks)}"


def _evaluate(
    tasks: Mapping[str, Any], config: LmEvalConfig, source: ModelDir, longest: int, work: WorkDir
) -> list[Evaluated]:
    """Each task in its turn; one that an earlier start has finished is read."""
    from larpo_lib.evaluation.lm_eval.policy import Policy

    asked = Policy(source, config, longest)
    try:
        return [_kept(name, task, config, asked, work.scratch) for name, task in tasks.items()]
    finally:
        asked.close()


def _kept(name: str, task: Any, config: LmEvalConfig, asked: Any, scratch: Path) -> Evaluated:
    part = scratch / f"{_file_name(name)}.jsonl"
    if not is_sealed(part):
        temporary = part.with_name(f".{part.name}")
        with (
            progress(f"lm_eval, {name}, percent", _PERCENT) as advance,
            kept_in(part.with_suffix(".batches"), lambda share: advance(_PERCENT * share)),
        ):
            write_json_lines(temporary, _run(name, task, config, asked))
            seal(temporary, part)
    told, *samples = read_json_lines(part)
    filters = list(dict.fromkeys(sample["filter"] for sample in samples))
    metrics = list(task.aggregation())
    numbers = numbers_of(told["results"])
    in_order = sorted(numbers, key=lambda each: (_place(each[0], metrics), _place(each[1], filters), each))
    return Evaluated(
        name=name,
        version=str(task.VERSION),
        examples=task.get_config("num_fewshot"),
        documents=len({sample["doc_id"] for sample in samples}),
        numbers={metric: numbers[metric] for metric in in_order},
        falling=frozenset(metric for metric, rises in task.higher_is_better().items() if not rises),
        samples=samples,
        counts=told["counts"],
    )


def _run(name: str, task: Any, config: LmEvalConfig, asked: Any) -> list[dict[str, Any]]:
    """lm-eval's numbers and our counts, then lm-eval's samples, all as plain values."""
    from lm_eval.evaluator import evaluate

    from larpo_lib.evaluation.lm_eval.documents import FAILS
    from larpo_lib.evaluation.lm_eval.tasks import failed

    asked.cut = asked.refused = 0
    try:
        found = evaluate(
            asked,
            {"tasks": {name: task}},
            limit=config.limit,
            bootstrap_iters=0,
            system_instruction=config.system_prompt,
            apply_chat_template=config.chat,
            fewshot_as_multiturn=config.examples_as_turns,
        )
    except FAILS as error:
        if asked.at_work:
            raise
        raise failed(name, "cannot be evaluated", error) from error
    samples, documents = found["samples"][name], found["n-samples"][name]
    counts = {
        "documents": documents["effective"],
        "over_limit_dropped": documents["original"] - documents["effective"],
        "requests": sum(request.repeats for request in task.instances),
        "prompts_cut": asked.cut,
        "system_messages_dropped": asked.refused,
        "answers_not_found": sum(NO_ANSWER in sample["filtered_resps"] for sample in samples),
    }
    told = [{"results": found["results"][name], "counts": counts}, *samples]
    return [json.loads(json.dumps(row, default=_plain)) for row in told]


def _plain(value: Any) -> Any:
    """A value of NumPy's, or whatever else a document holds, as JSON has it."""
    return value.tolist() if hasattr(value, "tolist") else sorted(value) if isinstance(value, set) else str(value)


def _place(name: str, among: Sequence[str]) -> int:
    return among.index(name) if name in among else len(among)


def _group(name: str, group: Any, evaluated: Sequence[Evaluated]) -> Group:
    """A group's numbers, which lm-eval makes of those of its tasks."""
    found = {
        one.name: {
            "sample_len": one.documents,
            **{",".join(metric): number for metric, number in one.numbers.items()},
        }
        for one in evaluated
    }
    tasks = [task.task_name for task in group.get_all_tasks()]
    return Group(name, str(group.version), tasks, numbers_of(group.aggregate(found)))


def _write_samples(evaluated: Sequence[Evaluated], data: Path) -> None:
    make_directory(data / SAMPLES)
    for one in evaluated:
        write_json_lines(data / SAMPLES / f"{_file_name(one.name)}.jsonl", one.samples)


def _file_name(task: str) -> str:
    return re.sub(r"[^\w.-]", "_", task)
