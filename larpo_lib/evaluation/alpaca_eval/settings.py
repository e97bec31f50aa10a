"""Settings of the benchmark AlpacaEval 2."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from larpo_lib.config.base import Section
from larpo_lib.config.benchmarks import AnswersConfig, LlmJudgeConfig

AlpacaEvalProtocol = Literal[
    "weighted_alpaca_eval_gpt4_turbo", "alpaca_eval_gpt4_turbo_fn", "alpaca_eval_llama3_70b_fn"
]


class AlpacaEvalConfig(Section):
    """AlpacaEval 2: a judge prefers the policy's answer to an instruction, or the reference's."""

    answers: AnswersConfig = Field(default_factory=AnswersConfig)
    """How the policy answers."""
    judge: LlmJudgeConfig
    """The published scores are of gpt-4-1106-preview."""
    protocol: AlpacaEvalProtocol = "weighted_alpaca_eval_gpt4_turbo"
    """How the judge is asked and read, as the official annotator of that name does it.

    By the probabilities of one token (`weighted_alpaca_eval_gpt4_turbo`, the leaderboard's), by a tool call
    (`alpaca_eval_gpt4_turbo_fn`), or by a list in the text, which every server can write (`alpaca_eval_llama3_70b_fn`).
    """
    partial: bool = False
    """Score a part of the 805 instructions, or others, as one; no published score compares with it."""
