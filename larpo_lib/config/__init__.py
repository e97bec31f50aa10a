"""The configuration: one frozen pydantic tree, read from TOML, with `--set a.b=value` on top. Imports no torch."""

from importlib import import_module
from typing import TYPE_CHECKING

from larpo_lib.config.base import ModelConfig, Section
from larpo_lib.config.benchmarks import AnswersConfig, LlmJudgeConfig
from larpo_lib.config.endpoint import EndpointConfig
from larpo_lib.config.gate import PromoteConfig
from larpo_lib.config.kinds import (
    ObjectiveConfig,
    RerankerConfig,
    RetrieverConfig,
    SamplerConfig,
    SelectionConfig,
)
from larpo_lib.config.prepare import PrepareConfig, TemplateConfig
from larpo_lib.config.sections import (
    EvaluateConfig,
    FiltersConfig,
    ListsConfig,
    NegativesConfig,
    ReportConfig,
    RerankConfig,
    SampleConfig,
    SearchTemperatureConfig,
    WatchConfig,
)
from larpo_lib.config.training import (
    LaunchConfig,
    LoraConfig,
    RewardModelConfig,
    SftConfig,
    TrainConfig,
    TrainingConfig,
)

if TYPE_CHECKING:
    from larpo_lib.config.load import (
        apply_settings,
        at_iteration,
        by_iteration,
        load_config,
        load_section,
        parse_settings,
        section_class,
    )
    from larpo_lib.config.tree import EarlyStopConfig, LarpoConfig, TrackingConfig
else:

    def __getattr__(name: str) -> object:
        """Import the tree where it is asked for: it holds the benchmarks' sections, which are made of what is here."""
        for module in ("tree", "load") if name in __all__ else ():
            found = import_module(f"{__name__}.{module}")
            if hasattr(found, name):
                return getattr(found, name)
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")


__all__ = [
    "AnswersConfig",
    "EarlyStopConfig",
    "EndpointConfig",
    "EvaluateConfig",
    "FiltersConfig",
    "LarpoConfig",
    "LaunchConfig",
    "ListsConfig",
    "LlmJudgeConfig",
    "LoraConfig",
    "ModelConfig",
    "NegativesConfig",
    "ObjectiveConfig",
    "PrepareConfig",
    "PromoteConfig",
    "ReportConfig",
    "RerankConfig",
    "RerankerConfig",
    "RetrieverConfig",
    "RewardModelConfig",
    "SampleConfig",
    "SamplerConfig",
    "SearchTemperatureConfig",
    "Section",
    "SelectionConfig",
    "SftConfig",
    "TemplateConfig",
    "TrackingConfig",
    "TrainConfig",
    "TrainingConfig",
    "WatchConfig",
    "apply_settings",
    "at_iteration",
    "by_iteration",
    "load_config",
    "load_section",
    "parse_settings",
    "section_class",
]
