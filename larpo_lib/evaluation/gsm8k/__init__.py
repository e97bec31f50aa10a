"""GSM8K: school mathematics with a number as the answer."""

from larpo_lib.evaluation.benchmark import POLICY, Benchmark, Number
from larpo_lib.steps.declarations import Input, Step

BENCHMARK = Benchmark(
    name="gsm8k",
    title="GSM8K",
    summary="Let a policy solve GSM8K's problems: accuracy, Pass@N and majority vote. Answers are compared as numbers.",
    settings_class="Gsm8kConfig",
    inputs=(
        POLICY,
        Input("problems", "optional", "Problems in the format of GSM8K's test.jsonl (question, answer), may be .gz."),
        Input(
            "answers", "optional",
            "Solutions in the format of GSM8K's example_model_solutions.jsonl, instead of --policy and --problems.",
        ),
    ),
    judged_by="a rule that compares numbers",
    needs="problems",
    numbers=(
        Number(
            "accuracy", "Accuracy", "%",
            "Fraction of problems whose greedy response ends with the right number. Compare it only with greedy "
            "single-response accuracies of the same prompt.",
        ),
        Number(
            "sampled_accuracy", "Accuracy, sampled", "%",
            "Mean over problems of the fraction of sampled responses that are right. It depends on the temperature.",
        ),
        Number(
            "majority_accuracy", "Majority vote of {n}", "%",
            "Fraction of problems where the most frequent number among the sampled responses is right; ties are "
            "broken at random. Not comparable with votes of another size, nor with accuracy.",
            by_n=True,
        ),
        Number(
            "pass_at_{n}", "Pass@{n}", "%",
            "Probability that at least one of N sampled responses is right. Choosing that response needs the "
            "answer, so it is not an accuracy.",
        ),
    ),
    counts={
        "*_low, *_high, *_standard_error": "Bootstrap interval over problems, and standard error.",
        "*_without_number": "Responses that do not end with a number; they count as wrong.",
        "prompts_too_long_counted_wrong": "Problems that were not asked, because their prompt is longer than "
        "gsm8k.answers.max_prompt_tokens.",
    },
    compare="accuracy with a majority vote or Pass@N; accuracies of other templates, worked examples (gsm8k.examples)"
    " or problems; accuracies that only test whether the answer appears anywhere in the response, as in the "
    "paper's scripts, which count 133 wrong ones of 5,276 published solutions as right.",
    asks_by=("problems",),
    rescoring=Step(
        "gsm8k", "larpo_lib.evaluation.gsm8k.scoring:rescore", None,
        (Input("solutions", help="JSON Lines file (may be .gz) with question, ground_truth and, for each model, "
            "{solution}."),),
        (),
        "Compute accuracies of models from their stored solutions: {model: percent}, with three decimals as "
        "published.\n\nA solution is right if its final number equals that of the ground truth; the stored "
        "is_correct is not read.",
    ),
)  # fmt: skip
