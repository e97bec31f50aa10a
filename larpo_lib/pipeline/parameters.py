"""The parameters of a pipeline to settings: preset, then `settings`, then every parameter that was given."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from larpo_lib.config import LarpoConfig, apply_settings
from larpo_lib.config.load import check, check_values, load_tree
from larpo_lib.errors import ConfigError
from larpo_lib.parsing import parse_json
from larpo_lib.pipeline.form import given_settings
from larpo_lib.presets import preset_file
from larpo_lib.storage import cache_dir, fetch, is_remote, with_code

QUICKSTART = "quickstart"

_QUANTITY = re.compile(r"[1-9][0-9]*(\.[0-9]+)?(Ki|Mi|Gi|Ti|k|M|G|T)")


def compose(given: Mapping[str, Any], *more: Mapping[str, Any], pipeline: str = "larpo") -> LarpoConfig:
    """The configuration that the parameters ask for.

    Args:
        given: parameters of a pipeline by name; those that are no settings are passed over, those that are missing are
            at their defaults.
        more: settings over all of them.
        pipeline: whose parameters they are.

    Raises:
        ConfigError: a parameter, a setting or the preset cannot be used.
        StorageError: a function's file is in a store and cannot be read.
    """
    tree = apply_settings(_preset(given.get("preset", "")), read_settings(given.get("settings", "")))
    for name, value in given_settings(pipeline, given).items():
        tree = apply_settings(tree, _nest(name, value))
    for settings in more:
        tree = apply_settings(tree, dict(settings))
    config = check(LarpoConfig, tree)
    gpus = gpu_count(given, "train_gpus")
    if gpus > 1 and config.train.launch.launcher == "none":
        remedy = 'Set train.launch.launcher, for example {"train": {"launch": {"launcher": "deepspeed"}}}'
        raise ConfigError(f"train_gpus is {gpus}, but training uses one process", remedy=remedy)
    for section in ("train", "sft"):
        if gpus and getattr(config, section).launch.launcher != "none":
            tree = apply_settings(tree, _nest(f"{section}.launch.nproc", gpus))
    return with_code(check(LarpoConfig, tree))


def gpu_count(given: Mapping[str, Any], name: str) -> int:
    """A number of GPUs. It is text, since Kubeflow takes nothing else for what a pod is given.

    Raises:
        ConfigError: it is no number.
    """
    text = str(given.get(name, "0")).strip()
    if not text.isascii() or not text.isdecimal():
        raise ConfigError(f"{name} is '{text}'", remedy="Set a whole number of GPUs, 0 for none")
    return int(text)


def check_machines(given: Mapping[str, Any]) -> None:
    """Check what pods are to be given, before the first of them is asked for.

    Raises:
        ConfigError: a number of GPUs or an amount of memory is none.
    """
    for name in given:
        if name.endswith("_gpus"):
            gpu_count(given, name)
        if name.endswith("_memory") and not _QUANTITY.fullmatch(given[name]):
            raise ConfigError(f"{name} is '{given[name]}'", remedy="Set an amount with its unit, such as 8Gi or 500Mi")


def _nest(name: str, value: Any) -> dict[str, Any]:
    for part in reversed(name.split(".")):
        value = {part: value}
    return dict(value)


def _preset(name: str) -> dict[str, Any]:
    if not name:
        return {}
    elsewhere = is_remote(name) or Path(name).is_absolute()
    return load_tree(fetch(name, cache_dir()) if elsewhere else preset_file(name))


def read_settings(text: str) -> dict[str, Any]:
    """The parameter `settings`.

    Raises:
        ConfigError: it is no JSON object.
    """
    try:
        tree = parse_json(text or "{}")
    except ValueError as error:
        raise ConfigError(f"settings is not valid JSON: {error}") from None
    if not isinstance(tree, dict):
        raise ConfigError("settings is not a JSON object", remedy='Write it like {"sample": {"top_p": 0.9}}')
    check_values(tree)
    return tree
