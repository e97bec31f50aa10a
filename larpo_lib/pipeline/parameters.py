"""The parameters of a pipeline to settings: preset, then `settings`, then every parameter that was given."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from larpo_lib.config import LarpoConfig, apply_settings
from larpo_lib.config.load import check, load_tree
from larpo_lib.errors import ConfigError
from larpo_lib.storage import cache_dir, fetch, is_remote

QUICKSTART = "quickstart"
PRESETS = (
    QUICKSTART,
    "gemma-2-2b-it-pairrm",
    "mathstral-7b-gsm8k",
    "mistral-7b-base-fsfairx",
    "mistral-7b-base-pairrm",
    "mistral-7b-instruct-fsfairx",
    "mistral-7b-instruct-pairrm",
)

_PLACES: dict[str, tuple[str, Any]] = {
    "policy": ("policy", ""),
    "seed": ("seed", -1),
    "prompts_source": ("prepare.source", ""),
    "prompts_limit": ("prepare.limit", 0),
    "prompts_heldout": ("prepare.heldout", -1),
    "evaluation_prompts_source": ("evaluation_prompts.source", ""),
    "demonstrations_source": ("demonstrations.source", ""),
    "rounds": ("loop.iterations", 0),
    "early_stop_patience": ("loop.early_stop.patience", 0),
    "early_stop_min_delta": ("loop.early_stop.min_delta", -1.0),
    "sample_sampler": ("sample.sampler.type", ""),
    "sample_k": ("sample.k", 0),
    "sample_max_new_tokens": ("sample.max_new_tokens", 0),
    "sample_prompts_per_round": ("sample.prompts_per_iteration", 0),
    "rerank_reranker": ("rerank.reranker.type", ""),
    "rerank_model": ("rerank.reranker.path", ""),
    "lists_memory": ("lists.memory", ""),
    "lists_selection": ("lists.selection.type", ""),
    "train_objective": ("train.objective.type", ""),
    "train_beta": ("train.objective.beta", 0.0),
    "train_learning_rate": ("train.learning_rate", 0.0),
    "train_epochs": ("train.epochs", 0),
    "train_batch_size": ("train.batch_size", 0),
    "train_nodes": ("train.launch.nodes", 0),
    "evaluate_n": ("evaluate.n", 0),
    "promote_model_name": ("promote.model_name", ""),
    "tracking_experiment": ("tracking.experiment", ""),
}
"""Parameter to the setting it stands for, and the value that leaves the setting as it is."""

UNSET: dict[str, Any] = {
    **{name: unset for name, (_, unset) in _PLACES.items()},
    **dict.fromkeys(("preset", "early_stop_metric", "sample_temperature", "train_launcher"), ""),
    **dict.fromkeys(("evaluate_when", "promote_when"), ""),
    "settings": "{}",
    "train_gpus": 0,
}
"""The parameters that make up the configuration, each at the value that leaves the settings as they are."""

_WHEN = {"every_round": "every_iteration", "last_round": "last_iteration"}
_OFF = "off"


def compose(given: Mapping[str, Any], *more: Mapping[str, Any]) -> LarpoConfig:
    """The configuration that the parameters ask for.

    Args:
        given: parameters of the pipeline `larpo` by name; those that are no settings are passed over, those that are
            missing are unset.
        more: settings over all of them.

    Raises:
        ConfigError: a parameter, a setting or the preset cannot be used.
    """
    given = {**UNSET, **given}
    tree = apply_settings(_preset(given["preset"]), read_settings(given["settings"]))
    for name, value in _single(given):
        tree = apply_settings(tree, _nest(name, value))
    for settings in more:
        tree = apply_settings(tree, dict(settings))
    config = check(LarpoConfig, tree)
    gpus, launch = int(given["train_gpus"]), config.train.launch
    if launch.launcher == "none":
        if gpus > 1:
            raise ConfigError(f"train_gpus is {gpus}, but one process trains", remedy="Set train_launcher to deepspeed")
        return config
    if gpus:
        for section in ("train", "sft"):
            tree = apply_settings(tree, _nest(f"{section}.launch.nproc", gpus))
    return check(LarpoConfig, tree)


def _single(given: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """The settings that parameters stand for, by their dotted names."""
    found = [(place, given[name]) for name, (place, unset) in _PLACES.items() if given[name] != unset]
    if given["early_stop_metric"] not in ("", _OFF):
        found.append(("loop.early_stop.metric", given["early_stop_metric"]))
    if given["early_stop_metric"] == _OFF:
        found.append(("loop.early_stop", None))
    if given["sample_temperature"]:
        found.append(("sample.temperature", _temperatures(given["sample_temperature"])))
    if given["train_launcher"]:
        found += [(f"{section}.launch.launcher", given["train_launcher"]) for section in ("train", "sft")]
    for name in ("evaluate", "promote"):
        when = given[f"{name}_when"]
        if when:
            if when not in _WHEN:
                raise ConfigError(f"{name}_when is '{when}'", remedy=f"Set it to one of {', '.join(_WHEN)}")
            found.append((f"loop.{name}", _WHEN[when]))
    return found


def _temperatures(text: str) -> float | list[float]:
    try:
        values = [float(part) for part in text.split(",")]
    except ValueError:
        raise ConfigError(
            f"sample_temperature is '{text}'", remedy="Give a number, or one a round, as in 1.0,0.9,0.8"
        ) from None
    return values if len(values) > 1 else values[0]


def _nest(name: str, value: Any) -> dict[str, Any]:
    for part in reversed(name.split(".")):
        value = {part: value}
    return dict(value)


def _preset(name: str) -> dict[str, Any]:
    if not name:
        return {}
    if name == QUICKSTART:
        return load_tree(Path(str(resources.files("larpo_lib.playground") / "quickstart.toml")))
    if name in PRESETS:
        return load_tree(Path(str(resources.files("pipelines") / "configs" / f"{name}.toml")))
    if is_remote(name) or Path(name).is_absolute():
        return load_tree(fetch(name, cache_dir()))
    raise ConfigError(
        f"there is no preset '{name}'", remedy=f"Give one of {', '.join(PRESETS)}, or a URI of a TOML file"
    )


def read_settings(text: str) -> dict[str, Any]:
    """The parameter `settings`.

    Raises:
        ConfigError: it is no JSON object.
    """
    try:
        tree = json.loads(text or "{}")
    except ValueError as error:
        raise ConfigError(f"settings is no JSON: {error}") from None
    if not isinstance(tree, dict):
        raise ConfigError("settings is no JSON object", remedy='Write it as in {"sample": {"top_p": 0.9}}')
    return tree
