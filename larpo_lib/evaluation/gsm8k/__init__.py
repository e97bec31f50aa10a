"""GSM8K: school mathematics with a number as the answer."""

from larpo_lib.evaluation.benchmark import POLICY, Benchmark, Number
from larpo_lib.steps.declarations import Input, Step

BENCHMARK = Benchmark(
    name="gsm8k",
    title="GSM8K",
    summary="Let a policy solve GSM8K's problems: accuracy, Pass@N and majority vote, by numeric match.",
    settings_class="Gsm8kConfig",
    inputs=(
        POLICY,
        Input("problems", "optional", "Problems as GSM8K's test.jsonl: question and answer; .gz is read as well."),
        Input(
            "answers", "optional",
            "Solutions as in GSM8K's example_model_solutions.jsonl, instead of --policy and --problems.",
        ),
    ),
    judged_by="comparison of numbers",
    needs="problems",
    numbers=(
        Number(
            "accuracy", "Accuracy", "%",
            "Problems whose greedy response ends on the right number. Compare it with greedy, single-response"
            " accuracies of the same prompt only.",
        ),
        Number(
            "sampled_accuracy", "Accuracy, sampled", "%",
            "Mean over problems of the share of sampled responses that are right. It depends on the temperature.",
        ),
        Number(
            "majority_accuracy", "Majority vote of {n}", "%",
            "Problems on which the number that most sampled responses agree on is right, ties by lot. Not comparable"
            " with votes of another size, nor with accuracy.",
        ),
        Number(
            "pass_at_{n}", "Pass@{n}", "%",
            "Chance that at least one of N sampled responses is right. It needs somebody who knows the answer, so it"
            " is no accuracy.",
        ),
    ),
    counts={
        "*_low, *_high, *_standard_error": "Bootstrap interval over problems, and standard error.",
        "*_without_number": "Responses that end on no number, which are wrong.",
        "prompts_too_long_counted_wrong": "Problems nobody was asked: their prompt is longer than"
        " gsm8k.answers.max_prompt_tokens.",
    },
    compare="accuracy with a majority vote or Pass@N; accuracies of other templates, worked examples (gsm8k.examples)"
    " or problems; accuracies by a test whether the answer stands anywhere in the response, as the paper's scripts have"
    " it, which calls 133 of 5,276 published solutions right that are wrong.",
    rescoring=Step(
        "gsm8k", "larpo_lib.evaluation.gsm8k.scoring:rescore", None,
        (Input("solutions", help="JSON Lines or .gz: question, ground_truth and, for each model, {solution}."),),
        (),
        "Accuracies of models from their stored solutions: {model: percent}, to three decimals as published.\n\nA"
        " solution is right if its final number is that of the ground truth; the stored is_correct is not read.",
    ),
)  # fmt: skip
