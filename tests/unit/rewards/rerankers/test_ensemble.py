import math

import pytest
from small_models import user

from larpo_lib.errors import LarpoError
from larpo_lib.rewards.length import penalise_length
from larpo_lib.rewards.rerankers import Scorable, make_reranker
from larpo_lib.rewards.rerankers.ensemble import EnsembleConfig, EnsembleMember, EnsembleReranker
from larpo_lib.rewards.rerankers.verifier import VerifierConfig

QUESTION = user("How many?")


class Table:
    """Scores responses by a table; counts as cut what is longer than a word."""

    def __init__(self, name, scores, *, list_relative=False):
        self.name, self.list_relative = name, list_relative
        self._scores = scores

    def score(self, items):
        return [self._scores[item.response] for item in items]

    def cut(self, items):
        return {"responses_cut_for_scoring": sum(" " in item.response for item in items)}


def _ensemble(*tables, **settings):
    """One member for each table; `settings` are lists with a value for each."""
    names = [{name: values[i] for name, values in settings.items()} for i in range(len(tables))]
    members = tuple(EnsembleMember(reranker=VerifierConfig(), **own) for own in names)
    return EnsembleReranker(EnsembleConfig(members=members), tables)


def _items(*responses, prompt="p"):
    return [Scorable(prompt, QUESTION, response) for response in responses]


def test_scores_are_a_weighted_sum_of_z_scores():
    # a: mean 3, population variance (4 + 0 + 4) / 3; b: mean 20, (100 + 400 + 100) / 3 = 200
    a, b = Table("a", {"x": 1.0, "y": 3.0, "z": 5.0}), Table("b", {"x": 30.0, "y": 0.0, "z": 30.0})
    ensemble = _ensemble(a, b, weight=[2.0, 0.5])
    unit_a, unit_b = math.sqrt(8 / 3), math.sqrt(200)
    expected = [2 * -2 / unit_a + 0.5 * 10 / unit_b, 0.5 * -20 / unit_b, 2 * 2 / unit_a + 0.5 * 10 / unit_b]
    assert ensemble.score(_items("x", "y", "z")) == pytest.approx(expected)
    assert ensemble.list_relative


def test_fixed_statistics_make_it_pointwise():
    a, b = Table("a", {"x": 1.0, "y": 3.0}), Table("b", {"x": 30.0, "y": 0.0})
    ensemble = _ensemble(a, b, weight=[1.0, 1.0], mean=[2.0, 10.0], std=[0.5, 5.0])
    assert ensemble.score(_items("x", "y")) == pytest.approx([-2 + 4, 2 - 2])
    assert ensemble.score(_items("y")) == pytest.approx([0.0])
    assert not ensemble.list_relative


def test_each_prompt_is_a_list_of_its_own():
    a, b = Table("a", {"x": 1.0, "y": 3.0, "z": 100.0}), Table("b", {"x": 0.0, "y": 0.0, "z": 0.0})
    ensemble = _ensemble(a, b)
    mixed = [*_items("x", prompt="one"), *_items("z", prompt="two"), *_items("y", prompt="one")]
    assert ensemble.score(mixed) == pytest.approx([-1.0, 0.0, 1.0])


def test_a_member_without_an_opinion_adds_nothing():
    """Three times 0.1 has a mean that is not 0.1, and a standard deviation that is almost, but not, 0."""
    a, b = Table("a", {"x": 0.1, "y": 0.1, "z": 0.1}), Table("b", {"x": 1.0, "y": 2.0, "z": 3.0})
    alone = math.sqrt(3 / 2)
    assert _ensemble(a, b).score(_items("x", "y", "z")) == pytest.approx([-alone, 0.0, alone])


def test_repeated_responses_do_not_shift_the_list():
    a, b = Table("a", {"x": 1.0, "y": 3.0}), Table("b", {"x": 0.0, "y": 5.0})
    ensemble = _ensemble(a, b)
    assert ensemble.score(_items("x", "x", "y", "x")) == pytest.approx([-2.0, -2.0, 2.0, -2.0])


def test_what_one_member_cannot_score_has_no_score_and_no_weight():
    a, b = Table("a", {"x": 1.0, "y": 3.0, "z": None}), Table("b", {"x": 0.0, "y": 5.0, "z": 1000.0})
    assert _ensemble(a, b).score(_items("x", "y", "z")) == [pytest.approx(-2.0), pytest.approx(2.0), None]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_member_whose_score_is_not_finite_is_refused_by_name(value):
    """In the sum it would be the ensemble's, and standardised that of the whole list."""
    a, b = Table("a", {"x": 1.0, "y": 3.0}), Table("b", {"x": 0.0, "y": value})
    with pytest.raises(LarpoError, match=f"b scored a response to prompt p as {value}: 'y'"):
        _ensemble(a, b).score(_items("x", "y"))


def test_other_sums_have_other_names():
    a, b = Table("a", {}), Table("b", {})
    names = {
        _ensemble(a, b).name,
        _ensemble(b, a).name,
        _ensemble(a, b, weight=[1.0, 0.5]).name,
        _ensemble(a, b, mean=[0.0, 1.0], std=[1.0, 1.0]).name,
        _ensemble(a, b, mean=[0.0, 1.0], std=[1.0, 2.0]).name,
    }
    assert len(names) == 5
    assert _ensemble(a, b, weight=[1.0, 0.5]).name == "ensemble(1 a + 0.5 b)"


def test_it_is_made_from_its_settings():
    exact, graded = VerifierConfig(mode="exact"), VerifierConfig(mode="graded")
    members = (EnsembleMember(reranker=exact), EnsembleMember(reranker=graded, weight=2.0))
    ensemble = make_reranker(EnsembleConfig(members=members))
    assert ensemble.name == "ensemble(1 verifier-exact + 2 verifier-graded)"
    items = [Scorable("p", QUESTION, response, "#### 3") for response in ("#### 3", "#### 4")]
    assert ensemble.score(items) == pytest.approx([3.0, -3.0])


def test_cuts_of_all_members_are_counted():
    ensemble = _ensemble(Table("a", {}), Table("b", {}))
    assert ensemble.cut(_items("one", "two words")) == {"responses_cut_for_scoring": 2}


def test_every_character_has_its_price():
    plain = Table("a", {"x": 1.0, "four": 1.0, "é": None})
    penalised = penalise_length(plain, 0.25, str)
    assert penalised.score(_items("x", "four", "é")) == [0.75, 0.0, None]
    assert penalised.name == "a - 0.25 a character"
    assert not penalised.list_relative
    assert penalised.cut(_items("two words")) == {"responses_cut_for_scoring": 1}


def test_without_a_price_a_reranker_stays_itself():
    plain = Table("a", {})
    assert penalise_length(plain, 0.0, str) is plain


def test_a_list_relative_reranker_stays_so():
    assert penalise_length(Table("a", {}, list_relative=True), 0.5, str).list_relative
