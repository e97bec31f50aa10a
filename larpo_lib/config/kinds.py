"""One config class per objective; `type` is the objective's name in `larpo_lib.objectives.OBJECTIVES`.

Every field other than `type` is a keyword argument of the objective's function, and its default is the paper's setting.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt

from larpo_lib.config.base import Section

_TAU = "temperature of the target, the softmax of rewards / tau; the smaller, the more the best response is to get"
_GAINS = (
    "what gains and weights are made of; raw: the rewards, which must be from 0 to 1; minmax: where a reward lies"
    " between the lowest (0) and the highest (1) of its list; win_rate: the share of its other responses with a lower"
    " reward"
)
_SCALE = (
    "what the target is made of; raw: the rewards; zscore: rewards less their list's mean, by its standard deviation"
)


class DpoConfig(Section):
    type: Literal["dpo"] = "dpo"
    beta: PositiveFloat = 0.1
    label_smoothing: float = Field(0.0, ge=0.0, lt=0.5)


class ContrastiveConfig(Section):
    type: Literal["contrastive"] = "contrastive"
    beta: PositiveFloat = 0.1


class LambdaRankConfig(Section):
    type: Literal["lambdarank"] = "lambdarank"
    beta: PositiveFloat = 0.1
    top: PositiveInt | None = Field(None, description="only pairs of the first `top` responses against the rest")
    reduction: Literal["sum", "mean"] = "sum"


class ListMleConfig(Section):
    type: Literal["listmle"] = "listmle"
    beta: PositiveFloat = 0.1
    top: PositiveInt | None = Field(
        None,
        description="pick only the first `top` responses of a list, each among itself and the worse ones; 1 is"
        " `contrastive`",
    )
    reduction: Literal["sum", "mean"] = "sum"


class RobustListMleConfig(Section):
    type: Literal["robust_listmle"] = "robust_listmle"
    beta: PositiveFloat = 0.1
    rho: float = Field(
        0.1, ge=0.0, lt=0.5, description="weight of the worst order for the policy as it is; 0 is `listmle`"
    )


class LipoLambdaConfig(Section):
    type: Literal["lipo_lambda"] = "lipo_lambda"
    beta: PositiveFloat = 0.1
    reduction: Literal["sum", "mean"] = "sum"
    rewards: Literal["raw", "minmax", "win_rate"] = Field("raw", description=_GAINS)


class LambdaLossConfig(Section):
    type: Literal["lambdaloss"] = "lambdaloss"
    beta: PositiveFloat = 0.1
    weights: Literal["lambdarank", "ndcg1", "ndcg2", "ndcg2pp", "label_diff"] = Field(
        "ndcg2", description="what a pair weighs; the method has the formulas"
    )
    top: PositiveInt | None = Field(
        None, description="only pairs that the policy ranks among its first `top` responses; the NDCG is that at `top`"
    )
    rewards: Literal["raw", "minmax", "win_rate"] = Field("raw", description=_GAINS)


class ApproxNdcgConfig(Section):
    type: Literal["approx_ndcg"] = "approx_ndcg"
    beta: PositiveFloat = 0.1
    alpha: PositiveFloat = Field(
        1.0, description="steepness of the smooth ranks; at 25 orders that are wrong have next to no gradient"
    )
    rewards: Literal["raw", "minmax", "win_rate"] = Field("raw", description=_GAINS)


class NeuralNdcgConfig(Section):
    type: Literal["neural_ndcg"] = "neural_ndcg"
    beta: PositiveFloat = 0.1
    tau: PositiveFloat = Field(
        1.0, description="temperature of the smooth sorting; a small one sorts exactly and has next to no gradient"
    )
    rewards: Literal["raw", "minmax", "win_rate"] = Field("raw", description=_GAINS)


class GvpoConfig(Section):
    type: Literal["gvpo"] = "gvpo"
    beta: PositiveFloat = 0.1


class GroupContrastConfig(Section):
    type: Literal["group_contrast"] = "group_contrast"
    beta: PositiveFloat = 0.1
    alpha: NonNegativeFloat = Field(
        1.0, description="how much a reward's distance from its list's mean adds to a response's score; 0: nothing"
    )


class TargetConfig(Section):
    type: Literal["target"] = "target"
    beta: PositiveFloat = 0.1
    tau: PositiveFloat = Field(1.0, description=_TAU)
    direction: Literal["forward", "reverse"] = Field(
        "forward",
        description="forward: cross-entropy from the target to the policy (InfoNCA, ListNet, TPO); reverse: KL from the"
        " policy to the target",
    )
    rewards: Literal["raw", "zscore"] = Field("raw", description=_SCALE)


class NcaConfig(Section):
    type: Literal["nca"] = "nca"
    beta: PositiveFloat = 0.1
    tau: PositiveFloat = Field(1.0, description=_TAU)
    rewards: Literal["raw", "zscore"] = Field("raw", description=_SCALE)


class IpoConfig(Section):
    type: Literal["ipo"] = "ipo"
    tau: PositiveFloat = 0.1
    length_normalized: bool = False


class SlicHfConfig(Section):
    type: Literal["slic_hf"] = "slic_hf"
    delta: PositiveFloat = 1.0
    sft_weight: NonNegativeFloat = 0.1


class RrhfConfig(Section):
    type: Literal["rrhf"] = "rrhf"
    sft_weight: NonNegativeFloat = 1.0


class CpoConfig(Section):
    type: Literal["cpo"] = "cpo"
    beta: PositiveFloat = 0.1
    sft_weight: NonNegativeFloat = 1.0
    nll: Literal["token", "sum"] = "token"


class KtoConfig(Section):
    type: Literal["kto"] = "kto"
    beta: PositiveFloat = 0.1
    desirable_weight: PositiveFloat = 1.0
    undesirable_weight: PositiveFloat = 1.0


class RDpoConfig(Section):
    type: Literal["r_dpo"] = "r_dpo"
    beta: PositiveFloat = 0.1
    alpha: NonNegativeFloat = 0.05


class SimPoConfig(Section):
    type: Literal["simpo"] = "simpo"
    beta: PositiveFloat = 2.0
    gamma: NonNegativeFloat = 1.6


ObjectiveConfig = Annotated[
    DpoConfig
    | ContrastiveConfig
    | LambdaRankConfig
    | ListMleConfig
    | RobustListMleConfig
    | LipoLambdaConfig
    | LambdaLossConfig
    | ApproxNdcgConfig
    | NeuralNdcgConfig
    | GvpoConfig
    | GroupContrastConfig
    | TargetConfig
    | NcaConfig
    | IpoConfig
    | SlicHfConfig
    | RrhfConfig
    | CpoConfig
    | KtoConfig
    | RDpoConfig
    | SimPoConfig,
    Field(discriminator="type"),
]

USES_GAINS = (LipoLambdaConfig, LambdaLossConfig, ApproxNdcgConfig, NeuralNdcgConfig)
"""Those that raise 2 to the rewards, which must be from 0 to 1 where `rewards` is raw."""
