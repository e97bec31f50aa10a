import math

import pytest

from larpo_lib.config import TrainConfig
from larpo_lib.training.advice import diagnose

QUIET = {
    "chosen_logp_drift": -9.9,
    "saturated_pair_share": 0.5,
    "top_list_gradient_share": 0.5,
    "hard_pair_share": 0.1,
    "reward_gap": 0.5,
}


MIXED = [{"objective": {"type": "listmle"}}, {"objective": {"type": "nca"}}]


def _history(changes=(), steps=20):
    """Two epochs."""
    return [{"step": i + 1, "epoch": 2 * (i + 1) / steps, "loss": 1.0, **QUIET, **dict(changes)} for i in range(steps)]


def _train(**objective):
    return TrainConfig.model_validate({"batch_size": 4, "objective": {"type": "listmle", **objective}}).identity()


def _advice(changes, **objective):
    return " ".join(diagnose(_history(changes), _train(**objective), reward_std=1.0).advice)


def test_at_the_thresholds_there_is_nothing_to_say():
    assert _advice({}) == ""
    assert _advice({"chosen_logp_drift": 40.0}) == ""


@pytest.mark.parametrize(
    ("change", "objective", "told"),
    [
        ({"chosen_logp_drift": -40.2}, {}, "fell by 40 nats: set train.objective.sft_weight, or use the objective nca"),
        ({"chosen_logp_drift": -40.2}, {"sft_weight": 0.1}, "increase train.objective.sft_weight"),
        ({"chosen_logp_drift": -11.0}, {"type": "nca"}, "sft_weight, or reduce train.learning_rate"),
        ({"saturated_pair_share": 0.75}, {}, "75% of the pairs have almost no gradient left"),
        ({"saturated_pair_share": 0.75}, {"type": "approx_ndcg", "alpha": 25}, "reduce train.objective.alpha"),
        ({"saturated_pair_share": 0.75}, {"type": "group_contrast"}, "reduce train.epochs"),
        ({"top_list_gradient_share": 0.8}, {}, 'had 80% of the gradient: set train.objective.reduction to "mean"'),
        ({"top_list_gradient_share": 0.8}, {"type": "gvpo"}, "set train.objective.rewards"),
        ({"top_list_gradient_share": 0.8}, {"type": "gvpo", "rewards": "rank"}, "increase train.batch_size"),
        ({"top_list_gradient_share": 0.8}, {"type": "dpo", "margin": 1.0}, "set train.objective.rewards"),
        ({"top_list_gradient_share": 0.8}, {"type": "dpo"}, "increase train.batch_size"),
        ({"hard_pair_share": 0.05}, {}, "Only 5% of the pairs are hard"),
        ({"hard_pair_share": 0.05}, {}, 'lists.selection.type = "coreset" (for pairs, "sigma") in place of the worst'),
        ({"hard_pair_share": 0.05}, {}, 'or lists.negatives.kind = "cold"'),
        ({"reward_gap": 0.25}, {}, "only 0.25 standard deviations"),
        ({"reward_gap": 0.25}, {}, "leave such lists out with lists.filters.min_reward_gap"),
        ({"saturated_pair_share": 0.75}, {"type": "mixture", "parts": MIXED}, "from the parts of the mixture that can"),
    ],
)
def test_a_threshold_that_is_passed_gives_one_sentence_that_names_what_to_set(change, objective, told):
    assert told in _advice(change, **objective)
    assert len(diagnose(_history(change), _train(**objective), 1.0).advice) == 1


def test_the_settings_that_advice_names_exist():
    for option in ("sft_weight", "rewards"):
        TrainConfig.model_validate({"objective": {"type": "gvpo", option: "minmax" if option == "rewards" else 0.1}})
    TrainConfig.model_validate({"objective": {"type": "listmle", "reduction": "mean"}})
    for parts in ({"type": "mixture"}, {"type": "function", "target": "a:b"}):
        assert (
            "sft_weight" in diagnose(_history({"chosen_logp_drift": -20}), {**_train(), "objective": parts}).advice[0]
        )


def test_of_a_falling_likelihood_the_end_counts_and_of_the_lists_the_first_epoch():
    rows = _history()
    for row in rows[-2:]:
        row["chosen_logp_drift"] = -40.0
    for row in rows[10:]:
        row["hard_pair_share"] = row["reward_gap"] = 0.0
    found = diagnose(rows, _train(), 1.0)
    assert (found.chosen_logp_drift, found.hard_pair_share, found.reward_gap) == (-40.0, pytest.approx(0.1), 0.5)
    assert len(found.advice) == 1


def test_of_few_lists_in_a_step_one_may_have_most_of_the_gradient():
    few = TrainConfig(batch_size=3).identity()
    assert not diagnose(_history({"top_list_gradient_share": 0.9}), few).advice


def test_a_history_that_tells_less_gives_less():
    found = diagnose([{"step": 1, "epoch": 1.0, "loss": 1.0}], _train(), 1.0)
    assert (found.chosen_logp_drift, found.top_list_gradient_share, found.advice) == (None, None, [])
    assert not diagnose(_history({"reward_gap": 0.0}), _train(), None).advice
    assert math.isclose(math.exp(10), 22_000, rel_tol=0.01)  # as the threshold's reason says
