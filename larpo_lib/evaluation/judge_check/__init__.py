"""How good a judge is: its preferences beside those of people, or of another judge, on the same pairs of answers."""

from larpo_lib.evaluation.benchmark import JUDGED, Benchmark, Number
from larpo_lib.steps.declarations import Input

_SAME = "Compare it only with checks against the same reference annotations."

BENCHMARK = Benchmark(
    name="judge_check",
    title="Judge check",
    summary="Measure how well a judge agrees with people, or with another judge, on pairs of answers that they have "
        "annotated. [judge_check].judge is asked, or --judged holds what it has decided.",
    settings_class="JudgeCheckConfig",
    inputs=(
        Input(
            "reference", "many",
            "Reference annotations: annotations.json in AlpacaEval's format, or a preferences.csv; may be .gz.",
        ),
        Input(
            "judged", "any",
            "What the judge has decided, in the format of --reference, or the artifact of `larpo benchmark "
            "alpaca-eval`; instead of [judge_check].judge.",
        ),
    ),
    judged_by="people, or another judge",
    needs="annotations",
    numbers=(
        Number(
            "agreement", "Agreement", "",
            "Fraction of pairs on which both prefer the same answer, or neither does. A judge or reference that saw "
            f"both orders of the answers prefers what the mean of the two says, here and below. {_SAME}",
        ),
        Number(
            "kappa", "Cohen's kappa", "",
            "Agreement beyond that of two judges who prefer first, second and neither as often, but by chance: 0 is "
            f"chance, 1 is agreement on all pairs. {_SAME}",
        ),
        Number(
            "agreement_both_orders", "Agreement in both orders", "",
            f"agreement on the pairs that the judge saw in both orders. {_SAME}",
        ),
        Number(
            "agreement_one_order", "Agreement in one order", "",
            "agreement of what both say in the first order that they saw, without the other one: it belongs to scores "
            f"of one order. {_SAME}",
        ),
        Number(
            "spearman", "Spearman over models", "",
            "Rank correlation of the models' win rates by the judge with those by the reference. With few models it "
            f"says little. {_SAME}",
        ),
        Number("kendall", "Kendall over models", "", f"The same by Kendall's tau-b. {_SAME}"),
        Number(
            "prefers_longer", "Prefers the longer", "",
            "Fraction of pairs of different lengths, on which both have a preference, whose longer answer the judge "
            "prefers. Longer answers can be better: see prefers_longer_beyond.",
        ),
        Number(
            "prefers_longer_beyond", "Longer, beyond the reference", "",
            f"prefers_longer minus the same of the reference; 0 is no length bias beside the reference's. {_SAME}",
        ),
        Number(
            "changed_by_order", "Changed by the order", "",
            "Fraction of pairs on which the judge prefers another answer if the two are shown in the other order. 0 is "
            "no position bias.",
        ),
        Number(
            "prefers_first", "Prefers the first", "",
            "Fraction of preferences for the answer that was shown first. 0.5 is no position bias.",
        ),
    ),
    counts={
        "*_low, *_high": "Bootstrap interval over instructions.",
        "pairs": "Pairs with a preference by both.",
        "models": "Models whose win rates are ranked.",
        "annotations": "Reference annotations; several of one pair count as their mean.",
        "draws_of_judge, draws_of_reference": "Pairs on which they have no preference.",
        "not_drawn": "Pairs that judge_check.limit leaves out.",
        "not_judged_dropped": "Pairs that the judge did not decide on.",
        "undecided_dropped": "Pairs without a preference that can be read, of the judge or of the reference; with "
        "too_long_for_judge.",
        "judge_names_neither": "Of these, the pairs on which the judge gives the two names (m and M) together a "
        "probability below 0.5; only with weighted_alpaca_eval_gpt4_turbo.",
    },
    compare="checks against different reference annotations: a judge agrees more easily with its own kind.",
    options=JUDGED,
)  # fmt: skip
