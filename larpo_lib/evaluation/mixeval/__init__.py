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
    summary="Let a policy answer MixEval's or MixEval-Hard's questions, and have the answers judged by"
    " [mixeval].judge.",
    settings_class="MixEvalConfig",
    inputs=(
        Input("free_form", help="Published free-form.json, or .json.gz."),
        Input("multiple_choice", help="Published multiple-choice.json, or .json.gz."),
        POLICY,
        Input(
            "answers", "any",
            "Answers in MixEval's output format instead of --policy; one file a kind, or one for both.",
        ),
    ),
    judged_by="an LLM that knows the answer, or a rule",
    needs="a judge's server",
    numbers=(
        Number(
            "overall", "MixEval", "",
            "MixEval's official score: the means of free form and multiple choice, each rounded to three decimals,"
            f" weighted. Its standard error counts the copies of a question as one draw. {_COMPARE}",
        ),
        Number("free_form", "Free form", "", f"Mean score that the judge gave, from 0 to 1. {_COMPARE}"),
        Number(
            "multiple_choice", "Multiple choice", "",
            f"Share of questions for which the right option was chosen. {_COMPARE}",
        ),
    ),
    counts={
        "*_standard_error": "Of these means, copies of a question counted as one draw.",
        "unparsed": "Judgements that could not be read after mixeval.attempts; mixeval.unparsed says what they score,"
        " free_form_unparsed and multiple_choice_unparsed where they are.",
        "left_out": "Questions that do not count.",
        "judged_again": "Further attempts on judgements that could not be read.",
        "too_long_for_judge": "Answers that the judge's server refused as too long; they are among unparsed.",
        "prompts_too_long_dropped": "Questions longer than mixeval.answers.max_prompt_tokens, which got no answer and"
        " are wrong.",
        "distinct_questions": "Questions that the policy was asked, equal ones once.",
        "parsed_otherwise": "Only of `larpo score`: judgements whose text says something else than the score that"
        " stands beside it.",
    },
    compare="MixEval with MixEval-Hard, one version of the questions with another, scores of other judges than"
    " gpt-3.5-turbo-0125 with published ones, options read by rule with options read by a judge, a part of the"
    " questions (mixeval.limit) with all.",
    options=JUDGED,
    rescoring=Step(
        "mixeval", "larpo_lib.evaluation.mixeval.scoring:rescore", None,
        (Input("judged", "many", "Judgements, JSON Lines or .gz; several files are scored as one."),),
        (),
        "Scores from stored judgements: {overall, free_form, multiple_choice, benchmarks, ...}.\n\nA line holds kind"
        " (ff or mp), id, benchmark, judge (the judge's text) and score, or n, target and option; MixEval's own"
        " judge_results_*.jsonl are read as well. The text decides; where it cannot be read (unparsed) the score or"
        " option beside it does, and without one the question is left out. Scores of other questions, versions and"
        " judges must not be compared.",
    ),
)  # fmt: skip
