"""The models of a `ListwiseTrainer`: the policy, perhaps with an adapter, and its reference."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import torch
from transformers import AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from larpo_lib.errors import ConfigError, ModelError
from larpo_lib.models.context import context_length
from larpo_lib.models.model_dir import first_line
from larpo_lib.models.rope import batched_length
from larpo_lib.models.scoring import attach_scorer
from larpo_lib.training.encode import EncodedList

if TYPE_CHECKING:
    from peft import PeftConfig


class Policy:
    """A policy to train, with its tokenizer and its reference.

    Args:
        model: a causal language model, or a peft model of one.
        tokenizer: of the model; None: the one of the place that the model was loaded from.
        ref_model: the reference; None: the model as it is given.
        peft_config: of an adapter to add.
        seed: of the adapter's first weights.

    Attributes:
        model: to be trained.
        base: the same without the adapter's wrapper.

    Raises:
        ConfigError: they cannot be used together.
        ModelError: there is no tokenizer.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: PreTrainedTokenizerBase | None,
        ref_model: Any,
        peft_config: PeftConfig | None,
        seed: int,
    ) -> None:
        if not isinstance(model, torch.nn.Module):
            raise ConfigError(
                f"model is a {type(model).__name__}", remedy="Load it with AutoModelForCausalLM.from_pretrained"
            )
        if any(one.requires_grad and one.dtype is torch.float16 for one in model.parameters()):
            raise ConfigError(
                "the model's weights are float16, which cannot be trained",
                remedy="Load it with dtype='float32', and set bf16 to compute in bfloat16",
            )
        if ref_model is model:
            raise ConfigError("ref_model is the model itself", remedy="Remove it: the model is its own reference")
        self._adapter_added = peft_config is not None
        self.model: Any = model if peft_config is None else _with_adapter(model, peft_config, seed)
        self.base = _without_wrapper(self.model)
        self.ref_model: Any = ref_model
        self.tokenizer = tokenizer if tokenizer is not None else _tokenizer_of(self.base)
        if not isinstance(self.tokenizer, PreTrainedTokenizerBase):
            raise ConfigError(
                f"processing_class is a {type(self.tokenizer).__name__}", remedy="Use the tokenizer of the model"
            )

    @property
    def pad_id(self) -> int:
        """What stands where there is no token; masked, so that any will do."""
        found = self.tokenizer.pad_token_id
        return int(self.tokenizer.eos_token_id if found is None else found)

    @property
    def stops(self) -> list[int]:
        """Tokens that end a response, by the model's generation settings and the tokenizer."""
        stated = getattr(self.base.generation_config, "eos_token_id", None)
        named = stated if isinstance(stated, list) else [] if stated is None else [stated]
        return sorted({*named, *([] if self.tokenizer.eos_token_id is None else [int(self.tokenizer.eos_token_id)])})

    def attach(self, chunk_tokens: int | None, device: torch.device) -> None:
        """Let the models give log-probabilities of responses; see `attach_scorer`."""
        attach_scorer(self.base, chunk_tokens)
        if self.ref_model is not None:
            self.ref_model.to(device)
            self.ref_model.eval()
            attach_scorer(_without_wrapper(self.ref_model), chunk_tokens)

    @property
    def has_lasting_reference(self) -> bool:
        """Whether the reference is there after the policy has changed."""
        return self.ref_model is not None or self._adapter_added

    @contextmanager
    def reference(self) -> Iterator[Any]:
        """The reference, which must not be kept beyond the block."""
        if self.ref_model is not None:
            yield self.ref_model
        elif self._adapter_added:
            with self.model.disable_adapter():
                yield self.model
        else:
            yield self.model

    def check(self, lists: Sequence[EncodedList]) -> None:
        """Check that the model has embeddings and positions for all tokens of lists.

        Raises:
            ModelError: it has not.
        """
        inputs: Any = self.base.get_input_embeddings()
        embeddings = inputs.num_embeddings
        highest = max(max(ids) for item in lists for ids in (item.prompt, *item.responses))
        if highest >= embeddings:
            raise ModelError(
                f"the tokenizer gives the id {highest}, but the model has embeddings for ids below {embeddings}",
                remedy="Use the tokenizer of the model",
            )
        longest = max(len(item.prompt) + max(map(len, item.responses)) for item in lists)
        positions = context_length(self.base.config)
        if positions is not None and longest > positions:
            raise ModelError(
                f"a prompt and its response have {longest} tokens, but the model supports at most {positions}",
                remedy=f"Set max_length to {positions}: longer responses are then dropped and counted",
            )
        batched = batched_length(self.base.config)
        if batched is not None and longest > batched:
            raise ModelError(
                f"a prompt and its response have {longest} tokens, but beyond {batched} tokens the model's rotary "
                "embeddings change those of all other sequences in a forward pass",
                remedy=f"Set max_length to {batched}: longer responses are then dropped and counted",
            )


def _with_adapter(model: Any, peft_config: PeftConfig, seed: int) -> Any:
    if find_spec("peft") is None:
        raise ConfigError("peft_config is set, but peft is not installed", remedy="pip install 'larpo[lora]'")
    from peft import PeftModel, get_peft_model

    if isinstance(model, PeftModel):
        raise ConfigError("the model has an adapter already", remedy="Remove peft_config, or merge the adapter")
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return get_peft_model(model, peft_config)


def _without_wrapper(model: Any) -> PreTrainedModel:
    """The language model itself, with the adapter's layers in it.

    Raises:
        ConfigError: it is none, or its adapter changes the inputs, which rows of several responses do not survive.
    """
    if find_spec("peft") is not None:
        from peft import PeftModel

        if isinstance(model, PeftModel):
            if model.active_peft_config.is_prompt_learning:
                raise ConfigError(
                    f"adapters of type {model.active_peft_config.peft_type} are not supported",
                    remedy="Use LoRA or another adapter that does not add tokens",
                )
            model = model.get_base_model()
    if not isinstance(model, PreTrainedModel) or not model.can_generate():
        raise ConfigError(
            f"model is a {type(model).__name__}", remedy="Load it with AutoModelForCausalLM.from_pretrained"
        )
    return model


def _tokenizer_of(model: PreTrainedModel) -> PreTrainedTokenizerBase:
    try:
        found: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(model.name_or_path)
    except (OSError, ValueError) as error:
        raise ModelError(
            f"{model.name_or_path or 'the model'}: the tokenizer cannot be loaded: {first_line(error)}",
            remedy="Pass it as processing_class",
        ) from error
    return found
