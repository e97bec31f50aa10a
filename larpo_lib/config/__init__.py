"""The configuration: one frozen pydantic tree, read from TOML, with `--set a.b=value` on top. Imports no torch."""

from larpo_lib.config.base import ModelConfig, Section
from larpo_lib.config.load import apply_settings, load_config, load_section, parse_settings
from larpo_lib.config.objectives import ObjectiveConfig
from larpo_lib.config.sections import (
    BestWorstConfig,
    ClassifierConfig,
    EvaluateConfig,
    HfSamplerConfig,
    ListsConfig,
    NegativesConfig,
    OneVsRestConfig,
    PrepareConfig,
    PromoteConfig,
    ReportConfig,
    RerankConfig,
    RerankerConfig,
    SampleConfig,
    SamplerConfig,
    SelectionConfig,
    SftConfig,
    TopBottomConfig,
    TrainConfig,
    TrainingConfig,
    VerifierConfig,
    WholeListConfig,
)
from larpo_lib.config.tree import EarlyStopConfig, LarpoConfig, LoopConfig, TrackingConfig

SECTIONS: dict[str, type[Section]] = {
    "prepare": PrepareConfig,
    "demonstrations": PrepareConfig,
    "sft": SftConfig,
    "sample": SampleConfig,
    "rerank": RerankConfig,
    "lists": ListsConfig,
    "train": TrainConfig,
    "evaluate": EvaluateConfig,
    "report": ReportConfig,
}
"""Settings of the step commands by their name in the file."""

__all__ = [
    "SECTIONS",
    "BestWorstConfig",
    "ClassifierConfig",
    "EarlyStopConfig",
    "EvaluateConfig",
    "HfSamplerConfig",
    "LarpoConfig",
    "ListsConfig",
    "LoopConfig",
    "ModelConfig",
    "NegativesConfig",
    "ObjectiveConfig",
    "OneVsRestConfig",
    "PrepareConfig",
    "PromoteConfig",
    "ReportConfig",
    "RerankConfig",
    "RerankerConfig",
    "SampleConfig",
    "SamplerConfig",
    "Section",
    "SelectionConfig",
    "SftConfig",
    "TopBottomConfig",
    "TrackingConfig",
    "TrainConfig",
    "TrainingConfig",
    "VerifierConfig",
    "WholeListConfig",
    "apply_settings",
    "load_config",
    "load_section",
    "parse_settings",
]
