"""What an artifact's manifest says of the settings it was made with.

A manifest holds the settings that decide the result, of the version that made it. So it is never read as the settings
of a step: those that say how the work is done are missing, and others may have been added since. Each reader states
here what it needs.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, ValidationError

from larpo_lib.artifacts import MANIFEST, read_manifest
from larpo_lib.config.base import Seed
from larpo_lib.config.sections import WATCH
from larpo_lib.errors import ArtifactError
from larpo_lib.thinking import without_thoughts

SHARDS = "shards"
"""In the manifest of what was put together of shards: what their manifests have in common."""
_ELSEWHERE = ("path", "device", "seed")
_SAMPLING = ("temperature", "top_p", "max_new_tokens")


class Recorded(BaseModel):
    """A part of the settings in a manifest; what else stands there is passed over."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)


RecordedT = TypeVar("RecordedT", bound=Recorded)


class RecordedType(Recorded):
    """Which of several kinds a part of the settings is of."""

    type: str


class RecordedJudge(RecordedType):
    """Who said right or wrong."""

    mode: str = "exact"
    target: str = ""
    settings: dict[str, Any] = Field(default_factory=dict)
    thinking: str = "strip"

    @property
    def name(self) -> str:
        """What tells its accuracies from another's; of a function also the digest of its file, which is no setting."""
        if self.target:
            settings = json.dumps(self.settings, sort_keys=True, ensure_ascii=False) if self.settings else ""
            kept = "with thoughts" if self.thinking == "keep" else ""
            return " ".join(part for part in (self.type, self.target, settings, kept) if part)
        return self.type if self.mode == "exact" else f"{self.type}-{self.mode}"


class RecordedJudging(Recorded):
    """Of a step that may have had responses judged."""

    judge: RecordedJudge | None = None


class RecordedSampling(Recorded):
    """Of the step `sample`."""

    max_prompt_tokens: PositiveInt


class RecordedIntervals(Recorded):
    """How intervals over prompts are made."""

    resamples: PositiveInt
    confidence: float = Field(gt=0.5, lt=1.0)
    seed: Seed


class RecordedEvaluation(RecordedIntervals):
    """Of the step `evaluate`."""

    temperature: float
    judge: RecordedJudge | None = None


class RecordedWatch(Recorded):
    """A further reward of held-out responses."""

    name: str
    reranker: dict[str, Any]


class RecordedScoring(Recorded):
    """Of a step that may have had responses scored."""

    reranker: dict[str, Any] = Field(default_factory=dict)
    watch: tuple[RecordedWatch, ...] = ()


def judge_name(artifact: Path) -> str | None:
    """What tells the accuracies of an artifact from those that another judge found; None where nothing was judged.

    Raises:
        ArtifactError: as `read_settings`.
    """
    judge = read_settings(artifact, RecordedJudging).judge
    if judge is None:
        return None
    content = read_manifest(artifact)["inputs"].get("judge", "")
    return f"{judge.name} {content[:8]}".strip()


def sampled_with(artifact: Path) -> dict[str, Any]:
    """How the responses of an artifact were sampled, or how a policy answered a benchmark, as far as it is recorded."""
    settings = _made_by(artifact)["config"]
    answers = settings.get("answers", settings)
    return {name: answers[name] for name in _SAMPLING if name in answers}


def scored_by(artifact: Path) -> dict[str, dict[str, Any]]:
    """What decides the rewards of an artifact, by metric: `reward`, and those of watches.

    It is the settings of the reranker, and the content of its models, functions and other files. Two rerankers of one
    name may differ in it. What is not recorded is left out.

    Raises:
        ArtifactError: as `read_settings`.
    """
    if not (artifact / MANIFEST).is_file():
        return {}
    settings, inputs = read_settings(artifact, RecordedScoring), _made_by(artifact)["inputs"]
    found = {"reward": scored_with(settings.reranker, inputs)} if settings.reranker else {}
    for place, one in enumerate(settings.watch):
        metric = f"{WATCH}{one.name}"  # names models; functions are named by their places in the settings
        found[metric] = _made_of(one.reranker, inputs, f"{metric}_", f"watch.{place}.")
    return found


def scored_with(settings: Mapping[str, Any], inputs: Mapping[str, str]) -> dict[str, Any]:
    """What decides rewards: of a reranker's settings, and of the digests of its models, named `reranker...`."""
    return _made_of(settings, inputs, "")


def scored_text(artifact: Path) -> Callable[[str], str]:
    """From a response to what its reward is of: the reply, or, where the reranker is given its thoughts, all of it.

    Raises:
        ArtifactError: as `read_settings`.
    """
    return str if _keeps_thoughts(scored_by(artifact).get("reward", {})) else without_thoughts


def _keeps_thoughts(settings: Mapping[str, Any]) -> bool:
    members = (member.get("reranker", {}) for member in settings.get("members", ()))
    return settings.get("thinking") == "keep" or any(map(_keeps_thoughts, members))


def _made_of(settings: Mapping[str, Any], inputs: Mapping[str, str], *begins: str) -> dict[str, Any]:
    content = {
        name.removeprefix(begin): inputs[name]
        for begin in begins
        for name in inputs
        if name.startswith(begin or "reranker")
    }
    return {**deciding(settings), "content": content}


def deciding(settings: Any) -> Any:
    """Settings of a reranker without those that are others on another machine or in another run, and change nothing.

    These are the places of models, whose content counts instead, the device, and the seed.
    """
    if isinstance(settings, list):
        return [deciding(part) for part in settings]
    if not isinstance(settings, Mapping):
        return settings
    left_out = _ELSEWHERE if {"type", "dtype"} & settings.keys() else ()  # of a function, they are its user's own
    return {name: deciding(part) for name, part in settings.items() if name not in left_out}


def read_settings(artifact: Path, kind: type[RecordedT]) -> RecordedT:
    """The settings that an artifact was made with, as far as `kind` states them.

    Raises:
        ArtifactError: `artifact` is none, or was made by another step, which has no such settings.
    """
    manifest = _made_by(artifact)
    try:
        return kind.model_validate(manifest["config"])
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = ".".join(("config", *map(str, first["loc"])))
        raise ArtifactError(
            f"{artifact / MANIFEST}: {field}: {first['msg']}; the step {manifest['step']} wrote it",
            remedy="Use an artifact of the required step",
        ) from None


def _made_by(artifact: Path) -> dict[str, Any]:
    """The manifest, or what those of an artifact's shards have in common."""
    manifest = read_manifest(artifact)
    shards: dict[str, Any] = manifest.get(SHARDS, manifest)
    return shards
