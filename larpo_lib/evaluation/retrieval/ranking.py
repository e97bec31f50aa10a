"""How a policy draws its responses, and how its log-probabilities order them, with bootstrap intervals. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from larpo_lib.evaluation.retrieval import BENCHMARK
from larpo_lib.reporting.evaluation import Curve, Score, mean_curve
from larpo_lib.reporting.held_out import best_of, means, most, pass_at
from larpo_lib.rewards.answers import final_number
from larpo_lib.statistics.draws import majority_vote
from larpo_lib.statistics.estimates import Bootstrap, Values
from larpo_lib.statistics.ranking import kendall_tau, ndcg, recall_at_n
from larpo_lib.thinking import without_thoughts

TITLE, BEST = "Pass@N and Recall@N", "Best of N"
X_LABEL = "N, responses or documents"


@dataclass(frozen=True)
class Response:
    """One sampled response.

    Attributes:
        correct: None where nobody judged.
        logp: by the policy that it was sampled from, in nats; None where it could not be scored.
        tokens: that `logp` is the sum over.
    """

    candidate_id: str
    text: str
    reward: float
    correct: bool | None
    logp: float | None = None
    tokens: int = 0


Prompts = Mapping[str, Sequence[Response]]
"""The sampled responses of each prompt, in the order they were drawn."""


def draws(prompts: Prompts, references: Mapping[str, str | None]) -> dict[str, dict[str, float]]:
    """What the responses are worth as independent draws: metric, then prompt, to value.

    `reward`, `accuracy`, `pass_at_i`, `best_of_i_reward` for every i (over the prompts with at least i responses), and
    `majority_accuracy` where references have a number.
    """
    rewards = {item: [one.reward for one in group] for item, group in prompts.items()}
    judgements = {item: [one.correct for one in group if one.correct is not None] for item, group in prompts.items()}
    judged = {item: right for item, right in judgements.items() if right}
    values = {"reward": means(rewards)}
    if judged:
        values["accuracy"] = means(judged)
    for i in range(1, most(rewards) + 1):
        if passed := pass_at(judged, i):
            values[f"pass_at_{i}"] = passed
        values[f"best_of_{i}_reward"] = best_of(rewards, i)
    stated = {item: text for item in judged if (text := references.get(item)) is not None}
    wanted = {item: number for item, text in stated.items() if (number := final_number(text)) is not None}
    if wanted:
        values["majority_accuracy"] = {
            item: majority_vote([final_number(without_thoughts(one.text)) for one in prompts[item]], right)
            for item, right in wanted.items()
        }
    return values


def orders(prompts: Prompts, *, per_token: bool) -> dict[str, dict[str, float]]:
    """How the policy's own log-probabilities order a prompt's distinct responses: metric, then prompt, to value.

    `kendall_tau` (of log-probability and reward) and `kendall_tau_per_token`, where neither are all equal; `ndcg`, its
    gains being the rewards above the prompt's lowest, where rewards differ; `recall_at_i`, where a response is right.

    Args:
        prompts: equal responses of a prompt count once; those without a log-probability are left out.
        per_token: rank by the mean over tokens, in `ndcg` and `recall_at_i`.
    """
    values: dict[str, dict[str, float]] = {"kendall_tau": {}, "kendall_tau_per_token": {}, "ndcg": {}}
    lists = {item: distinct(group) for item, group in prompts.items()}
    n = most(lists)
    for item, group in lists.items():
        rewards = [one.reward for one in group]
        found: dict[str, float | None] = {}
        for name, by_token in (("kendall_tau", False), ("kendall_tau_per_token", True)):
            found[name] = kendall_tau([_score(one, per_token=by_token) for one in group], rewards) if group else None
        ranked = sorted(group, key=lambda one: (-_score(one, per_token=per_token), one.candidate_id))
        gains = [one.reward - min(rewards) for one in ranked]
        found["ndcg"] = ndcg(range(len(gains), 0, -1), gains)  # equal log-probabilities stand in the order of ids
        right = [bool(one.correct) for one in ranked]
        found |= {f"recall_at_{i}": recall_at_n(right, i) for i in range(1, n + 1)}
        for name, value in found.items():
            if value is not None:
                values.setdefault(name, {})[item] = value
    return values


def distinct(group: Sequence[Response]) -> list[Response]:
    """The first of equal responses, and only those with a log-probability."""
    found: dict[str, Response] = {}
    for one in group:
        if one.logp is not None:
            found.setdefault(one.candidate_id, one)
    return list(found.values())


def scores_of_draws(values: Mapping[str, Values], bootstrap: Bootstrap) -> list[Score]:
    """The numbers of `draws` to print: of N = 1, 2, 4, 8, ... and the largest."""
    best = [i for i in _numbers(values, "best_of_", "_reward") if values[f"best_of_{i}_reward"]]
    return [
        *(BENCHMARK.mean("pass_at_{n}", values, bootstrap, n=i) for i in _some(_numbers(values, "pass_at_"))),
        *(BENCHMARK.mean(name, values, bootstrap) for name in ("majority_accuracy",) if name in values),
        *(BENCHMARK.mean("best_of_{n}_reward", values, bootstrap, n=i) for i in _some(best)),
    ]


def scores_of_orders(values: Mapping[str, Values], bootstrap: Bootstrap) -> list[Score]:
    """The numbers of `orders` to print."""
    return [
        *(BENCHMARK.mean(name, values, bootstrap) for name in ("ndcg", "kendall_tau", "kendall_tau_per_token")),
        *(BENCHMARK.mean("recall_at_{n}", values, bootstrap, n=i) for i in _some(_numbers(values, "recall_at_"))),
    ]


def curves(values: Mapping[str, Values], bootstrap: Bootstrap) -> list[Curve]:
    """Pass@N, Recall@N and best-of-N of the policy against N."""
    found = []
    for title, name, prefix, suffix in (
        (TITLE, "policy, Pass@N", "pass_at_", ""),
        (TITLE, "policy, Recall@N", "recall_at_", ""),
        (BEST, "reward", "best_of_", "_reward"),
    ):
        by_n = {i: values[f"{prefix}{i}{suffix}"] for i in _numbers(values, prefix, suffix)}
        if any(by_n.values()):
            found.append(mean_curve(title, X_LABEL, name, by_n, bootstrap))
    return found


def _score(one: Response, *, per_token: bool) -> float:
    assert one.logp is not None
    return one.logp / one.tokens if per_token else one.logp


def _numbers(values: Mapping[str, Values], prefix: str, suffix: str = "") -> list[int]:
    texts = [
        name.removeprefix(prefix).removesuffix(suffix)
        for name in values
        if name.startswith(prefix) and name.endswith(suffix)
    ]
    return sorted(int(text) for text in texts if text.isdigit())


def _some(numbers: Sequence[int]) -> list[int]:
    """Those that are powers of two, and the largest."""
    return [i for i in numbers if i & (i - 1) == 0 or i == numbers[-1]]
