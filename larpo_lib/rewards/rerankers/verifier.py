"""The verifier as a reranker: rewards for answers that can be checked."""

from __future__ import annotations

from collections.abc import Sequence

from larpo_lib.config import VerifierConfig
from larpo_lib.rewards.answers import Scorable, equations_share, states_answer
from larpo_lib.rewards.answers.mathematics import right_answers


class VerifierReranker:
    """Scores a response by its final answer, and in `graded` mode also by its reasoning.

    Graded reward = answer_weight * (final answer right) + steps_weight * (share of stated equations that hold)
    + format_weight * (a final answer is stated).
    """

    list_relative = False

    def __init__(self, config: VerifierConfig) -> None:
        self._config = config
        self._is_right = right_answers(mathematics=config.mode == "math")
        self.name = f"verifier-{config.mode}"

    def score(self, items: Sequence[Scorable]) -> list[float | None]:
        """Score each response against its reference.

        Raises:
            LarpoError: a prompt has no reference, or one that cannot be read.
        """
        return [self._score(item) for item in items]

    def _score(self, item: Scorable) -> float:
        right = self._is_right(item)
        if self._config.mode != "graded":
            return float(right)
        return (
            self._config.answer_weight * right
            + self._config.steps_weight * equations_share(item.response)
            + self._config.format_weight * states_answer(item.response)
        )
