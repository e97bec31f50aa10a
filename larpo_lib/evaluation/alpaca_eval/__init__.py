"""AlpacaEval 2: a judge prefers the policy's answer to an instruction, or the reference's."""

from larpo_lib.evaluation.benchmark import JUDGED, POLICY, Benchmark, Number
from larpo_lib.steps.declarations import Input, Option, Step

_GAMED = Input("gamed", "optional", "df_gamed.csv, or .gz; without it there is no LC win rate.")
_DIFFICULTY = Input("difficulty", "optional", "instruction_difficulty.csv; without it what --gamed says of it.")
_SCALE = "Not to be compared with the score of another judge or protocol."

BENCHMARK = Benchmark(
    name="alpaca_eval",
    title="AlpacaEval 2",
    summary="Let a policy answer AlpacaEval's 805 instructions, and have [alpaca_eval].judge compare them with the"
    " reference.",
    settings_class="AlpacaEvalConfig",
    inputs=(
        Input("reference", help="The reference's answers: alpaca_eval_gpt4_baseline.json, or .gz."),
        POLICY,
        Input("answers", "optional", "JSON of instruction, output and generator: answers instead of --policy."),
        _GAMED,
        _DIFFICULTY,
    ),
    judged_by="an LLM, against a reference's answers",
    needs="a judge's server",
    numbers=(
        Number(
            "lc_win_rate", "LC win rate", "%",
            "What the win rate would be if both answers were equally long, by the official fit. Its standard error"
            f" leaves out how uncertain the fit is. {_SCALE}",
        ),
        Number(
            "win_rate", "Win rate", "%",
            "Share of instructions on which the judge prefers the policy's answer to the reference's; draws count"
            f" half. Long answers raise it. {_SCALE}",
        ),
        Number(
            "average_length", "Average length", "characters",
            "Mean length of the policy's answers. Judges prefer long ones.",
        ),
    ),
    counts={
        "*_standard_error": "Of these means, in percent; that of lc_win_rate is of the mean of the fitted preferences,"
        " as the official client gives it.",
        "undecided": "Instructions without a preference, left out of win_rate as the official client does: the judge's"
        " answer could not be read, or they were too_long_for_judge.",
        "draws": "Preferences of exactly 1.5; among them equal answers, which nobody is asked about.",
        "*_dropped": "What was not judged: prompts that were too long, instructions without an answer, and answers to"
        " other instructions than the reference's.",
    },
    compare="scores of different judges or protocols (tables 2 and 3 of the paper have different ones), against"
    " different references, or of a part of the instructions (alpaca_eval.partial).",
    options=JUDGED,
    packages={"alpaca_eval": "pip install 'larpo[alpaca-eval]'"},
    rescoring=Step(
        "alpaca_eval", "larpo_lib.evaluation.alpaca_eval.rescore:run", None,
        (
            Input(
                "preferences",
                help="CSV of model, row (place in AlpacaEval, from 0), preference, len_ref, len_model.",
            ),
            _GAMED,
            _DIFFICULTY,
        ),
        (),
        "Win rates of models from the judge's stored preferences: {model: {win_rate, lc_win_rate, ...}}.\n\nRows may"
        " stand in any order, and files may be compressed (.gz, .xz, .zst). Scores of different judges, or of a part of"
        " the instructions, must not be compared.",
        (Option("partial", bool, "Score models with fewer than 805 instructions.", default=False),),
    ),
)  # fmt: skip
