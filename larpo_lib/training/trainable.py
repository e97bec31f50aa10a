"""Models as they are trained: whole, shared out by ZeRO-3 or with low-rank adapters; and the directory they become."""

import copy
import math
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, PreTrainedModel, Trainer

from larpo_lib.adapters import is_adapter
from larpo_lib.config import LoraConfig, ModelConfig, TrainConfig, TrainingConfig
from larpo_lib.errors import ConfigError, ModelError
from larpo_lib.models.device import model_device, model_dtype, training_attention
from larpo_lib.models.model_dir import ModelDir
from larpo_lib.models.published import check_publishable
from larpo_lib.models.rope import check_scorable

ADAPTER = "default"
"""What peft calls adapters that nobody gave a name."""

_TARGETS = "Set lora.targets to linear layers of the model, remove it, or train all weights"


def check_trainable(model: ModelDir, config: TrainingConfig) -> None:
    """Check, without its weights, that a model can be trained as the settings ask.

    Raises:
        ModelError: the directory cannot be used.
        ConfigError: a library is missing, there is nothing to put an adapter beside, or sequences may be longer than
            the model takes, or the objective is a function that cannot be used.
        LarpoError: the objective is a function that fails on a small batch.
    """
    if isinstance(config, TrainConfig):
        config.objective.check()
    check_scorable(model, config.max_tokens, f"max_tokens = {config.max_tokens}")
    training_attention(model.settings, model.config)
    _check_unquantized(model)
    check_publishable(model)
    if model_dtype(model.settings) is torch.float16:
        raise ConfigError("training with float16 is not supported", remedy="Set model.dtype to bfloat16 or float32")
    if is_adapter(model.path) and config.launch.launcher == "deepspeed" and config.launch.zero_stage == 3:
        raise ConfigError(
            f"{model.path}: contains adapters, which cannot be merged into a base model divided by zero_stage = 3",
            remedy="Set zero_stage to 2, or merge the adapters with peft's merge_and_unload",
        )
    if config.launch.launcher == "deepspeed" and config.launch.zero_stage == 0:
        _check_stage_0(model.settings)
    if config.launch.launcher == "deepspeed" and find_spec("deepspeed") is None:
        raise ConfigError(
            "launcher = deepspeed, but DeepSpeed is not installed",
            remedy="pip install 'larpo[deepspeed]', or set launcher to torchrun",
        )
    if config.lora is None:
        return
    if find_spec("peft") is None:
        raise ConfigError(
            "lora is set, but peft is not installed", remedy="pip install 'larpo[lora]', or train all weights"
        )
    with torch.device("meta"):  # the modules without their weights
        empty = AutoModelForCausalLM.from_config(
            copy.deepcopy(model.config), trust_remote_code=model.settings.trust_remote_code
        )
    add_adapters(empty, config.lora)


def _check_stage_0(settings: ModelConfig) -> None:
    """DeepSpeed's optimiser for it takes a step of its own before the first one, so that all that follow are others."""
    if model_dtype(settings) is torch.bfloat16:
        raise ConfigError(
            "DeepSpeed with zero_stage = 0 cannot train in bfloat16",
            remedy="Set zero_stage to 1 or 2, or launcher to torchrun, which also lets each process hold all",
        )


def _check_unquantized(model: ModelDir) -> None:
    quantized = getattr(model.config, "quantization_config", None)
    if quantized is not None:
        method = quantized.get("quant_method") if isinstance(quantized, dict) else quantized.quant_method
        raise ModelError(
            f"{model.path}: its weights are quantized ({method}), which cannot be trained",
            remedy="Use the model in bfloat16 or float32",
        )


def load_trainable(kind: Any, source: ModelDir, config: TrainingConfig) -> PreTrainedModel:
    """Load a model to train, with one of the `AutoModelFor...` classes.

    Weights that are trained are float32, or what DeepSpeed makes of them; those that low-rank adapters leave alone have
    the precision of the forward pass.

    Raises:
        ModelError: the directory cannot be used.
        ConfigError: adapters are wanted where they cannot be had.
    """
    adapted = config.lora is not None and model_dtype(source.settings) is torch.bfloat16
    model = _load(kind, source, torch.bfloat16 if adapted else torch.float32)
    if config.lora is not None:
        with torch.random.fork_rng():
            torch.manual_seed(config.seed)  # all processes draw the same, and so does every run
            add_adapters(model, config.lora)
    return model


def load_reference(source: ModelDir, config: TrainingConfig) -> PreTrainedModel:
    """Load a policy whose passes compute as those of a training do, within `pass_precision`; adapters start at 0.

    Raises:
        ModelError: the directory cannot be used.
    """
    return _load(AutoModelForCausalLM, source, _read_weights(config))


def _load(kind: Any, source: ModelDir, dtype: torch.dtype) -> PreTrainedModel:
    changes = {
        "attention": training_attention(source.settings, source.config) or "auto",
        "dtype": str(dtype).removeprefix("torch."),
    }
    return ModelDir(source.path, source.settings.model_copy(update=changes)).load(kind)


def pass_precision(config: TrainingConfig) -> AbstractContextManager[Any]:
    """The autocast that `transformers.Trainer` puts around a forward pass; with DeepSpeed there is none."""
    device = model_device(config.model).type
    return torch.autocast(device, torch.bfloat16, enabled=_autocasts(config))


def precision_name(config: TrainingConfig) -> str:
    """What the precision of a training's passes is called; the same only where they compute the same numbers."""
    dtype = model_dtype(config.model)
    return f"{dtype} autocast of {_read_weights(config)}" if _autocasts(config) else str(dtype)


def _autocasts(config: TrainingConfig) -> bool:
    return model_dtype(config.model) is torch.bfloat16 and config.launch.launcher != "deepspeed"


def _read_weights(config: TrainingConfig) -> torch.dtype:
    """Precision of the weights that a pass reads: DeepSpeed rounds them beforehand, autocast those that are trained."""
    whole = config.lora is None and config.launch.launcher != "deepspeed"
    return torch.float32 if whole else model_dtype(config.model)


def add_adapters(model: PreTrainedModel, config: LoraConfig) -> None:
    """Put low-rank adapters (LoRA, arXiv 2106.09685) beside linear layers, and leave all other weights as they are.

    They start at 0, so that the model is still its own reference.
    """
    from peft import LoraConfig as Adapters
    from peft import inject_adapter_in_model

    missing = [target for target in config.targets or () if not _names_modules(model, target)]
    if missing:  # peft is content with one that is there
        raise ConfigError(f"lora.targets: the model has no module {missing[0]}", remedy=_TARGETS)
    targets: Any = list(config.targets) if config.targets else "all-linear"
    adapters = Adapters(r=config.r, lora_alpha=config.alpha, target_modules=targets, lora_dropout=0.0)
    try:
        inject_adapter_in_model(adapters, model, adapter_name=ADAPTER)
    except ValueError as error:
        raise ConfigError(f"lora.targets: {str(error).splitlines()[0]}", remedy=_TARGETS) from None
    _check_mergeable(model)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(".lora_" in name)
        if parameter.requires_grad:
            parameter.data = parameter.data.float()


def moved_weights(model: PreTrainedModel, lora: LoraConfig | None) -> Iterator[tuple[Tensor, float]]:
    """The weights that a training changes in the end, each with how far it goes while trained parameters go 1.

    Beside adapters that is by scale * B A: entries of B that go 1 up or down, with A as it starts, uniform within
    1 / sqrt(inputs).
    """
    for name, parameter in model.named_parameters():
        if parameter.requires_grad and ".lora_" not in name:
            yield parameter, 1.0
    for module in model.modules():
        layer: Any = getattr(module, "base_layer", None)
        if lora is not None and layer is not None and any(part.requires_grad for part in module.parameters()):
            yield layer.weight, lora.alpha / math.sqrt(3 * lora.r * layer.in_features)


def _names_modules(model: PreTrainedModel, target: str) -> bool:
    return any(f".{name}".endswith(f".{target}") for name, _ in model.named_modules())


def _check_mergeable(model: PreTrainedModel) -> None:
    """Refuse, before anything is trained, adapters that `merge_trained` could not put into plain weights."""
    embeddings = {id(module.weight) for module in model.modules() if isinstance(module, torch.nn.Embedding)}
    for name, module in model.named_modules():
        layer = getattr(module, "base_layer", None)
        if layer is None:
            continue
        if type(layer).forward is not torch.nn.Linear.forward:  # nor a router that is one and gives more
            kind = type(layer).__name__
            raise ConfigError(
                f"lora: {name} of a {model.config.model_type} model is a {kind} layer, not a Linear layer",
                remedy=_TARGETS,
            )
        if id(layer.weight) in embeddings:
            raise ConfigError(f"lora.targets: {name} shares its weights with the embeddings", remedy=_TARGETS)


@contextmanager
def gathered_parameters(parameters: Iterable[Tensor], changed_by: int | None = None) -> Iterator[None]:
    """Parameters whole, which ZeRO-3 spreads over processes; `changed_by` is the rank that changes them."""
    parameters = list(parameters)
    if not any(hasattr(parameter, "ds_id") for parameter in parameters):
        yield
        return
    import deepspeed

    with deepspeed.zero.GatheredParameters(parameters, modifier_rank=changed_by):
        yield


def trained_weights(trainer: Trainer) -> dict[str, Tensor]:
    """The weights after training, whole, with adapters beside them, on the leading process."""
    assert trainer.model_wrapped is not None
    weights: dict[str, Tensor] = trainer.accelerator.get_state_dict(trainer.model_wrapped)
    return weights


def check_finite(weights: dict[str, Tensor]) -> None:
    """Check that training has left numbers.

    Raises:
        ModelError: a weight is not a finite number.
    """
    for name, value in weights.items():
        if not value.isfinite().all():
            raise ModelError(
                f"training made weights of {name} infinite or NaN",
                remedy="Reduce the learning rate, and run `larpo --discard-partial ...`: this training cannot be "
                "continued",
            )
