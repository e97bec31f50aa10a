"""The tree that holds all sections of a run, and what they take over from its top."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, Field, NonNegativeFloat, PositiveInt, create_model, model_validator

from larpo_lib.config.base import ModelConfig, ModelPlace, Section, Seed
from larpo_lib.config.changes import ChangeConfig
from larpo_lib.config.gate import PromoteConfig
from larpo_lib.config.inheritance import resolve
from larpo_lib.config.mlflow_names import ExperimentName, RunName
from larpo_lib.config.prepare import PrepareConfig
from larpo_lib.config.sections import (
    WATCH,
    EvaluateConfig,
    ListsConfig,
    ReportConfig,
    RerankConfig,
    SampleConfig,
    SearchTemperatureConfig,
)
from larpo_lib.config.training import LaunchConfig, RewardModelConfig, SftConfig, TrainConfig


def _metric(name: str) -> str:
    if name not in ("mean_reward", "accuracy") and not name.startswith(WATCH):
        raise ValueError(f"Input should be 'mean_reward', 'accuracy' or '{WATCH}' with a name in evaluate.watch")
    return name


class EarlyStopConfig(Section):
    """Stops the loop when `metric` has not risen by `min_delta` for `patience` iterations. The run's result is then the
    policy of the best iteration by this metric. It is chosen on the held-out prompts that the gate compares on, too, so
    that its numbers there are slightly too good."""

    metric: Annotated[str, AfterValidator(_metric)] = "mean_reward"
    """Metric of the held-out responses that must improve: `mean_reward`, `accuracy`, or `watch_` with the name of an
    entry of `evaluate.watch`. A policy can go on to gain reward while it gets worse; a watch then stops the loop."""
    min_delta: NonNegativeFloat = 0.0
    """Minimum improvement that counts."""
    patience: PositiveInt = 1
    """Number of iterations without improvement after which the loop stops."""


class LoopConfig(Section):
    """Algorithm 1's outer loop."""

    iterations: PositiveInt = 3
    """Number of iterations (T in the paper's algorithm)."""
    reference: Literal["current", "initial"] = "current"
    """The reference policy of an iteration: the policy it starts from, or the one the whole loop started from."""
    early_stop: EarlyStopConfig | None = None
    """Stop when iterations no longer improve the policy. Not set: run all iterations."""
    evaluate: Literal["every_iteration", "last_iteration"] = "every_iteration"
    """Which policies are evaluated. `last_iteration`: only the starting policy and the last one."""
    promote: Literal["last_iteration", "every_iteration"] = "last_iteration"
    """Which policies go through the gate: only the run's result, or (`every_iteration`) also each iteration's policy as
    soon as it is trained."""
    changes: tuple[ChangeConfig, ...] = ()
    """Settings that change from an iteration on, in the order of the iterations. Single steps such as `larpo sample` do
    not read them."""
    benchmarks: tuple[str, ...] = ()
    """Benchmarks that measure every evaluated policy, such as `["alpaca_eval", "mixeval"]`, with the settings of their
    sections. A run also takes those that `promote.must_improve` and `promote.must_not_lose` ask for, of the starting
    policy and of the policies that go through the gate."""
    benchmark_files: dict[str, dict[str, str]] = Field(default_factory=dict)
    """Files and `s3://` URIs that these and the gate's benchmarks read, by benchmark and input, such as
    `benchmark_files.gsm8k.problems`. The run's policies, held-out prompts and evaluations need not be given."""

    @model_validator(mode="after")
    def _check(self) -> LoopConfig:
        twice = [name for name in self.benchmarks if self.benchmarks.count(name) > 1]
        if twice:
            raise ValueError(f"benchmarks contains {twice[0]} twice; list each benchmark once")
        if self.evaluate == "last_iteration" and self.early_stop is not None:
            raise ValueError("early_stop needs the metrics of every iteration; set evaluate to every_iteration")
        if self.evaluate == "last_iteration" and self.promote == "every_iteration":
            raise ValueError("the gate needs an evaluation; set evaluate to every_iteration")
        self._check_changes()
        return self

    def _check_changes(self) -> None:
        starts = [change.iteration for change in self.changes]
        if starts != sorted(set(starts)):
            raise ValueError(f"changes begin with iterations {starts}; list each iteration once, in rising order")
        if starts and starts[-1] > self.iterations:
            raise ValueError(
                f"changes has one for iteration {starts[-1]}, but iterations is {self.iterations}; remove it, or "
                "increase iterations"
            )


class TrackingConfig(Section):
    """Where MLflow runs go."""

    uri: str | None = None
    """MLflow tracking URI. Not set: MLFLOW_TRACKING_URI, else a SQLite store inside the run's directory."""
    experiment: ExperimentName = "larpo"
    """Name of the MLflow experiment."""
    system_metrics: bool = True
    """Log CPU, memory, disk, network and GPUs of the machine to the run of each step, every ten seconds. GPUs need the
    package nvidia-ml-py."""


class _Run(Section):
    """All settings of a run. `seed`, `model`, `launch` and the sampler's limits are defaults for the sections below."""

    first: ClassVar[tuple[str, ...]] = ("name", "policy", "seed")

    name: RunName = "larpo"
    """Name of the run, shown in MLflow."""
    policy: ModelPlace
    """The policy to start from: a directory, an s3:// URI, or its name on the Hugging Face hub (`org/name`, or
    `org/name@revision` with a branch, a tag or a commit)."""
    seed: Seed = 0
    """Seed of every section that makes random choices and does not set its own."""
    model: ModelConfig = ModelConfig()
    """How the policy is loaded."""
    launch: LaunchConfig = LaunchConfig()
    """The processes that all training uses."""
    tracking: TrackingConfig = TrackingConfig()
    prepare: PrepareConfig
    demonstrations: PrepareConfig | None = None
    """Demonstrations to fine-tune the policy on before the loop. Not set: no fine-tuning."""
    evaluation_prompts: PrepareConfig | None = None
    """Separate prompts for evaluation. Not set: those that `prepare.heldout` holds out."""
    sft: SftConfig = SftConfig()
    sample: SampleConfig = Field(default_factory=SampleConfig)
    rerank: RerankConfig = Field(default_factory=RerankConfig)
    lists: ListsConfig = Field(default_factory=ListsConfig)
    train: TrainConfig = Field(default_factory=TrainConfig)
    reward_model: RewardModelConfig = RewardModelConfig()
    evaluate: EvaluateConfig = Field(default_factory=EvaluateConfig)
    search_temperature: SearchTemperatureConfig = Field(default_factory=SearchTemperatureConfig)
    """The search for a sampling temperature."""
    promote: PromoteConfig = PromoteConfig()
    report: ReportConfig = ReportConfig()
    loop: LoopConfig = LoopConfig()

    @property
    def benchmarks(self) -> tuple[str, ...]:
        """The benchmarks that a run takes, each once: `loop.benchmarks`, and those that the gate asks for."""
        return tuple(dict.fromkeys((*self.loop.benchmarks, *self.promote.benchmarks)))

    @model_validator(mode="before")
    @classmethod
    def _inherit(cls, tree: Any) -> Any:
        return resolve(cls, tree) if isinstance(tree, dict) else tree


BENCHMARKS: dict[str, type[Section]] = {
    name: one.settings() for name, one in import_module("larpo_lib.evaluation").benchmarks().items()
}
"""Settings of the benchmarks by name. Looked up, not imported: they are of a room above this one."""


def _benchmark(name: str, kind: type[Section]) -> tuple[Any, Any]:
    """The field of a benchmark's section, which there need not be where it has a required setting."""
    command = f"larpo benchmark {name.replace('_', '-')}"
    told = f"The benchmark of `{command}`; part of a run if `loop.benchmarks` or the gate asks for it."
    if _needs_settings(kind):
        return kind | None, Field(None, description=told)
    return kind, Field(default_factory=kind, description=told)


def _needs_settings(kind: type[Section]) -> bool:
    return any(field.is_required() for field in kind.model_fields.values())


if TYPE_CHECKING:

    class LarpoConfig(_Run):
        """The settings of a run, and a section for each benchmark."""

else:
    LarpoConfig = create_model(
        "LarpoConfig",
        __base__=_Run,
        __doc__=_Run.__doc__,
        __module__=__name__,
        **{name: _benchmark(name, kind) for name, kind in BENCHMARKS.items()},
    )
