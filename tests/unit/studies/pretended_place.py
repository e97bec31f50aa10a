"""A place that objectives are compared on, where results are known."""

import random
from collections.abc import Sequence

from larpo_lib.statistics.estimates import Values
from larpo_lib.studies.objectives.bed import About, Measured
from larpo_lib.studies.objectives.study import Reach, Setting, strength_of

LEVELS = {"dpo": 0.7, "listmle": 0.69, "ipo": 0.5, "simpo": 0.1}
"""How good objectives are at their defaults and a learning rate of 1e-3; simpo is worse than no training."""


class Pretended:
    """A place where results are known, and noise differs from prompt to prompt; kto breaks down for reported seeds."""

    about = About(
        "pretended", "Pretended", {"score": "the score"}, "nothing", 1e-3, Reach(learning_rates=3, strengths=2), 9
    )

    def __init__(self) -> None:
        self.asked: list[tuple[Setting, int]] = []

    def run(self, settings: Sequence[Setting], seeds: Sequence[int]) -> None:
        self.asked += [(one, seed) for one in settings for seed in seeds]

    def read(self, setting: Setting, seed: int) -> Measured | None:
        assert (setting, seed) in self.asked
        if setting.objective == "kto":
            return {"score": _values(0.5, seed, "kto")} if seed == 9 else None
        away = abs(setting.learning_rate / 1e-3 - 1) + abs(setting.strength / strength_of(setting.objective)[1] - 1)
        return {"score": _values(LEVELS[setting.objective] - 0.1 * away, seed, setting.objective)}

    def before(self, seed: int) -> Measured:
        return {"score": _values(0.3, seed, "before")}


def _values(level: float, seed: int, name: str) -> Values:
    draw = random.Random(f"{name}{seed}")
    return {f"p{i}": level + draw.gauss(0, 0.3) for i in range(200)}
