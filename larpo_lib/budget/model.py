"""The size of a model by its config.json alone: no weight is read or made."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, AutoModelForCausalLM, PretrainedConfig

from larpo_lib import storage
from larpo_lib.config import ModelConfig
from larpo_lib.errors import ConfigError
from larpo_lib.models.hub import HubModel, describe
from larpo_lib.models.model_dir import ModelDir

_TOKENS = (128, 256)
"""Lengths of the rows that activations are counted with; their difference leaves constants out."""

_FUSED = "larpo_fused"
"""Attention that keeps what FlexAttention and flash kernels keep: no mask, and no copies of keys for several heads."""


def read_size(text: str, settings: ModelConfig, kind: Any = AutoModelForCausalLM) -> ModelSize:
    """The size of a model by its directory, of which config.json is enough, or its name on the hub.

    Args:
        text: directory, or name on the hub.
        settings: how it is read.
        kind: one of the `AutoModelFor...` classes.

    Raises:
        ModelError: there is no such model, or its config.json cannot be read.
        ConfigError: it is in a store, from which all of it would be fetched.
    """
    if storage.is_remote(text):
        raise ConfigError(
            f"{text}: larpo plan reads only config.json, and does not fetch a model from a store",
            remedy="Copy its config.json to a directory, and pass --set policy=DIRECTORY",
        )
    model = HubModel.parse(text)
    directory = Path(text) if model is None else describe(model)
    config = copy.deepcopy(ModelDir(directory, settings).config)
    with torch.device("meta"):
        made = kind.from_config(config, trust_remote_code=settings.trust_remote_code)
    return size_of(made)


def size_of(model: Any) -> ModelSize:
    """The size of a model, which may be on the device `meta`."""
    text = model.config.get_text_config()
    output = model.get_output_embeddings()
    linear = {
        name: (module.in_features, module.out_features)
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear)
    }
    modules = [sum(p.numel() for p in module.parameters(recurse=False)) for module in model.modules()]
    heads = getattr(text, "num_attention_heads", None)
    if heads is None or getattr(text, "is_heterogeneous", False):
        raise ConfigError(
            f"{type(model).__name__}: larpo plan needs the same attention in all layers, which it does not have",
            remedy="Plan with a model of its size that has, such as a Qwen 3 or a Llama",
        )
    return ModelSize(
        parameters=sum(p.numel() for p in model.parameters()),
        largest_module=max(modules),
        linear={
            name: size for name, size in linear.items() if output is None or model.get_submodule(name) is not output
        },
        hidden=text.hidden_size,
        layers=text.num_hidden_layers,
        vocabulary=text.vocab_size,
        query_heads=heads,
        key_value_heads=getattr(text, "num_key_value_heads", None) or heads,
        head_dim=getattr(text, "head_dim", None) or text.hidden_size // heads,
        config=model.config,
    )


@dataclass(frozen=True)
class ModelSize:
    """What memory depends on.

    Attributes:
        parameters: all of them, shared ones once.
        largest_module: parameters of the module with the most of its own, as DeepSpeed counts for stage 3.
        linear: inputs and outputs of each linear layer but the output layer.
        hidden: width of the hidden states.
        layers: how many.
        vocabulary: tokens.
        query_heads: of a layer.
        key_value_heads: of a layer.
        head_dim: of a key or value.
        config: the model's config.json.
    """

    parameters: int
    largest_module: int
    linear: dict[str, tuple[int, int]]
    hidden: int
    layers: int
    vocabulary: int
    query_heads: int
    key_value_heads: int
    head_dim: int
    config: PretrainedConfig = field(repr=False, compare=False)

    @property
    def output_weights(self) -> int:
        """Weights of the projection to the vocabulary."""
        return self.hidden * self.vocabulary

    @property
    def linear_weights(self) -> int:
        """Weights of the linear layers but the output layer."""
        return sum(inputs * outputs for inputs, outputs in self.linear.values())

    def cache_bytes(self, item_bytes: int) -> int:
        """Keys and values of one token over all layers, as vLLM's pages and the cache of transformers hold them."""
        return 2 * self.layers * self.key_value_heads * self.head_dim * item_bytes

    def adapters(self, rank: int, targets: Sequence[str] | None) -> int:
        """Parameters of low-rank adapters beside the named linear layers, or beside all but the output layer."""
        chosen = [
            size
            for name, size in self.linear.items()
            if targets is None or any(f".{name}".endswith(f".{target}") for target in targets)
        ]
        return sum(rank * (inputs + outputs) for inputs, outputs in chosen)

    @cached_property
    def in_float32(self) -> Activations:
        """Weights and computation in float32."""
        return _count(self.config, torch.float32, autocast=False)

    @cached_property
    def under_autocast(self) -> Activations:
        """Weights in float32, computation under autocast to bfloat16."""
        return _count(self.config, torch.float32, autocast=True)

    @cached_property
    def in_bfloat16(self) -> Activations:
        """Weights and computation in bfloat16."""
        return _count(self.config, torch.bfloat16, autocast=False)


@dataclass(frozen=True)
class Activations:
    """Bytes that the forward pass of a decoder keeps for the backward pass, for each token.

    Attributes:
        layer: of one layer.
        rest: of what is around the layers.
        stream: of the hidden states between layers, all that gradient checkpointing keeps of a layer.
    """

    layer: int
    rest: int
    stream: int

    def of_token(self, layers: int, *, checkpointing: bool) -> int:
        """Bytes of a token at most, with the gradients of one layer's; by checkpointing one layer is kept at a time."""
        return self.rest + self.layer + (layers * self.stream + self.layer if checkpointing else layers * self.layer)


def _count(config: PretrainedConfig, dtype: torch.dtype, *, autocast: bool) -> Activations:
    """Count on tensors that have a shape but no memory."""
    one, two = (_per_token(config, layers, dtype, autocast=autocast) for layers in (1, 2))
    return Activations(
        layer=two - one, rest=max(0, 2 * one - two), stream=config.get_text_config().hidden_size * dtype.itemsize
    )


def _per_token(config: PretrainedConfig, layers: int, dtype: torch.dtype, *, autocast: bool) -> int:
    few, many = (_kept_bytes(config, layers, tokens, dtype, autocast=autocast) for tokens in _TOKENS)
    return (many - few) // (_TOKENS[1] - _TOKENS[0])


def _kept_bytes(config: PretrainedConfig, layers: int, tokens: int, dtype: torch.dtype, *, autocast: bool) -> int:
    """Bytes of all distinct memory that a forward pass keeps, weights left out."""
    from torch._subclasses.fake_tensor import FakeTensorMode

    shallow = copy.deepcopy(config)
    AttentionInterface.register(_FUSED, _fused_attention)
    text = shallow.get_text_config()
    text.num_hidden_layers = layers
    if getattr(text, "layer_types", None):
        text.layer_types = text.layer_types[:layers]
    kept: dict[int, tuple[int, Tensor]] = {}
    with FakeTensorMode():
        model: Any = AutoModelForCausalLM.from_config(shallow, dtype=dtype, attn_implementation=_FUSED).train()
        weights = {parameter.untyped_storage()._cdata for parameter in model.parameters()}

        def keep(tensor: Tensor) -> Tensor:
            memory = tensor.untyped_storage()
            if memory._cdata not in weights:
                kept[memory._cdata] = (memory.nbytes(), tensor)  # held, so that its memory is not given to another
            return tensor

        ids = torch.zeros(1, tokens, dtype=torch.long)
        cast = torch.autocast("cpu", torch.bfloat16) if autocast else nullcontext()
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor), cast:
            model.get_decoder()(input_ids=ids, use_cache=False)
    return sum(size for size, _ in kept.values())


def _fused_attention(
    _module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    _mask: Tensor | None,
    *,
    scaling: float | None = None,
    **_options: Any,
) -> tuple[Tensor, None]:
    alike = query.shape[1] == key.shape[1]
    heads = scaled_dot_product_attention(query, key, value, is_causal=True, scale=scaling, enable_gqa=not alike)
    return heads.transpose(1, 2).contiguous(), None
