"""The objectives of preference optimisation: pure functions from a batch of ranked lists to a loss per list.

A module here holds some, each made an objective by `@objective`.
"""

from larpo_lib.objectives._entry import Objective, objective
from larpo_lib.objectives.batch import ListBatch

__all__ = ["ListBatch", "Objective", "objective"]
