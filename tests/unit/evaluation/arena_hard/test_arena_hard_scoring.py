"""Arena-Hard's scores against the official code's, against scikit-learn's, and by hand."""

import json
import re

import arena_hard_games as games
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from larpo_lib.evaluation.arena_hard.rescore import run as rescore
from larpo_lib.evaluation.arena_hard.scoring import RATES, Comparison, Judgement, comparison, rates
from larpo_lib.statistics.estimates import mean

QUESTIONS = "arena_hard/question.v2.jsonl.gz"
ANSWERS = "arena_hard/o3-mini-2025-01-31.answers.v2.jsonl.gz"

# Made with the official repository's functions (lmarena/arena-hard-auto, commit 196f6b8), from the judgements and
# answers of `arena_hard_games` in its folders: show_result.load_judgments, the mean of its scores by model, and
# show_result.print_leaderboard_with_style_features(battles, ..., "hard_prompt", ["length", "markdown"]), where
# bootstrap_pairwise_model was replaced by one call of utils.math_utils.fit_pairwise_model on all battles, once with
# lr=1.0 and max_epochs=1000, so that its LBFGS comes to an end, and once as it is (lr=0.1, max_epochs=50). What
# to_winrate_probabilities returned is in percent here. torch computed in single precision.
OFFICIAL = {
    ("two",): {"two": (7.38235294117647, 6.117872714996338, 6.430838108062744)},
    ("one", "two"): {
        "one": (48.856975381008205, 48.38142013549805, 48.37370681762695),
        "two": (7.38235294117647, 7.092560291290283, 7.356910228729248),
    },
}
"""Models that are scored together, to each one's win rate, style-controlled win rate, and the latter as it is."""


def _write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture(scope="module")
def files(shared_data, tmp_path_factory):
    """Model to the files of its judgements and its answers; the baseline's has answers alone."""
    folder = tmp_path_factory.mktemp("arena")
    questions = [row for row in games.read(shared_data(QUESTIONS)) if row["category"] == "hard_prompt"]
    published = games.read(shared_data(ANSWERS))
    found = {games.BASELINE: (None, shared_data(ANSWERS))}
    for model in games.MODELS:
        answers = games.answers_of(model, published)
        judged = _write(folder / f"{model}.jsonl", games.judgements(model, questions, answers, published))
        found[model] = judged, _write(folder / f"{model}.answers.jsonl", answers)
    return found


@pytest.mark.parametrize("models", OFFICIAL, ids=" and ".join)
def test_scores_are_those_of_the_official_code(files, models):
    answers = [files[name][1] for name in (*models, games.BASELINE)]
    found = rescore(judgments=[files[name][0] for name in models], answers=answers, ensemble=False)
    assert found.keys() == {games.JUDGE}
    assert found[games.JUDGE].keys() == {"hard_prompt"}
    for model, (win_rate, at_maximum, as_it_is) in OFFICIAL[models].items():
        own = found[games.JUDGE]["hard_prompt"][model]
        assert own["win_rate"] == pytest.approx(win_rate, abs=1e-9)
        assert own["style_controlled"] == pytest.approx(at_maximum, abs=2e-4)
        assert own["style_controlled"] == pytest.approx(as_it_is, abs=0.4)
        assert (own["questions"], own["unparsed"]) == (484, 16)


def _made_up(seed, count, liking):
    """Comparisons in which style matters."""
    random = np.random.default_rng(seed)
    for place in range(count):
        style = random.normal(size=4) * [0.3, 0.01, 0.02, 0.02]
        battles = int(random.choice([2, 4, 6]))
        chance = 1 / (1 + np.exp(-liking - 3 * style[0] - 20 * style[2]))
        yield Comparison(str(place), battles, random.binomial(2 * battles, chance) / 2, tuple(style))


def test_style_is_controlled_for_as_by_a_logistic_regression_of_single_battles():
    """Half battles, so that a tie is one half of either: scikit-learn's fit takes no fractions."""
    models = {"a": [*_made_up(0, 120, -1.0)], "b": [*_made_up(1, 90, 0.5)]}
    rows, outcomes, weights = [], [], []
    for column, (_, comparisons) in enumerate(models.items()):
        for one in comparisons:
            for outcome, weight in ((1, one.points), (0, one.battles - one.points)):
                rows.append([float(column == 0), float(column == 1), *one.style])
                outcomes.append(outcome)
                weights.append(weight)
    rows = np.array(rows)
    centre = np.average(rows[:, 2:], axis=0, weights=weights)
    scale = rows[:, 2:].std(axis=0)
    rows[:, 2:] = (rows[:, 2:] - centre) / scale  # at the mean difference, style counts nothing
    fit = LogisticRegression(C=1e9, fit_intercept=False, tol=1e-10, max_iter=1000)
    (coefficients,) = fit.fit(rows, outcomes, sample_weight=weights).coef_
    equal = -(centre / scale) @ coefficients[2:]  # at none
    found = rates(models)
    for place, model in enumerate(models):
        for name, shift in (("style_controlled", 0.0), ("equal_style", equal)):
            expected = 100 / (1 + np.exp(-coefficients[place] - shift))
            assert mean([*found[model].values[name].values()]) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("name", ["win_rate", "equal_style"])
def test_the_value_of_a_question_is_what_the_score_loses_without_it(name):
    """The jackknife's pseudo-values tell the same to the first order."""
    rows = [*_made_up(2, 120, 0.3)]

    def score(some):
        return mean([*rates({"a": some})["a"].values[name].values()])

    whole = score(rows)
    pseudo = [whole + (len(rows) - 1) * (whole - score(rows[:place] + rows[place + 1 :])) for place in range(len(rows))]
    values = [*rates({"a": rows})["a"].values[name].values()]
    assert np.corrcoef(pseudo, values)[0, 1] > 0.99
    assert np.std(pseudo) == pytest.approx(np.std(values), rel=0.08)


def _judgement(*labels):
    return Judgement("q", "hard_prompt", "j", "m", "b", labels)


@pytest.mark.parametrize(
    ("labels", "battles", "points"),
    [
        (("A>>B", "A>>B"), 6, 3.0),  # whatever comes first is much better
        (("B>>A", "A>>B"), 6, 6.0),
        (("B>A", "A=B"), 2, 1.5),
        (("A<<B", "B<<A"), 6, 6.0),
        (("A<B", "B=A"), 2, 1.5),
        (("A>B", "B>>A"), 4, 0.0),
    ],
)
def test_verdicts_are_counted_by_hand(labels, battles, points):
    """The first game shows the baseline's answer as that of assistant A."""
    assert comparison(_judgement(*labels), None) == Comparison("q", battles, points, None)


def test_a_verdict_that_was_not_read_leaves_the_question_out_or_is_a_tie():
    unread = _judgement(None, "A>B")
    assert comparison(unread, None) is None
    assert comparison(unread, None, unread_as_tie=True) == Comparison("q", 2, 1.5, None)


def test_a_model_that_always_loses_has_nothing_whatever_its_style():
    lost = [Comparison(str(place), 6, 0.0, (place / 29, 0.0, 0.0, 0.0)) for place in range(30)]
    alone, beside = rates({"a": lost})["a"], rates({"a": lost, "b": [*_made_up(3, 50, 0.0)]})
    for found in (alone, beside["a"]):
        assert found.values.keys() == {*RATES}
        assert {value for values in found.values.values() for value in values.values()} == {0.0}
        assert not found.undefined
    assert 0 < mean([*beside["b"].values["style_controlled"].values()]) < 100


def test_without_a_maximum_there_is_no_win_rate_of_style():
    """All long answers win, all short ones lose."""
    told_apart = [Comparison(str(i), 2, 2.0 * (i > 11), (i / 20, 0.0, 0.0, 0.0)) for i in range(24)]
    found = rates({"a": told_apart})["a"]
    assert found.values.keys() == {"win_rate"}
    assert mean([*found.values["win_rate"].values()]) == pytest.approx(50.0)
    assert {*found.undefined.values()} == {"style alone tells the wins from the losses"}


def test_a_style_that_never_differs_changes_nothing():
    alike = [Comparison(str(i), 2, float(i % 2), (0.0, 0.0, 0.0, 0.0)) for i in range(10)]
    found = [mean([*values.values()]) for values in rates({"a": alike})["a"].values.values()]
    assert found == pytest.approx([25.0] * 3)


@pytest.mark.parametrize(
    ("models", "undefined", "reason"),
    [
        ({"a": [*_made_up(4, 49, 0.0)]}, RATES[:2], "49 questions with verdicts are too few .*, which needs 50"),
        ({"a": [*_made_up(4, 50, 0.0)]}, (), ""),  # of five parameters: the model, and four differences in style
        ({"a": [*_made_up(4, 9, 0.0)], "b": [*_made_up(5, 90, 0.0)]}, RATES[:2], "9 questions .*, which needs 10"),
        ({"a": []}, RATES, "no question has two verdicts that could be read"),
        ({"a": [Comparison("q", 2, 1.0, None)]}, RATES[:2], "the answers' style is not known"),
        # as of answers that are all empty: their loss may be due to that, or to the model
        ({"a": [Comparison(str(i), 2, i % 2, (-1.0, 0, 0, 0)) for i in range(30)]}, RATES[1:2], "in too few ways"),
        ({"a": [Comparison(str(i), 2, 0.0, (-1.0, 0, 0, 0)) for i in range(30)]}, RATES[1:2], "in too few ways"),
        # always longer beside always shorter: at equal length, or their mean, neither was ever seen
        (
            {"a": [Comparison(str(i), 2, i % 2, (0.5, 0, 0, 0)) for i in range(30)],
             "b": [Comparison(str(i), 2, i % 2, (-0.5, 0, 0, 0)) for i in range(30)]},
            RATES[:2], "in too few ways",
        ),
    ],
)  # fmt: skip
def test_what_the_verdicts_cannot_tell_has_no_value_but_a_reason(models, undefined, reason):
    found = rates(models)["a"]
    assert found.undefined.keys() == {*undefined}
    assert found.values.keys() == {*RATES} - {*undefined}
    assert all(re.search(reason, each) for each in found.undefined.values())
    assert all(
        len({*values.values()}) > 1 for values in found.values.values() if 0 < mean([*values.values()]) < 100
    ) or (reason == "the answers' style is not known")


def test_a_style_that_is_determined_has_the_rate_of_its_battles():
    """Of answers in one style, which differs from the baseline's: at that style the fit is the share of points."""
    alike = [Comparison(str(i), 2, (i % 4) / 2, (-1.0, 0.0, 0.0, 0.0)) for i in range(20)]
    found = rates({"a": alike})["a"].values
    assert mean([*found["style_controlled"].values()]) == pytest.approx(100 * 3 / 8)
    assert found["style_controlled"] == pytest.approx(found["win_rate"])
