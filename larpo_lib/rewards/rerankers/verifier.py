"""The verifier as a reranker: rewards for answers that can be checked."""

from collections.abc import Sequence
from typing import ClassVar, Literal

from pydantic import NonNegativeFloat

from larpo_lib.config.kinds import Reading, SingleRerankerConfig
from larpo_lib.rewards.answers import Scorable, equations_share, states_answer
from larpo_lib.rewards.answers.mathematics import right_answers
from larpo_lib.rewards.rerankers import Reranker

_ROUNDING = 1e-9


class VerifierConfig(SingleRerankerConfig):
    """Compares the final answer of a response with the reference.

    `exact`: 1 if it is right, else 0; answers are numbers, or tuples, lists, times and ranges of them. `math`: the same
    of expressions, intervals, sets, units and words. `graded`: a weighted sum of the right final answer, as in `exact`,
    of the share of stated equations that hold, and of marking a final answer by `####`, `A:` or `\\boxed{}`.
    """

    does: ClassVar[str] = "the final answer, compared with the reference"
    when: ClassVar[str] = "answers can be checked"

    type: Literal["verifier"] = "verifier"
    mode: Literal["exact", "math", "graded"] = "graded"
    """`exact`, `math` or `graded`."""
    answer_weight: NonNegativeFloat = 0.6
    """Reward for the right final number (`graded`)."""
    steps_weight: NonNegativeFloat = 0.3
    """Reward for stated equations, multiplied by the fraction that is correct (`graded`)."""
    format_weight: NonNegativeFloat = 0.1
    """Reward for marking any final answer, by `####`, `A:` or `\\boxed{}`; a sentence is no mark (`graded`)."""

    @property
    def references(self) -> frozenset[Reading]:
        """It compares answers with the reference's."""
        return frozenset({"expressions" if self.mode == "math" else "numbers"})

    @property
    def beyond_one(self) -> str | None:
        """The lowest reward is 0; the highest is the sum of the weights."""
        highest = self.answer_weight + self.steps_weight + self.format_weight
        if self.mode != "graded" or highest <= 1 + _ROUNDING:
            return None
        return f"the verifier's weights add up to {highest:g}"

    def make(self) -> Reranker:
        """Nothing is loaded."""
        return VerifierReranker(self)


class VerifierReranker(Reranker):
    """Scores a response by its final answer, and in `graded` mode also by its reasoning.

    Graded reward = answer_weight * (final answer right) + steps_weight * (share of stated equations that hold)
    + format_weight * (a final answer is marked).
    """

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
