"""How a reward model orders ranked lists: agreement of its scores with the rewards that the lists have. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from larpo_lib.reporting.evaluation import EvaluationReport, Score, mean_score
from larpo_lib.statistics.estimates import Bootstrap
from larpo_lib.statistics.ranking import kendall_tau, ndcg, pair_accuracy

_MEANINGS = {
    "pair_accuracy": (
        "Pair accuracy",
        "Share of a list's pairs with different rewards that the scores put in the same order, equal scores one half;"
        " 0.5 is chance. Of pairs alone it is what RewardBench calls accuracy.",
    ),
    "best_first": ("Best first", "Whether the response with the highest score is a best one of its list."),
    "kendall_tau": ("Kendall's tau", "tau-b of scores and rewards, from -1 to 1; 0 is chance."),
    "ndcg": ("nDCG", "Of the list in the order of the scores; a gain is how far a reward is above the list's lowest."),
}


@dataclass(frozen=True)
class ScoredList:
    """A list with at least two different rewards, and the reward model's scores of its responses."""

    scores: Sequence[float]
    rewards: Sequence[float]

    def agreement(self) -> dict[str, float | None]:
        """Each number of the report for this list; None where it is not defined, such as tau of equal scores."""
        lowest, highest = min(self.rewards), max(self.rewards)
        chosen = [reward for score, reward in zip(self.scores, self.rewards, strict=True) if score == max(self.scores)]
        return {
            "pair_accuracy": pair_accuracy(self.scores, self.rewards),
            "best_first": chosen.count(highest) / len(chosen),
            "kendall_tau": kendall_tau(self.scores, self.rewards),
            "ndcg": ndcg(self.scores, [reward - lowest for reward in self.rewards]),
        }


def report(
    lists: Mapping[str, ScoredList], *, reward_model: str, version: str, counts: Mapping[str, int], bootstrap: Bootstrap
) -> EvaluationReport:
    """What the lists say of a reward model.

    Args:
        lists: by prompt, at least one.
        reward_model: its name and identity.
        version: identity of the lists.
        counts: of lists and responses, and of what was dropped.
        bootstrap: how intervals over lists are made.
    """
    found = {prompt_id: one.agreement() for prompt_id, one in lists.items()}
    values = {
        name: {prompt_id: value for prompt_id, own in found.items() if (value := own[name]) is not None}
        for name in _MEANINGS
    }
    scores: list[Score] = [
        mean_score(name, label, values[name], "", f"{meaning} A mean over lists.", bootstrap)
        for name, (label, meaning) in _MEANINGS.items()
    ]
    return EvaluationReport(
        benchmark="score_reward_model",
        title="A reward model on ranked lists",
        policy=reward_model,
        judged_by="the rewards of the lists",
        version=version,
        scores=scores,
        counts={**counts, "lists_of_equal_scores": len(lists) - len(values["kendall_tau"])},
        values=values,
        caveats=[
            "On lists that the reward model was trained on the numbers are better than on any others.",
            "Lists of other prompts, of other responses or of other sizes give numbers that are not comparable.",
        ],
        confidence=bootstrap.confidence,
    )
