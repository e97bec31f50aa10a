"""How a reward model orders ranked lists: agreement of its scores with the rewards that the lists have. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from larpo_lib.evaluation.score_reward_model import BENCHMARK
from larpo_lib.reporting.evaluation import EvaluationReport
from larpo_lib.statistics.estimates import Bootstrap
from larpo_lib.statistics.ranking import kendall_tau, ndcg, pair_accuracy


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
        for name in (number.name for number in BENCHMARK.numbers)
    }
    return EvaluationReport(
        benchmark=BENCHMARK.name,
        title=BENCHMARK.title,
        policy=reward_model,
        judged_by="the rewards of the lists",
        version=version,
        scores=[BENCHMARK.mean(name, values, bootstrap) for name in values],
        counts={**counts, "lists_of_equal_scores": len(lists) - len(values["kendall_tau"])},
        values=values,
        caveats=[
            "The numbers are better for lists that the reward model was trained on than for other lists.",
            "Numbers for lists of other prompts, responses or sizes are not comparable.",
        ],
        confidence=bootstrap.confidence,
    )
