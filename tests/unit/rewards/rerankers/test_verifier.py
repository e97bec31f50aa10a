import pytest
from small_models import user

from larpo_lib.errors import LarpoError
from larpo_lib.rewards.rerankers import Scorable, make_reranker
from larpo_lib.rewards.rerankers.verifier import VerifierConfig


def _item(response, reference="#### 5"):
    return Scorable("p", user("?"), response, reference)


@pytest.mark.parametrize("reference", [None, "", "unknown"])
def test_a_reference_without_number_is_refused(reference):
    with pytest.raises(LarpoError, match="prompt p: the verifier needs a reference that contains a number"):
        make_reranker(VerifierConfig()).score([_item("#### 5", reference)])


def test_exact_rewards_are_of_the_final_number_alone():
    exact = make_reranker(VerifierConfig(mode="exact"))
    assert exact.score([_item("1 + 1 = 3. #### 5"), _item("5"), _item("2 + 3 = 5. #### 6"), _item("")]) == [1, 1, 0, 0]


def test_graded_rewards_add_up():
    graded = make_reranker(VerifierConfig(mode="graded"))
    scores = graded.score(
        [
            _item("2 + 3 = 5. #### 5"),
            _item("2 + 3 = 5. 5 + 1 = 7. #### 5"),
            _item("2 + 3 = 5. #### 6"),
            _item("#### 6"),
            _item("2 + 3 = 5"),
            _item("nothing"),
        ]
    )
    assert scores == pytest.approx([1.0, 0.85, 0.4, 0.1, 0.9, 0.0])


def test_weights_are_the_settings():
    config = VerifierConfig(mode="graded", answer_weight=2.0, steps_weight=4.0, format_weight=8.0)
    assert make_reranker(config).score([_item("1 + 1 = 3. #### 5")]) == [10.0]


def test_answers_may_be_mathematics():
    config = VerifierConfig(mode="math")
    items = [_item(r"1 + 1 = 3, \boxed{\sqrt{18}}", r"3\sqrt{2}"), _item(r"\boxed{2\sqrt{3}}", r"3\sqrt{2}")]
    assert make_reranker(config).score(items) == [1.0, 0.0]
    assert make_reranker(config).name == "verifier-math"
    assert config.beyond_one is None


def test_the_mode_is_part_of_the_name():
    assert make_reranker(VerifierConfig(mode="exact")).name == "verifier-exact"
    assert make_reranker(VerifierConfig(mode="graded")).name == "verifier-graded"
    assert not make_reranker(VerifierConfig()).list_relative
