"""The configuration: one frozen pydantic tree, read from TOML, with `--set a.b=value` on top. Imports no torch."""

from larpo_lib.config.alpaca_eval import AlpacaEvalConfig
from larpo_lib.config.base import ModelConfig, Section
from larpo_lib.config.benchmarks import AnswersConfig, LlmJudgeConfig
from larpo_lib.config.endpoint import EndpointConfig
from larpo_lib.config.gsm8k import Gsm8kConfig
from larpo_lib.config.load import apply_settings, load_config, load_section, parse_settings
from larpo_lib.config.mixeval import MixEvalAnswersConfig, MixEvalConfig
from larpo_lib.config.objectives import ObjectiveConfig
from larpo_lib.config.rerankers import (
    ClassifierConfig,
    EnsembleConfig,
    EnsembleMember,
    HttpRerankerConfig,
    PairRmConfig,
    RerankerConfig,
    SingleRerankerConfig,
    Thinking,
    VerifierConfig,
)
from larpo_lib.config.retrieval import RetrievalConfig
from larpo_lib.config.reward_eval import RewardEvalConfig
from larpo_lib.config.samplers import HfSamplerConfig, OpenAiSamplerConfig, SamplerConfig, VllmSamplerConfig
from larpo_lib.config.score_reward_model import ScoreRewardModelConfig
from larpo_lib.config.sections import (
    BestWorstConfig,
    Bm25Config,
    EmbeddingConfig,
    EvaluateConfig,
    JudgeConfig,
    ListsConfig,
    NegativesConfig,
    OneVsRestConfig,
    PrepareConfig,
    PromoteConfig,
    ReportConfig,
    RerankConfig,
    RetrieverConfig,
    SampleConfig,
    SearchTemperatureConfig,
    SelectionConfig,
    TemplateConfig,
    TopBottomConfig,
    VerifierJudgeConfig,
    WholeListConfig,
)
from larpo_lib.config.training import (
    LaunchConfig,
    LoraConfig,
    RewardModelConfig,
    SftConfig,
    TrainConfig,
    TrainingConfig,
)
from larpo_lib.config.tree import EarlyStopConfig, LarpoConfig, LoopConfig, TrackingConfig

SECTIONS: dict[str, type[Section]] = {
    "prepare": PrepareConfig,
    "demonstrations": PrepareConfig,
    "sft": SftConfig,
    "sample": SampleConfig,
    "search_temperature": SearchTemperatureConfig,
    "rerank": RerankConfig,
    "lists": ListsConfig,
    "train": TrainConfig,
    "reward_model": RewardModelConfig,
    "evaluate": EvaluateConfig,
    "alpaca_eval": AlpacaEvalConfig,
    "gsm8k": Gsm8kConfig,
    "mixeval": MixEvalConfig,
    "retrieval": RetrievalConfig,
    "reward_eval": RewardEvalConfig,
    "score_reward_model": ScoreRewardModelConfig,
    "report": ReportConfig,
}
"""Settings of the step commands by their name in the file."""

__all__ = [
    "SECTIONS",
    "AlpacaEvalConfig",
    "AnswersConfig",
    "BestWorstConfig",
    "Bm25Config",
    "ClassifierConfig",
    "EarlyStopConfig",
    "EmbeddingConfig",
    "EndpointConfig",
    "EnsembleConfig",
    "EnsembleMember",
    "EvaluateConfig",
    "Gsm8kConfig",
    "HfSamplerConfig",
    "HttpRerankerConfig",
    "JudgeConfig",
    "LarpoConfig",
    "LaunchConfig",
    "ListsConfig",
    "LlmJudgeConfig",
    "LoopConfig",
    "LoraConfig",
    "MixEvalAnswersConfig",
    "MixEvalConfig",
    "ModelConfig",
    "NegativesConfig",
    "ObjectiveConfig",
    "OneVsRestConfig",
    "OpenAiSamplerConfig",
    "PairRmConfig",
    "PrepareConfig",
    "PromoteConfig",
    "ReportConfig",
    "RerankConfig",
    "RerankerConfig",
    "RetrievalConfig",
    "RetrieverConfig",
    "RewardEvalConfig",
    "RewardModelConfig",
    "SampleConfig",
    "SamplerConfig",
    "ScoreRewardModelConfig",
    "SearchTemperatureConfig",
    "Section",
    "SelectionConfig",
    "SftConfig",
    "SingleRerankerConfig",
    "TemplateConfig",
    "Thinking",
    "TopBottomConfig",
    "TrackingConfig",
    "TrainConfig",
    "TrainingConfig",
    "VerifierConfig",
    "VerifierJudgeConfig",
    "VllmSamplerConfig",
    "WholeListConfig",
    "apply_settings",
    "load_config",
    "load_section",
    "parse_settings",
]
