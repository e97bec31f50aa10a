"""Checks for tests of one's own parts: what holds for larpo's own objectives, and must hold for every reward."""

from larpo_lib.testing.objectives import check_objective
from larpo_lib.testing.rewards import check_reward

__all__ = ["check_objective", "check_reward"]
