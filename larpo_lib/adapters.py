"""Policies that are low-rank adapters beside a base: directories with `adapter_config.json`, as peft writes them."""

from pathlib import Path
from typing import Any

from larpo_lib.errors import ModelError
from larpo_lib.parsing import parse_json

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"

_MERGE = "Merge it into its base with peft's merge_and_unload and save_pretrained, and use that directory"


def is_adapter(path: Path) -> bool:
    """Whether a directory holds adapters in place of a whole model."""
    return (path / CONFIG).is_file()


def base_of(path: Path) -> Path:
    """The directory of the model that adapters belong to: a local one, or one in this machine's Hugging Face cache.

    Raises:
        ModelError: it is not there, or the adapters are none that can be merged into a policy.
    """
    settings = _settings(path)
    named = settings.get("base_model_name_or_path")
    if not isinstance(named, str) or not named:
        remedy = "Set base_model_name_or_path to the base's directory"
        raise ModelError(f"{path / CONFIG}: does not name a base model", remedy=remedy)
    for candidate in (Path(named), path / named):
        if candidate.is_dir():
            if is_adapter(candidate):
                raise ModelError(f"{path}: its base model {candidate} is itself an adapter", remedy=_MERGE)
            return candidate
    found = cached(named, settings.get("revision"))
    if found is None:
        raise ModelError(
            f"{path}: its base '{named}' is neither a local directory nor in this machine's Hugging Face cache",
            remedy=f"Set base_model_name_or_path in its {CONFIG} to the base's directory, or to its name on the hub",
        )
    return found


def model_directory(path: Path) -> Path:
    """Where a model's configuration and weights are: its own directory, or that of the base of adapters.

    Raises:
        ModelError: the base is not to be found.
    """
    return base_of(path) if is_adapter(path) else path


def tokenizer_directory(path: Path) -> Path:
    """Where a model's tokenizer is: its own directory, or that of the base of adapters that come without one."""
    return path if (path / "tokenizer_config.json").is_file() else model_directory(path)


def cached(name: str, revision: str | None) -> Path | None:
    """A model's directory in this machine's Hugging Face cache, by its name on the hub; None where it has none."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        found = try_to_load_from_cache(name, "config.json", revision=revision)
    except HFValidationError:
        return None
    return Path(found).parent if isinstance(found, str) else None


def _settings(path: Path) -> dict[str, Any]:
    try:
        settings = parse_json((path / CONFIG).read_text("utf-8"))
        kind, task = settings.get("peft_type"), settings.get("task_type")
    except (OSError, ValueError, AttributeError) as error:
        raise ModelError(f"{path / CONFIG}: cannot be read: {error}") from None
    if kind != "LORA":
        raise ModelError(f"{path}: adapters of type {kind} cannot be merged, only LORA", remedy="Use a complete model")
    if task not in (None, "CAUSAL_LM"):
        raise ModelError(f"{path}: the adapters are for a model of the task {task}, not CAUSAL_LM", remedy=_MERGE)
    whole = next(iter([*path.glob("model*.safetensors"), *path.glob("pytorch_model*.bin")]), None)
    if whole is not None:
        raise ModelError(
            f"{path}: contains both adapters ({CONFIG}) and a complete model ({whole.name})",
            remedy="Remove one of them",
        )
    if not (path / WEIGHTS).is_file():
        raise ModelError(f"{path}: the adapters' weights are missing ({WEIGHTS})", remedy="Save them as safetensors")
    return dict(settings)
