"""Tasks of EleutherAI's lm-eval: IFEval, MMLU-Pro, GSM8K, TruthfulQA, and any other one by its name."""

from larpo_lib.evaluation.benchmark import Benchmark, Number
from larpo_lib.steps.declarations import POLICY, Input

BENCHMARK = Benchmark(
    name="lm_eval",
    title="lm-eval",
    summary="Run tasks of EleutherAI's lm-eval on a policy: IFEval, MMLU-Pro, GSM8K, TruthfulQA, and any other one by "
    "its name.",
    settings_class="LmEvalConfig",
    inputs=(
        POLICY,
        Input(
            "data", "optional",
            "Folder with the tasks' data sets, each in a folder of its name on the hub, such as google/IFEval. Nothing "
            "is fetched then.",
        ),
        Input("own_tasks", "optional", "Folder with YAML files of your own tasks."),
    ),
    judged_by="the metrics of lm-eval's tasks",
    needs="the tasks' data; the package lm-eval",
    numbers=(
        Number(
            "{task}.{metric}", "{task}, {metric}", "",
            "As lm-eval computes it, in lm-eval's unit, which is a share in [0, 1] for accuracies. Where a task reads "
            "responses in several ways, the name of the filter is the end. A task's main number is the first that its "
            "definition names.",
            {"task": "task", "metric": "metric"},
        ),
    ),
    counts={
        "*_low, *_high, *_standard_error": "Bootstrap interval over documents (of inst_level metrics over instructions)"
        ", and standard error.",
        "documents": "Documents of all tasks that were evaluated.",
        "over_limit_dropped": "Documents that lm_eval.limit left out.",
        "requests": "What the policy was asked: a response, or the log-probability of one choice.",
        "prompts_cut": "Requests that were longer than the policy's context, so that lm-eval cut off their beginning.",
        "system_messages_dropped": "Prompts without their system message, because the chat template refuses one.",
        "answers_not_found": "Responses in which a filter of the task found no answer; most metrics count them as "
        "wrong.",
    },
    compare="numbers of other versions of a task, numbers of examples, chat templates or system prompts; numbers of "
    "different filters; inst_level with prompt_level, or loose with strict ones.",
    packages={"lm_eval": "pip install 'larpo[lm-eval]'"},
)  # fmt: skip
