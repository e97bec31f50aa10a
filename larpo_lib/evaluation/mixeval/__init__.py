"""MixEval (Ni et al. 2024, arXiv 2406.06565): questions of known benchmarks, free-form and multiple-choice.

The protocol is that of https://github.com/Psycoy/MixEval, which has no licence: the code here is our own, the prompts
and the rules of reading are facts of the protocol, without which scores could not be compared.
"""

from larpo_lib.evaluation.benchmark import JUDGED, POLICY, Benchmark, Number
from larpo_lib.steps.declarations import Input, Step

_COMPARE = "Compare it only with scores of the same questions, version and judge."

BENCHMARK = Benchmark(
    name="mixeval",
    title="MixEval",
    summary="Let a policy answer the questions of MixEval or MixEval-Hard, and let [mixeval].judge judge the answers.",
    settings_class="MixEvalConfig",
    inputs=(
        Input("free_form", help="The published free-form.json, may be .gz."),
        Input("multiple_choice", help="The published multiple-choice.json, may be .gz."),
        POLICY,
        Input(
            "answers", "any",
            "Answers in MixEval's output format, instead of --policy; one file for each kind, or one for both.",
        ),
    ),
    judged_by="an LLM that knows the answer, or a rule",
    needs="a judge's server",
    numbers=(
        Number(
            "overall", "MixEval", "",
            "MixEval's official score: the means of free form and multiple choice, each rounded to three decimals,"
            f" weighted. Its standard error treats copies of a question as one sample. {_COMPARE}",
        ),
        Number("free_form", "Free form", "", f"Mean score that the judge gave, from 0 to 1. {_COMPARE}"),
        Number(
            "multiple_choice", "Multiple choice", "",
            f"Fraction of questions for which the right option was chosen. {_COMPARE}",
        ),
    ),
    counts={
        "*_standard_error": "Standard errors of these means; copies of a question count as one sample.",
        "unparsed": "Judgements that could not be read after mixeval.attempts attempts; mixeval.unparsed sets their "
        "score. free_form_unparsed and multiple_choice_unparsed count them by kind.",
        "left_out": "Questions that are excluded.",
        "judged_again": "Additional attempts for judgements that could not be read.",
        "too_long_for_judge": "Answers that the judge's server rejected as too long; they are included in unparsed.",
        "prompts_too_long_dropped": "Questions longer than mixeval.answers.max_prompt_tokens; they got no answer and "
        "count as wrong.",
        "truncated_responses": "Responses that were cut at mixeval.answers.max_new_tokens; they are judged as far "
        "as they go.",
        "distinct_questions": "Distinct questions that the policy was asked.",
        "parsed_otherwise": "Only for stored judgements: those whose text differs from the score stored with it.",
    },
    compare="MixEval with MixEval-Hard, different versions of the questions, scores of other judges than "
        "gpt-3.5-turbo-0125 with published ones, options read by rule with options read by a judge, or a part "
        "of the questions (mixeval.limit) with all.",
    options=JUDGED,
    rescoring=Step(
        "mixeval", "larpo_lib.evaluation.mixeval.scoring:rescore", None,
        (Input("judged", "many", "Judgements as JSON Lines, may be .gz. Several files are scored together."),),
        (),
        "Compute scores from stored judgements: {overall, free_form, multiple_choice, benchmarks, ...}.\n\nEach "
        "line contains kind (ff or mp), id, benchmark, judge (the judge's text) and score, or n, target and "
        "option. MixEval's own judge_results_*.jsonl are accepted too. The text decides. If it cannot "
        "be read (unparsed), the stored score or option is used; without one, the question is "
        "excluded. Do not compare scores of different questions, versions or judges.",
    ),
)  # fmt: skip
