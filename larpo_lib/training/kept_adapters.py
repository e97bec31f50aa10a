"""The low-rank adapters of a training, kept beside the policy that they were merged into, as peft writes them."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor

from larpo_lib.adapters import CONFIG, WEIGHTS
from larpo_lib.artifacts import HUB_MARK
from larpo_lib.config import LoraConfig
from larpo_lib.files import read_json, write_json
from larpo_lib.models.hub import HubModel
from larpo_lib.training.trainable import ADAPTER

FOLDER = "adapter"
"""Folder below the policy; a loader of the policy does not look into it."""

_PREFIX = "base_model.model."
_LORA = ".lora_A."


def keep_adapters(weights: Mapping[str, Tensor], config: LoraConfig, base: Path, directory: Path) -> None:
    """Write the adapters among `weights`, and their settings, to the folder `adapter` of a policy.

    peft loads them onto the model that was trained: `PeftModel.from_pretrained(model, directory / "adapter")`. Its
    place is not among the settings, since the same training gives the same bytes anywhere; a name on the hub is, and
    artifact.json has the digest of any other (`inputs.policy`).

    Args:
        weights: of the trained model, adapters included.
        config: of the adapters.
        base: the model that was trained.
        directory: of the policy.
    """
    kept = {
        _PREFIX + name.replace(f".{ADAPTER}.", "."): value.contiguous().cpu()
        for name, value in weights.items()
        if ".lora_" in name
    }
    folder = directory / FOLDER
    folder.mkdir()
    save_file(kept, folder / WEIGHTS, metadata={"format": "pt"})
    name, revision = _of_hub(base)
    settings = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": name,
        "revision": revision,
        "r": config.r,
        "lora_alpha": config.alpha,
        "lora_dropout": 0.0,
        "bias": "none",
        "target_modules": _targets(weights),
        "fan_in_fan_out": False,
        "inference_mode": True,
    }
    write_json(folder / CONFIG, settings)


def _of_hub(base: Path) -> tuple[str | None, str | None]:
    """Name and commit of a model of the hub; None of any other, and of adapters, which were merged before."""
    if not (base / HUB_MARK).is_file() or (base / CONFIG).is_file():
        return None, None
    recorded: dict[str, Any] = read_json(base / HUB_MARK, remedy="Fetch the model again")
    found = HubModel.parse(str(recorded["model"]))
    return (None, None) if found is None else (found.name, found.revision)


def _targets(weights: Iterable[str]) -> list[str]:
    """The adapted modules by the ends of their names, as peft's users do; by whole names where those hit others."""
    adapted = {name.partition(_LORA)[0] for name in weights if _LORA in name}
    ends = {name.rpartition(".")[2] for name in adapted}
    plain = {name.removesuffix(".weight") for name in weights if name.endswith(".weight") and ".lora_" not in name}
    others = {name for name in plain if not name.endswith(".base_layer") and name.rpartition(".")[2] in ends}
    return sorted(adapted if others else ends)
