"""Settings of the benchmark AlpacaEval 2."""

from typing import ClassVar

from pydantic import Field

from larpo_lib.config.base import Section
from larpo_lib.config.benchmarks import AnswersConfig, LlmJudgeConfig, PairProtocol


class AlpacaEvalConfig(Section):
    """AlpacaEval 2: a judge chooses between the policy's answer and the reference answer to each instruction."""

    younger: ClassVar[tuple[str, ...]] = ("both_orders",)

    answers: AnswersConfig = Field(default_factory=AnswersConfig)
    """How the policy answers."""
    judge: LlmJudgeConfig
    """Any model on an OpenAI-compatible server. The published scores are of gpt-4-1106-preview, which is shut down."""
    protocol: PairProtocol = "weighted_alpaca_eval_gpt4_turbo"
    """How the judge is asked and its answer is read, as by the official annotator of that name.

    Read from the probabilities of one token (`weighted_alpaca_eval_gpt4_turbo`, used for the leaderboard), from a tool
    call (`alpaca_eval_gpt4_turbo_fn`), or from a list in the text, which works with every server
    (`alpaca_eval_llama3_70b_fn`).
    """
    both_orders: bool = False
    """Ask about each instruction twice, with the answers in both orders, and take the mean preference. Then no answer
    wins by its place, but the calls double, and the score is not comparable with published ones, whose judge saw one
    order, drawn by the instruction."""
    partial: bool = False
    """Allow a part of the 805 instructions, or other instructions. Such a score is not comparable with published
    ones."""
