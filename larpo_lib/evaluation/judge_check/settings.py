"""Settings of the check of a judge."""

from typing import ClassVar

from pydantic import PositiveInt

from larpo_lib.config.benchmarks import LlmJudgeConfig, PairProtocol
from larpo_lib.config.mixins import Bootstrap


class JudgeCheckConfig(Bootstrap):
    """How well a judge agrees with annotations by people or by another judge."""

    first: ClassVar[tuple[str, ...]] = ("judge", "protocol", "both_orders", "limit", "judged_by")

    judge: LlmJudgeConfig | None = None
    """The judge to ask about the annotated pairs. Not set: --judged holds what it has decided."""
    protocol: PairProtocol = "weighted_alpaca_eval_gpt4_turbo"
    """How the judge is asked; see `alpaca_eval.protocol`."""
    both_orders: bool = True
    """Ask about each pair twice, with the answers in both orders, which shows how often the order decides. The judge's
    preference is then the mean of both, as with `alpaca_eval.both_orders`."""
    limit: PositiveInt | None = None
    """Use only so many of the reference's pairs, drawn with `seed`. Not set: all."""
    judged_by: str | None = None
    """Name of the judge of --judged, as reports of benchmarks have it, such as `gpt-4-1106-preview by
    weighted_alpaca_eval_gpt4_turbo`. Not set: that of the artifact, or the annotators that the files name."""
