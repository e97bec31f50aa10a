"""The gate between a trained policy and the registry's champion: which metrics it asks, and for what."""

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, ClassVar, Self

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator

from larpo_lib.config.base import Section
from larpo_lib.config.mixins import Bootstrap
from larpo_lib.config.mlflow_names import ModelName
from larpo_lib.config.sections import WATCH

HELD_OUT = "evaluate"
"""What stands before the metrics of the step `evaluate`, in the place of a benchmark's name."""

MetricName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*\.\S+$")]
"""A metric that several are asked of, such as `gsm8k.accuracy`."""


class GateMetric(Section):
    """A metric that the gate asks for."""

    metric: MetricName
    """`reward`, `accuracy`, `greedy_accuracy`, `length` (characters) or `watch_` with the name of an entry of
    `evaluate.watch`, of the step `evaluate`, as `evaluate.reward`; or a metric in a benchmark's `scores.parquet`, with
    the benchmark's name, as `gsm8k.accuracy`. Of a metric that is better if it is lower, such as a length, a gain is a
    decrease."""

    demand: ClassVar[str]
    """What is demanded, by the setting's name."""
    if TYPE_CHECKING:
        margin: float

    @property
    def threshold(self) -> float:
        """The gain that the policy must be shown to exceed."""
        return self.margin

    @property
    def benchmark(self) -> str:
        """The name of the benchmark, or `HELD_OUT`."""
        return self.metric.partition(".")[0]

    @property
    def name(self) -> str:
        """The metric's own name."""
        return self.metric.partition(".")[2]

    @property
    def is_watched(self) -> bool:
        """Whether it is a further reward, which `evaluate.watch` asks for."""
        return self.benchmark == HELD_OUT and self.name.startswith(WATCH)


class MustImprove(GateMetric):
    """A metric by which the new policy must be better."""

    demand: ClassVar[str] = "must_improve"

    margin: NonNegativeFloat = 0.0
    """The gain must be more than this, in the metric's unit."""


class MustNotLose(GateMetric):
    """A metric by which the new policy must not be worse."""

    demand: ClassVar[str] = "must_not_lose"

    margin: PositiveFloat
    """The loss must be less than this, in the metric's unit. That nothing at all is lost can only be shown by a gain:
    for that, use `must_improve`."""

    @property
    def threshold(self) -> float:
        """Minus the loss that must be excluded."""
        return -self.margin


class PromoteConfig(Bootstrap):
    """The gate between a trained policy and the registry's `champion`."""

    first: ClassVar[tuple[str, ...]] = (
        "model_name", "metric", "margin", "confidence", "must_improve", "must_not_lose"
    )  # fmt: skip
    younger: ClassVar[tuple[str, ...]] = ("must_improve", "must_not_lose")

    model_name: ModelName = "larpo-policy"
    """Name of the registered model in MLflow, without `/`, `:`, `@` and `'`."""
    metric: str = Field("reward", pattern=r"^[a-z][a-z0-9_]*$")
    """The metric that the gate compares, prompt by prompt: `reward`, `accuracy` or `greedy_accuracy` of the step
    `evaluate`, or a metric in a benchmark's `scores.parquet`, such as `win_rate`, `lc_win_rate`, `overall` or
    `accuracy`."""
    margin: NonNegativeFloat = 0.0
    """The new policy must beat the champion by more than this."""
    confidence: float = Field(0.95, gt=0.5, lt=1.0)
    """Required probability, estimated by paired bootstrap, that the new policy is better."""
    resamples: PositiveInt = 2000
    must_improve: tuple[MustImprove, ...] = ()
    """Metrics by which the new policy must be better, each with its `margin`; they take the place of `metric` and
    `margin`. All demands, `must_not_lose` included, must be met, with p-values corrected for how many they are."""
    must_not_lose: tuple[MustNotLose, ...] = ()
    """Metrics by which the new policy must not be worse by `margin` or more."""

    @property
    def asked(self) -> tuple[GateMetric, ...]:
        """All metrics, if the gate asks several."""
        return (*self.must_improve, *self.must_not_lose)

    @property
    def benchmarks(self) -> tuple[str, ...]:
        """The benchmarks whose metrics are asked for, each once."""
        return tuple(dict.fromkeys(one.benchmark for one in self.asked if one.benchmark != HELD_OUT))

    @model_validator(mode="after")
    def _check(self) -> Self:
        problem = next(self._problems(), None)
        if problem is not None:
            raise ValueError(problem)
        return self

    def _problems(self) -> Iterator[str]:
        names = [one.metric for one in self.asked]
        if self.must_not_lose and not self.must_improve:
            yield (
                "must_not_lose needs must_improve: without it, a policy that changes nothing would replace the "
                "champion; add what the new policy must be better at"
            )
        for name in ("metric", "margin"):
            if names and getattr(self, name) != type(self).model_fields[name].default:
                yield f"{name} has no meaning beside must_improve; put it there, and remove {name}"
        if len(set(names)) < len(names):
            yield f"{max(names, key=names.count)} is asked for twice; ask for each metric once"
        needed = math.ceil(len(names) / (1 - self.confidence) - 1e-9) - 1
        if self.resamples < needed:
            yield (
                f"resamples is {self.resamples}, too few to show anything of {len(names)} metrics with confidence "
                f"{self.confidence:g}; set it to {needed} or more"
            )
