"""Arena-Hard's scores against the official code's, against scikit-learn's, and by hand."""

import json

import arena_hard_games as games
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from larpo_lib.evaluation.arena_hard.rescore import run as rescore
from larpo_lib.evaluation.arena_hard.scoring import Comparison, Judgement, comparison, rates
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
            assert mean([*found[model][name].values()]) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("name", ["win_rate", "equal_style"])
def test_the_value_of_a_question_is_what_the_score_loses_without_it(name):
    """The jackknife's pseudo-values tell the same to the first order."""
    rows = [*_made_up(2, 120, 0.3)]

    def score(some):
        return mean([*rates({"a": some})["a"][name].values()])

    whole = score(rows)
    pseudo = [whole + (len(rows) - 1) * (whole - score(rows[:place] + rows[place + 1 :])) for place in range(len(rows))]
    values = [*rates({"a": rows})["a"][name].values()]
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
    lost = [Comparison(str(place), 6, 0.0, (place / 9, 0.0, 0.0, 0.1)) for place in range(9)]
    alone, beside = rates({"a": lost})["a"], rates({"a": lost, "b": [*_made_up(3, 50, 0.0)]})
    for found in (alone, beside["a"]):
        assert {name: set(values.values()) for name, values in found.items()} == {name: {0.0} for name in found}
        assert len(found) == 3
    assert 0 < mean([*beside["b"]["style_controlled"].values()]) < 100


def test_without_a_maximum_there_is_no_win_rate_of_style():
    """All long answers win, all short ones lose."""
    told_apart = [Comparison(str(i), 2, 2.0 * (i > 5), (i / 10, 0.0, 0.0, 0.0)) for i in range(12)]
    assert rates({"a": told_apart})["a"].keys() == {"win_rate"}
    assert mean([*rates({"a": told_apart})["a"]["win_rate"].values()]) == pytest.approx(50.0)


def test_a_style_that_never_differs_changes_nothing():
    alike = [Comparison(str(i), 2, float(i % 2), (0.0, 0.0, 0.0, 0.0)) for i in range(10)]
    found = [mean([*values.values()]) for values in rates({"a": alike})["a"].values()]
    assert found == pytest.approx([25.0] * 3)
