"""The parameters of the pipelines: names, defaults, what they mean, and which settings they stand for.

This is the one place. The pipelines' signatures and descriptions, their first components, `compose` and the document of
parameters are made from it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from larpo_lib.errors import ConfigError

Form = tuple["Field", ...]
Settings = Mapping[str, Any]
"""Settings by their dotted names."""


@dataclass(frozen=True)
class Field:
    """One parameter of a pipeline.

    Attributes:
        name: of the parameter.
        default: the value that leaves the settings as they are, or what a pod is given.
        meaning: what a person reads beside it.
        settings: what a value other than the default sets.
    """

    name: str
    default: Any
    meaning: str
    settings: Callable[[Any], Settings] | None = None

    @property
    def kind(self) -> type:
        """The type of its values."""
        return type(self.default)


def _sets(*names: str) -> Callable[[Any], Settings]:
    return lambda value: dict.fromkeys(names, value)


def _temperatures(text: str) -> Settings:
    try:
        values = [float(part) for part in text.split(",")]
    except ValueError:
        raise ConfigError(
            f"temperature is '{text}'", remedy="Set a number, or one for each iteration, for example 1.0,0.9,0.8"
        ) from None
    return {"sample.temperature": values if len(values) > 1 else values[0]}


def _rewards(text: str) -> Settings:
    kind, _, model = text.partition(":")
    named = {"rerank.reranker.type": kind}
    return {**named, "rerank.reranker.path": model} if model else named


_WHERE: Form = (
    Field(
        "root",
        "",
        "Root folder of runs: an s3:// URI or an absolute path. Empty: the run's folder in the pipeline root.",
    ),
    Field(
        "run_id",
        "",
        "Name of the run below root. A run with the same name continues from its published results. Empty: the "
        "ID that Kubeflow assigns.",
    ),
    Field(
        "preset",
        "",
        "Base settings: quickstart or another name from `larpo presets`, such as mistral-7b-base-fsfairx, or "
        "the s3:// URI of a TOML file. Empty: the defaults.",
    ),
    Field(
        "settings",
        "{}",
        'JSON with any settings of larpo run, which override the preset, such as {"sample": {"top_p": 0.9}}. The'
        " parameters below override it, unless they are at their defaults.",
    ),
)
_POLICY = Field(
    "policy",
    "",
    "Policy to start from: an s3:// URI, a name on the Hugging Face hub (org/name or org/name@revision), or a "
    "directory of the cache volume. Empty: from the settings.",
    _sets("policy"),
)
_PROMPTS = Field(
    "prompts_source",
    "",
    "Prompts to train on: an s3:// URI of JSONL, JSON, CSV or Parquet, or the name of a data set. Empty: from "
    "the settings.",
    _sets("prepare.source"),
)
_ROUNDS = Field("rounds", 0, "Iterations of the loop. 0: from the settings.", _sets("loop.iterations"))
_ALGORITHM: Form = (
    Field(
        "objective",
        "",
        "Objective to train with, such as listmle, lambdarank, contrastive or dpo. Empty: from the settings.",
        _sets("train.objective.type"),
    ),
    Field("k", 0, "Number of responses sampled for each prompt. 0: from the settings.", _sets("sample.k")),
    Field(
        "temperature",
        "",
        "Sampling temperature: one value, or one for each iteration, separated by commas. Empty: from the settings.",
        _temperatures,
    ),
    Field(
        "rewards",
        "",
        "Reranker: its type, and after a colon its model (a name on the Hugging Face hub, an s3:// URI, or a directory "
        "on the cache volume), for example "
        "verifier or classifier:/cache/models/FsfairX-LLaMA3-RM-v0.1. Empty: from the settings.",
        _rewards,
    ),
)
_MODEL_NAME = Field(
    "model_name", "", "Name of the registered model in MLflow. Empty: from the settings.",
    _sets("promote.model_name"),
)  # fmt: skip
_SHARDS = Field("shards", 1, "Number of pods that divide the sampling of an iteration, and then the reranking.")

KINDS = {
    "sample": "of each pod that samples",
    "rerank": "of each pod that reranks",
    "train": "of each machine that trains; with a launcher, each GPU has one process",
    "evaluate": "of each pod that evaluates",
}
"""The kinds of tasks that run models, each with a machine of its own."""
MEMORY = "8Gi"
"""Of a machine where nothing else is said; for a TrainJob, as much as its runtime says."""


def _machine(kind: str) -> Form:
    of_trainjobs = " A TrainJob's runtime has its own; a value other than the default replaces it."
    memory = f"Memory {KINDS[kind].partition(';')[0]}: requested and maximum amount."
    return (
        Field(f"{kind}_gpus", "0", f"GPUs {KINDS[kind]}."),
        Field(f"{kind}_memory", MEMORY, memory + (of_trainjobs if kind == "train" else "")),
    )


_NOT_TRAINJOBS = "Not for a TrainJob, whose runtime has its own."
_NODES: Form = (
    Field("node_selector", {}, f"Labels of the nodes that models run on. {_NOT_TRAINJOBS}"),
    Field("tolerations", [], f"Tolerations of the pods that run models. {_NOT_TRAINJOBS}"),
)

_MACHINES: Form = tuple(field for kind in KINDS for field in _machine(kind))
_EVALUATED: Form = (
    replace(_POLICY, meaning="Policy to evaluate: an s3:// URI, or a directory of the cache volume."),
    Field("baseline", "", "Policy to compare with, and to beat if the registry has no champion. Empty: none."),
    Field(
        "prompts_source",
        "",
        "Held-out prompts: an s3:// URI of JSONL, JSON, CSV or Parquet, or the name of a data set. Empty: from "
        "the settings.",
        _sets("prepare.source", "evaluation_prompts.source"),
    ),  # where nothing is trained, prompts to train on need no source of their own
)
_GRID = Field(
    "grid",
    ["{}"],
    'Changes of each run, as a list of JSON texts, such as ["{\\"lists\\": {\\"memory\\": \\"all\\"}}", "{}"]. '
    "Runs must not change how policies are evaluated or what they start from.",
)

PipelineName = Literal["larpo", "evaluate", "study"]

FORMS: dict[str, Form] = {
    "larpo": (*_WHERE, _POLICY, _PROMPTS, _ROUNDS, *_ALGORITHM, _MODEL_NAME, _SHARDS, *_MACHINES, *_NODES),
    "evaluate": (*_WHERE, *_EVALUATED, _MODEL_NAME, *_machine("evaluate"), *_NODES),
    "study": (*_WHERE, _GRID, _POLICY, _PROMPTS, _ROUNDS, _SHARDS, *_MACHINES, *_NODES),
}
"""The parameters of each pipeline, in the order in which a person meets them."""


def asked(pipeline: str) -> list[str]:
    """Names of the parameters that a pipeline's first task is given: all but where in the cluster pods go."""
    places = {field.name for field in _NODES}
    return [field.name for field in FORMS[pipeline] if field.name not in places]


def given_settings(pipeline: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """The settings, by their dotted names, of those parameters that are not left at their defaults.

    Raises:
        ConfigError: a value cannot be read.
    """
    found: dict[str, Any] = {}
    for field in FORMS[pipeline]:
        value = given.get(field.name, field.default)
        if field.settings is not None and value != field.default:
            found.update(field.settings(value))
    return found
