"""The tree that holds all sections of a run, and what they take over from its top."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, NonNegativeFloat, PositiveInt, create_model, model_validator

from larpo_lib.config.base import ModelConfig, Section, Seed
from larpo_lib.config.sections import (
    EvaluateConfig,
    ListsConfig,
    PrepareConfig,
    PromoteConfig,
    ReportConfig,
    RerankConfig,
    SampleConfig,
    SearchTemperatureConfig,
)
from larpo_lib.config.training import LaunchConfig, RewardModelConfig, SftConfig, TrainConfig


class EarlyStopConfig(Section):
    """Stops the loop when `metric` has not risen by `min_delta` for `patience` iterations."""

    metric: Literal["mean_reward", "accuracy"] = "mean_reward"
    min_delta: NonNegativeFloat = 0.0
    patience: PositiveInt = 1


class LoopConfig(Section):
    """Algorithm 1's outer loop."""

    iterations: PositiveInt = 3
    reference: Literal["current", "initial"] = "current"
    """What an iteration's policy is held against: the policy it begins with, or the one the whole loop began with."""
    early_stop: EarlyStopConfig | None = None
    evaluate: Literal["every_iteration", "last_iteration"] = "every_iteration"
    """`last_iteration`: only the policy the loop began with and the last one are measured."""
    promote: Literal["last_iteration", "every_iteration"] = "last_iteration"
    """Whose policies go through the gate: the run's result; `every_iteration`: also each one, as soon as it is made."""

    @model_validator(mode="after")
    def _check(self) -> LoopConfig:
        if self.evaluate == "last_iteration" and self.early_stop is not None:
            raise ValueError("early_stop needs the metrics of every iteration; set evaluate to every_iteration")
        if self.evaluate == "last_iteration" and self.promote == "every_iteration":
            raise ValueError("the gate needs an evaluation; set evaluate to every_iteration")
        return self


class TrackingConfig(Section):
    """Where MLflow runs go."""

    uri: str | None = None
    """Null: MLFLOW_TRACKING_URI, else a SQLite store inside the run's directory."""
    experiment: str = "larpo"


class _Run(Section):
    """The whole of a run. `seed`, `model`, `launch` and the sampler's limits are the defaults of sections below."""

    name: str = "larpo"
    policy: str
    """Directory of the policy to start from."""
    seed: Seed = 0
    model: ModelConfig = ModelConfig()
    launch: LaunchConfig = LaunchConfig()
    """The processes that all training runs in."""
    tracking: TrackingConfig = TrackingConfig()
    prepare: PrepareConfig
    demonstrations: PrepareConfig | None = None
    """With demonstrations the policy is fine-tuned on them first."""
    evaluation_prompts: PrepareConfig | None = None
    """Prompts of their own for evaluation; null: the ones `prepare.heldout` keeps apart."""
    sft: SftConfig = SftConfig()
    sample: SampleConfig = SampleConfig()
    rerank: RerankConfig = RerankConfig()
    lists: ListsConfig = ListsConfig()
    train: TrainConfig = TrainConfig()
    reward_model: RewardModelConfig = RewardModelConfig()
    evaluate: EvaluateConfig = EvaluateConfig()
    search_temperature: SearchTemperatureConfig = SearchTemperatureConfig()
    promote: PromoteConfig = PromoteConfig()
    report: ReportConfig = ReportConfig()
    loop: LoopConfig = LoopConfig()

    @model_validator(mode="before")
    @classmethod
    def _inherit(cls, tree: Any) -> Any:
        return inherit(tree) if isinstance(tree, dict) else tree


BENCHMARKS: dict[str, type[Section]] = {
    name: one.settings() for name, one in import_module("larpo_lib.evaluation").benchmarks().items()
}
"""Settings of the benchmarks by name. Looked up, not imported: they are of a room above this one."""


def _benchmark(name: str, kind: type[Section]) -> tuple[Any, Any]:
    """The field of a benchmark's section, which there need not be where it has a required setting."""
    told = f"The benchmark of `larpo {name.replace('_', '-')}`, which is no part of a run."
    if _needs_settings(kind):
        return kind | None, Field(None, description=told)
    return kind, Field(kind(), description=told)


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

_TRAINED = ("sft", "train", "reward_model")
_SOURCES = ("prepare", "demonstrations", "evaluation_prompts")
_SEEDED = (*_TRAINED, "sample", "search_temperature", "lists", "evaluate", "promote")
_SAMPLE_AND_SCORE = ("evaluate", "search_temperature")
"""Sections that sample and score as `sample` and `rerank` do."""


def inherit(tree: dict[str, Any]) -> dict[str, Any]:
    """Fill in what sections take over from above them, where they do not say otherwise."""
    tree = {key: dict(value) if isinstance(value, dict) else value for key, value in tree.items()}
    sources = [name for name in _SOURCES if tree.get(name) is not None]  # without a source there is no such section
    seeded, loading = (*sources, *_SEEDED, *_benchmarks(tree, "seed")), (*_TRAINED, *_benchmarks(tree, "model"))
    for key, sections in (("seed", seeded), ("model", loading)):
        if key in tree:
            for name in sections:
                _default(tree, name, key, tree[key])
    if "model" in tree:
        _default(tree, "sample", "sampler", {})
        _default_in(tree, "sample", "sampler", {"model": tree["model"]})
    if isinstance(tree.get("launch"), dict):
        for name in _TRAINED:  # key by key: --nproc alone leaves the ZeRO stage as it is
            _default(tree, name, "launch", {})
            _default_in(tree, name, "launch", tree["launch"])
    for name in ("sample", *_SAMPLE_AND_SCORE):
        if isinstance(tree.get(name), dict):
            _default_in(tree, name, "sampler", {"type": "hf"})
    _one_day(tree)
    _sample_and_score_alike(tree)
    _answer_alike(tree)
    for name in sources:
        _default(tree, name, "templates", _policies(tree))
        _default(tree, name, "reward_models", _classifiers(tree))
    return tree


def _one_day(tree: dict[str, Any]) -> None:
    """Tell all chat templates of a run the same day, also those of reward models and of sections' own `model`."""
    day = tree["model"].get("date") if isinstance(tree.get("model"), dict) else None
    for name in tree.keys() - {"lists"} if day is not None else ():  # lists compare texts, without a template
        tree[name] = _on_day(tree[name], day)


def _on_day(node: Any, day: Any) -> Any:
    if isinstance(node, list):
        return [_on_day(part, day) for part in node]
    if not isinstance(node, dict):
        return node
    found = {key: _on_day(value, day) for key, value in node.items()}
    own = found.get("model", {} if found.get("type") == "classifier" else None)
    return {**found, "model": {"date": day, **own}} if isinstance(own, dict) else found


def _sample_and_score_alike(tree: dict[str, Any]) -> None:
    sample, rerank = tree.get("sample"), tree.get("rerank")
    for name in _SAMPLE_AND_SCORE:
        for key in ("sampler", "max_new_tokens", "max_prompt_tokens"):
            if isinstance(sample, dict) and key in sample:
                _default(tree, name, key, sample[key])
    for name in (*_SAMPLE_AND_SCORE, *_benchmarks(tree, "reranker")):
        if isinstance(rerank, dict) and "reranker" in rerank:
            _default(tree, name, "reranker", rerank["reranker"])


def _policies(tree: dict[str, Any]) -> list[dict[str, Any]]:
    """The policy in each of the ways in which steps load it."""
    if not isinstance(tree.get("policy"), str):
        return []
    holders = [tree.get(name) for name in ("sft", "train")]
    steps = [tree.get(name) for name in ("sample", "evaluate")]
    holders += [step.get("sampler") for step in steps if isinstance(step, dict)]
    ways = [
        {"model": holder.get("model", {}), **({"served": True} if holder.get("type") == "openai" else {})}
        for holder in holders
        if isinstance(holder, dict)
    ]
    distinct = [way for i, way in enumerate(ways) if way not in ways[:i]]
    return [{"path": tree["policy"], **way} for way in distinct or [{"model": tree.get("model", {})}]]


def _classifiers(tree: dict[str, Any]) -> list[dict[str, Any]]:
    """The reward models of the run that read conversations here, those in ensembles included."""
    steps = [tree.get(name) for name in ("rerank", "evaluate")]
    rerankers = [step.get("reranker") for step in steps if isinstance(step, dict)]
    members = [each.get("members") for each in rerankers if isinstance(each, dict)]
    rerankers += [
        each.get("reranker") for some in members if isinstance(some, list) for each in some if isinstance(each, dict)
    ]
    found = [
        each for each in rerankers if isinstance(each, dict) and each.get("type") == "classifier" and "path" in each
    ]
    return [each for i, each in enumerate(found) if each not in found[:i]]


def _answer_alike(tree: dict[str, Any]) -> None:
    """Make the answers that benchmarks ask for with the sampler of `sample`, and with limits of their own."""
    sample = tree.get("sample")
    for name in _benchmarks(tree, "answers"):
        _default(tree, name, "answers", {})
        if not isinstance(tree[name], dict) or not isinstance(tree[name]["answers"], dict):
            continue
        if "seed" in tree:
            _default_in(tree, name, "answers", {"seed": tree["seed"]})
        if isinstance(sample, dict) and "sampler" in sample:
            _default_in(tree, name, "answers", {"sampler": sample["sampler"]})
        answers = tree[name]["answers"]
        if isinstance(answers.get("sampler"), dict):
            tree[name]["answers"] = {**answers, "sampler": {"type": "hf", **answers["sampler"]}}


def _benchmarks(tree: dict[str, Any], key: str) -> list[str]:
    """The benchmarks that have a setting; one with a required setting only where the tree has its section."""
    return [
        name
        for name, kind in BENCHMARKS.items()
        if key in kind.model_fields and (tree.get(name) is not None or not _needs_settings(kind))
    ]


def _default(tree: dict[str, Any], section: str, key: str, value: Any) -> None:
    part = tree.get(section)
    if part is None:
        part = tree[section] = {}
    if isinstance(part, dict):
        part.setdefault(key, value)


def _default_in(tree: dict[str, Any], section: str, part: str, values: dict[str, Any]) -> None:
    holder = tree[section]
    if isinstance(holder, dict) and isinstance(holder.get(part), dict):
        holder[part] = {**values, **holder[part]}
