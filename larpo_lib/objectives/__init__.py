"""The objectives of preference optimisation: pure functions from a batch of ranked lists to a loss per list."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from torch import Tensor

from larpo_lib.config.objectives import ObjectiveConfig
from larpo_lib.objectives.batch import ListBatch
from larpo_lib.objectives.distribution import nca, target
from larpo_lib.objectives.listwise import (
    contrastive,
    group_contrast,
    gvpo,
    lambdarank,
    listmle,
    robust_listmle,
    rrhf,
)
from larpo_lib.objectives.ndcg import approx_ndcg, lambdaloss, lipo_lambda, neural_ndcg
from larpo_lib.objectives.pairwise import cpo, dpo, ipo, r_dpo, simpo, slic_hf
from larpo_lib.objectives.pointwise import kto


@dataclass(frozen=True)
class Objective:
    """A loss and what it reads besides the policy's log-probabilities.

    Attributes:
        loss: `loss(batch, **settings)` maps a ListBatch of B lists to a (B,) loss per list, float32 or float64.
        needs_reference: whether `loss` reads `reference_logps`.
        needs_kl: whether `loss` reads `kl_baseline`.
    """

    loss: Callable[..., Tensor]
    needs_reference: bool
    needs_kl: bool = False


OBJECTIVES: dict[str, Objective] = {
    "dpo": Objective(dpo, needs_reference=True),
    "contrastive": Objective(contrastive, needs_reference=True),
    "lambdarank": Objective(lambdarank, needs_reference=True),
    "listmle": Objective(listmle, needs_reference=True),
    "lipo_lambda": Objective(lipo_lambda, needs_reference=True),
    "robust_listmle": Objective(robust_listmle, needs_reference=True),
    "lambdaloss": Objective(lambdaloss, needs_reference=True),
    "approx_ndcg": Objective(approx_ndcg, needs_reference=True),
    "neural_ndcg": Objective(neural_ndcg, needs_reference=True),
    "gvpo": Objective(gvpo, needs_reference=True),
    "group_contrast": Objective(group_contrast, needs_reference=True),
    "target": Objective(target, needs_reference=True),
    "nca": Objective(nca, needs_reference=True),
    "ipo": Objective(ipo, needs_reference=True),
    "slic_hf": Objective(slic_hf, needs_reference=False),
    "rrhf": Objective(rrhf, needs_reference=False),
    "cpo": Objective(cpo, needs_reference=False),
    "kto": Objective(kto, needs_reference=True, needs_kl=True),
    "r_dpo": Objective(r_dpo, needs_reference=True),
    "simpo": Objective(simpo, needs_reference=False),
}
"""Every objective by the `type` of its config class."""


def bind(config: ObjectiveConfig) -> Callable[[ListBatch], Tensor]:
    """The loss function of `config.type` with the settings of `config`: a ListBatch of B lists to a (B,) loss."""
    return partial(OBJECTIVES[config.type].loss, **config.model_dump(exclude={"type"}))


__all__ = ["OBJECTIVES", "ListBatch", "Objective", "bind"]
