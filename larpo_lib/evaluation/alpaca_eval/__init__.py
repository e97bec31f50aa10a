"""AlpacaEval 2: a judge prefers the policy's answer to an instruction, or the reference's."""

from larpo_lib.evaluation.benchmark import JUDGE_CHECK, JUDGED, POLICY, Benchmark, Number
from larpo_lib.steps.declarations import Input, Option, Step

_GAMED = Input("gamed", "optional", "df_gamed.csv, may be .gz. Without it there is no LC win rate.")
_DIFFICULTY = Input(
    "difficulty", "optional", "instruction_difficulty.csv. Without it, the difficulties in --gamed are used."
)
_SCALE = "Not comparable with scores of another judge or protocol."

BENCHMARK = Benchmark(
    name="alpaca_eval",
    title="AlpacaEval 2",
    summary="Let a policy answer AlpacaEval's 805 instructions, and let [alpaca_eval].judge compare the answers with "
        "the reference.",
    settings_class="AlpacaEvalConfig",
    inputs=(
        Input("reference", help="Reference answers: alpaca_eval_gpt4_baseline.json, may be .gz."),
        POLICY,
        Input("answers", "optional", "JSON file with answers (instruction, output, generator), instead of --policy."),
        _GAMED,
        _DIFFICULTY,
        JUDGE_CHECK,
    ),
    judged_by="an LLM, by comparison with reference answers",
    needs="a judge's server",
    numbers=(
        Number(
            "lc_win_rate", "LC win rate", "%",
            "The win rate if both answers were equally long, estimated with the official fit. Its standard "
            f"error does not include the uncertainty of the fit. {_SCALE}",
        ),
        Number(
            "win_rate", "Win rate", "%",
            "Fraction of instructions on which the judge prefers the policy's answer to the reference answer; "
            f"draws count half. Long answers increase it. {_SCALE}",
        ),
        Number(
            "average_length", "Average length", "characters",
            "Mean length of the policy's answers. Judges prefer long answers.", lower_is_better=True,
        ),
    ),
    counts={
        "*_standard_error": "Standard errors of these means, in percent; the one of lc_win_rate is for the mean of the "
        "fitted preferences, as in the official client.",
        "undecided": "Instructions without a preference, excluded from win_rate as in the official client: the judge's "
        "answer could not be read, or they were too_long_for_judge.",
        "judge_names_neither": "Of these, the ones on which the judge gives the two names (m and M) together a "
        "probability below 0.5, so that it would say something else; only with weighted_alpaca_eval_gpt4_turbo.",
        "draws": "Preferences of exactly 1.5, including identical answers, which are not sent to the judge.",
        "truncated_responses": "Responses that were cut at alpaca_eval.answers.max_new_tokens; they are judged as far "
        "as they go.",
        "*_dropped": "What was not judged: prompts that were too long, instructions without an answer, and answers to "
        "instructions that the reference does not have.",
    },
    compare="scores of different judges or protocols (tables 2 and 3 of the paper have different ones), against "
        "different references, or for a part of the instructions (alpaca_eval.partial).",
    options=JUDGED,
    packages={"alpaca_eval": "pip install 'larpo[alpaca-eval]'"},
    rescoring=Step(
        "alpaca_eval", "larpo_lib.evaluation.alpaca_eval.rescore:run", None,
        (
            Input(
                "preferences",
                help="CSV file with model, row (position in AlpacaEval, from 0), preference, len_ref, len_model; or "
                    "annotations.json in the official format.",
            ),
            _GAMED,
            _DIFFICULTY,
        ),
        (),
        "Compute win rates of models from stored preferences of the judge: {model: {win_rate, lc_win_rate, "
        "...}}.\n\nRows can be in any order, and files can be compressed (.gz, .xz, .zst). Do not compare "
        "scores of different judges, or of different parts of the instructions.",
        (Option("partial", bool, "Allow models with fewer than 805 instructions.", default=False),),
    ),
)  # fmt: skip
