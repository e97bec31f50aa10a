"""Puts low-rank adapters into the weights of their base."""

from importlib.util import find_spec
from pathlib import Path

from transformers import PreTrainedModel

from larpo_lib.errors import ConfigError, ModelError


def merge_adapters(model: PreTrainedModel, path: Path) -> PreTrainedModel:
    """Merge the adapters in `path` (LoRA, arXiv 2106.09685) into the weights of `model`, their base.

    Raises:
        ConfigError: peft is not installed.
        ModelError: they are of another model.
        ValueError: the weights would not be finite.
    """
    if find_spec("peft") is None:
        raise ConfigError(f"{path}: contains adapters, but peft is not installed", remedy="pip install 'larpo[lora]'")
    from peft import PeftConfig, PeftModel

    config = PeftConfig.from_pretrained(str(path))
    config.task_type = None  # a score head may stand where the output layer was
    adapted = PeftModel(model, config)
    loaded = adapted.load_adapter(str(path), "default")
    left = [*loaded.unexpected_keys, *(name for name in loaded.missing_keys if "lora_" in name)]
    if left:  # peft would leave them out, or leave new ones at random
        raise ModelError(
            f"{path}: the adapters do not fit their base model: {left[0]}"
            + (f" and {len(left) - 1} more" if len(left) > 1 else ""),
            remedy="Set base_model_name_or_path to the model that they were trained on",
        )
    merged: PreTrainedModel = adapted.merge_and_unload(safe_merge=True)
    return merged.requires_grad_(True)  # peft has frozen it
