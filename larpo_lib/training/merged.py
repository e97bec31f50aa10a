"""Puts trained low-rank adapters into plain weights, so that nothing of a training is lost.

Adapters are trained beside weights in the precision of the forward pass. Neighbours in bfloat16 are .4 to .8 % apart.
What an adapter adds to a weight is often less than half of that, and a merge in bfloat16 would leave the weight as it
was. So adapters are merged into the weights as they are stored, in float32, and the sums are published in float32. The
next training reads them in bfloat16 again, and adds to them in float32: changes that are too small to be seen in
bfloat16 add up, as in the float32 weights of a training without adapters.
"""

import logging
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, PreTrainedModel
from transformers.integrations.deepspeed import unset_hf_deepspeed_config

from larpo_lib.config import LoraConfig
from larpo_lib.models.device import model_dtype
from larpo_lib.models.model_dir import ModelDir
from larpo_lib.training.reward_model import is_reward_model
from larpo_lib.training.trainable import ADAPTER

UPDATE_KEPT = "lora_update_kept"
"""Metric: share of what the adapters change that is left when the policy is read in `model.dtype`."""
_MUCH = 0.9


def merge_trained(
    trained: Mapping[str, Tensor], model: PreTrainedModel, lora: LoraConfig, source: ModelDir
) -> tuple[dict[str, Tensor], dict[str, float]]:
    """The plain weights to publish of a model that was trained with adapters, and metrics of the merge.

    In bfloat16 it takes 4 bytes of the CPU's memory for each parameter of the model.

    Args:
        trained: weights of the model, adapters beside them.
        model: that was trained.
        lora: settings of the adapters.
        source: what it was loaded from.
    """
    scale = lora.alpha / lora.r
    if model_dtype(source.settings) is torch.float32:
        return merge_lora_weights(trained, scale), {}
    learnt = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    stored = {name: value for name, value in _stored_weights(source).items() if name not in learnt}
    weights = merge_lora_weights(trained, scale, stored)
    kept = update_kept(trained, weights, scale)
    if kept < _MUCH:
        logging.getLogger(__name__).warning(
            "When the model is loaded as %s, as for sampling and by the next training, only %.0f %% of what adapters"
            " have learnt is left: many weights change by less than half a step of this precision. The published"
            " weights are float32 and have all of it. Increase the learning rate, train for more steps, or set"
            " model.dtype to float32",
            str(model_dtype(source.settings)).removeprefix("torch."),
            100 * kept,
        )
    return weights, {UPDATE_KEPT: kept}


def merge_lora_weights(
    weights: Mapping[str, Tensor], scale: float, stored: Mapping[str, Tensor] | None = None
) -> dict[str, Tensor]:
    """Weights of a model with low-rank adapters as those of the plain model: W + scale * B A, rounded once.

    Args:
        weights: of the model; adapted layers as peft names them.
        scale: of the adapters.
        stored: float32 weights of the plain model, which are changed in place and taken where there are any; the others
            become float32, too. None: the sums have the precision of the weights.
    """
    plain = {}
    for name, value in weights.items():
        if ".lora_" not in name:
            own = name.replace(".base_layer.", ".")
            plain[own] = value if stored is None else stored[own] if own in stored else value.float()
    for name, _, update in _updates(weights, scale):
        value = plain[name]
        if stored is not None and name in stored:
            value += update.to(value.device)
        else:
            plain[name] = (value.float() + update).to(value.dtype)
    return plain


def update_kept(weights: Mapping[str, Tensor], published: Mapping[str, Tensor], scale: float) -> float:
    """Share of the adapters' update that is left in the precision in which the model was trained.

    With the update U of all adapted layers and what reading the published weights changes of those that were trained
    beside, R, it is <R, U> / <U, U>. It is 1 where there is no update.
    """
    left = whole = 0.0
    for name, before, update in _updates(weights, scale):
        after = published[name].to(before.dtype).to(before.device)
        left += float(((after.float() - before.float()) * update).sum())
        whole += float(update.square().sum())
    return left / whole if whole else 1.0


def _updates(weights: Mapping[str, Tensor], scale: float) -> Iterator[tuple[str, Tensor, Tensor]]:
    """Of each adapted layer the plain name of its weight, the weight that was trained beside, and scale * B A."""
    for name, value in weights.items():
        layer = name.removesuffix(".base_layer.weight")
        if layer != name:
            up, down = (weights[f"{layer}.lora_{part}.{ADAPTER}.weight"].float() for part in "BA")
            yield f"{layer}.weight", value, scale * (up @ down)


def _stored_weights(source: ModelDir) -> dict[str, Tensor]:
    """A model's weights in float32, on the CPU."""
    unset_hf_deepspeed_config()  # with ZeRO-3 this process would load a part of them
    changes = {"device": "cpu", "dtype": "float32", "attention": "auto"}
    kind = AutoModelForSequenceClassification if is_reward_model(source) else AutoModelForCausalLM
    weights: dict[str, Tensor] = (
        ModelDir(source.path, source.settings.model_copy(update=changes)).load(kind).state_dict()
    )
    return weights
