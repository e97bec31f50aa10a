"""Model directories as Hugging Face writes them, read once, with a plain word on what is wrong with one."""

from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    GenerationConfig,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from larpo_lib.adapters import WEIGHTS as ADAPTER_WEIGHTS
from larpo_lib.adapters import is_adapter, model_directory, tokenizer_directory
from larpo_lib.config import ModelConfig
from larpo_lib.device_memory import ran_out
from larpo_lib.errors import ConfigError, ModelError
from larpo_lib.models.chat import attach_settings, select_chat_template
from larpo_lib.models.context import check_sizes, context_length
from larpo_lib.models.device import attention, model_device, model_dtype
from larpo_lib.models.merging import merge_adapters
from larpo_lib.models.turns import TurnEnd, named_stops, turn_end
from larpo_lib.parsing import parse_json

_OTHER_ATTENTION = "Set model.attention to auto or eager"
_SAVED = "Use a directory written by save_pretrained, with weights in safetensors, or a model's name on the hub"


class ModelDir:
    """A model's directory, and the settings by which it is read. Each part is read once, when it is first asked for.

    Every part raises ModelError where it is missing or cannot be read. Nothing that is read may be changed.

    Args:
        path: the directory; of adapters, which are read with their base, or of a whole model.
        settings: how it is read.
    """

    def __init__(self, path: Path, settings: ModelConfig) -> None:
        self.path = path
        self.settings = settings

    @cached_property
    def config(self) -> PretrainedConfig:
        """The model's config.json, without its weights: enough to refuse a wrong directory early."""
        path = model_directory(self.path)
        if not (path / "config.json").is_file():
            raise ModelError(
                f"{path}: is not a model directory (no config.json)",
                remedy="Use a directory written by save_pretrained, or a model's name on the hub, as org/name",
            )
        try:
            config = AutoConfig.from_pretrained(path, trust_remote_code=self.settings.trust_remote_code)
            check_sizes(config)
        except Exception as error:  # transformers raises whatever a value leads it to
            raise ModelError(f"{path}: config.json cannot be read: {first_line(error)}") from error
        return config

    @property
    def vocab_size(self) -> int | None:
        """How many token ids the model has embeddings for; None if its config.json does not say."""
        size: int | None = getattr(self.config.get_text_config(), "vocab_size", None)
        return size

    @cached_property
    def context_length(self) -> int | None:
        """Tokens that the model takes in one sequence; see `context_length`."""
        return context_length(self.config)

    def check_context(self, tokens: int, settings: str) -> None:
        """Check that the model takes sequences of `tokens` tokens.

        Beyond its positions a model ends in an index error, or goes on with positions that it never saw in training.

        Args:
            tokens: length of the longest sequence that it will be given.
            settings: what says so, for the message, such as "max_tokens = 2048".

        Raises:
            ConfigError: it takes fewer.
        """
        context = self.context_length
        if context is not None and tokens > context:
            raise ConfigError(
                f"{settings}: sequences of up to {tokens} tokens, but {self.path} supports at most {context} "
                "(max_position_embeddings)",
                remedy=f"Reduce them to at most {context} tokens together, or use a model with a longer context length",
            )

    def unfit(self, prompt: Sequence[int], response: Sequence[int]) -> str:
        """What of a prompt with its response the model has no embedding or no position for; nothing where it has."""
        highest, length = max((*prompt, *response), default=0), len(prompt) + len(response)
        if self.vocab_size is not None and highest >= self.vocab_size:
            return f"has the token id {highest}, but {self.path} has embeddings for ids below {self.vocab_size}"
        if self.context_length is not None and length > self.context_length:
            return f"has {length} tokens with its prompt, but {self.path} supports at most {self.context_length}"
        return ""

    @cached_property
    def bare_tokenizer(self) -> PreTrainedTokenizerBase:
        """The tokenizer, whatever it lacks; it must belong to its model."""
        return self._read_tokenizer()

    @cached_property
    def plain_tokenizer(self) -> PreTrainedTokenizerBase:
        """The tokenizer of a model that reads texts, not conversations; it must have a padding token."""
        tokenizer = self._read_tokenizer()
        if tokenizer.pad_token_id is None:
            raise ModelError(
                f"{self.path}: the tokenizer has no pad token",
                remedy="Set rerank.reranker.model.pad_token to one of its tokens that never appears in text",
            )
        return tokenizer

    @cached_property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The tokenizer of a policy, with its chat template chosen. Without a padding token it gets its eos token.

        In a causal language model padding is a filler behind a mask, so that any token will do; TRL takes the eos, too.
        One that lacks a chat template or an eos token is refused, and so are several templates of which none is chosen.
        """
        tokenizer = self._read_tokenizer()
        if tokenizer.eos_token_id is None:
            raise ModelError(
                f"{self.path}: the tokenizer has no eos token", remedy="Set eos_token in tokenizer_config.json"
            )
        if tokenizer.pad_token_id is None:
            tokenizer.pad_token = tokenizer.eos_token
        select_chat_template(tokenizer, self.settings)
        attach_settings(tokenizer, self.settings)
        return tokenizer

    def _read_tokenizer(self) -> PreTrainedTokenizerBase:
        settings, config = self.settings, self.config
        try:
            tokenizer = AutoTokenizer.from_pretrained(
                tokenizer_directory(self.path), config=config, trust_remote_code=settings.trust_remote_code
            )
            token, highest = max(tokenizer.get_vocab().items(), key=lambda item: item[1])
        except Exception as error:  # as above; tokenizers raises plain ones
            raise ModelError(
                f"{self.path}: the tokenizer cannot be loaded: {first_line(error)}",
                remedy="The model directory must also contain the tokenizer",
            ) from error
        if self.vocab_size is not None and highest >= self.vocab_size:
            raise ModelError(
                f"{self.path}: the tokenizer's id for {token!r} is {highest}, but the model has embeddings for ids "
                f"below {self.vocab_size}",
                remedy="Use the tokenizer that the model was trained with, or resize the model's embeddings and train "
                "them",
            )
        if settings.pad_token is not None:
            if settings.pad_token not in tokenizer.get_vocab():
                raise ModelError(
                    f"{self.path}: pad_token {settings.pad_token!r} is not in the tokenizer's vocabulary",
                    remedy="Remove pad_token, or set it to a token in the vocabulary",
                )
            tokenizer.pad_token = settings.pad_token
        return tokenizer

    @cached_property
    def generation_stops(self) -> list[int]:
        """Tokens that end a response by the model's generation settings, or where it has none by its config.json."""
        path = model_directory(self.path)
        if (path / "generation_config.json").is_file():
            try:
                generation = GenerationConfig.from_pretrained(path)
            except Exception as error:  # as above
                raise ModelError(f"{path}: generation_config.json cannot be read: {first_line(error)}") from error
        else:
            generation = GenerationConfig.from_model_config(self.config)
        stated = generation.eos_token_id
        stops = stated if isinstance(stated, list) else [stated] if stated is not None else []
        for token in stops:
            if not isinstance(token, int) or not 0 <= token < (self.vocab_size or token + 1):
                raise ModelError(
                    f"{path}: eos_token_id is {token!r}, which the model does not have",
                    remedy="Fix it in generation_config.json or config.json",
                )
        return stops

    @cached_property
    def stop_ids(self) -> list[int]:
        """Tokens that end a response.

        They are the model's own by its generation settings, the tokenizer's eos, `stop_tokens`, and the one with which
        the chat template ends a turn: many models name only `<|endoftext|>`, and end their turns with `<|im_end|>`.
        """
        named = named_stops(self.tokenizer, self.settings)
        stops = {*self.generation_stops, int(self.tokenizer.eos_token_id), *named}
        return sorted({*stops, turn_end(self.tokenizer, stops).token})

    @cached_property
    def turn_end(self) -> TurnEnd:
        """How the chat template ends an assistant's turn."""
        return turn_end(self.tokenizer, self.stop_ids)

    def load_policy(self) -> PreTrainedModel:
        """Load a causal language model; see `load`."""
        return self.load(AutoModelForCausalLM)

    def load(self, kind: Any) -> PreTrainedModel:
        """Load the model with one of the `AutoModelFor...` classes, in evaluation mode, on its device.

        Adapters are merged into their base.

        Raises:
            ModelError: the directory is missing, holds no such model, or its weights are incomplete or not safetensors.
        """
        path, settings = self.path, self.settings
        implementation, device = attention(settings, self.config), model_device(settings)
        try:
            model, found = kind.from_pretrained(
                model_directory(path),
                dtype=model_dtype(settings),
                attn_implementation=implementation,
                trust_remote_code=settings.trust_remote_code,
                use_safetensors=True,
                output_loading_info=True,
            )
            missing = sorted(found["missing_keys"])
            if is_adapter(path) and not missing:
                model = merge_adapters(model, path)
        except ImportError as error:  # a library that this attention needs
            raise ModelError(
                f"{path}: {first_line(error)}", remedy="Install it, or set model.attention to sdpa or eager"
            ) from error
        except Exception as error:  # as above
            if ran_out(error) is not None:  # which is no fault of the model's
                raise
            remedy = _OTHER_ATTENTION if implementation and "attn_implementation" in str(error) else _SAVED
            raise ModelError(f"{path}: the model cannot be loaded: {first_line(error)}", remedy=remedy) from error
        if missing:  # transformers would go on with random numbers in their place
            more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
            raise ModelError(
                f"{path}: the weights have no {missing[0]}{more}",
                remedy=f"Use a model that was saved as {type(model).__name__}",
            )
        return model.to(device).eval()


def check_weights(path: Path) -> None:
    """Check that a model's weights are there and whole, by the headers of their files alone.

    Raises:
        ModelError: a file is missing, torn, or no safetensors.
    """
    if is_adapter(path):
        base = model_directory(path)
        _check_files(path, {ADAPTER_WEIGHTS})
        path = base
    _check_files(path, weight_files(path))


def weight_files(path: Path) -> set[str]:
    """The names of the files with a whole model's weights. Raises ModelError where its list of them cannot be read."""
    index = path / "model.safetensors.index.json"
    try:
        if index.is_file():
            return set(parse_json(index.read_text("utf-8"))["weight_map"].values())
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(f"{index}: the weights cannot be read: {first_line(error)}", remedy=_SAVED) from error
    return {"model.safetensors"}


def _check_files(path: Path, names: Iterable[str]) -> None:
    try:
        for name in sorted(names):
            with safe_open(path / name, framework="pt"):
                continue
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{path}: the weights cannot be read: {first_line(error)}", remedy=_SAVED) from error


def first_line(error: Exception) -> str:
    """What an error says first, for a message of one line."""
    return str(error).strip().split("\n", 1)[0][:300] or type(error).__name__
