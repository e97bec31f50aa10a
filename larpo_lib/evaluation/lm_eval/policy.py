"""The policy as lm-eval asks it: by one of lm-eval's own back ends, with what is answered kept batch by batch."""

import dataclasses
import random
import zlib
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
from lm_eval.api.instance import Instance
from lm_eval.api.model import LM
from lm_eval.models.utils import normalize_gen_kwargs
from transformers import GenerationConfig

from larpo_lib.batches import in_batches
from larpo_lib.device_memory import give_back_memory
from larpo_lib.errors import ModelError
from larpo_lib.evaluation.lm_eval.official import any_build_of_vllm
from larpo_lib.evaluation.lm_eval.settings import LmEvalConfig
from larpo_lib.guard import Guard
from larpo_lib.heartbeat import mark
from larpo_lib.models.chat import begun_reply_text, prompt_text
from larpo_lib.models.device import tell_precision
from larpo_lib.models.model_dir import ModelDir
from larpo_lib.samplers.hf import HfSamplerConfig
from larpo_lib.schemas import Messages

_BATCHES = 8
"""How many batches of the back end `hf` are kept at a time."""
_REQUESTS = 512
"""How many requests are kept at a time where vLLM makes the batches."""


class Policy(LM):  # type: ignore[misc]
    """A policy whose model is loaded with the first request that is not answered yet.

    Args:
        source: the policy's directory.
        config: how it is asked.
        max_length: tokens of a prompt with its response.

    Attributes:
        cut: requests that were longer, so that their beginning was cut off.
        refused: prompts whose system message the chat template refuses.
        at_work: whether it is the model that answers, or has failed to.
    """

    def __init__(self, source: ModelDir, config: LmEvalConfig, max_length: int) -> None:
        super().__init__()
        self.cut = self.refused = 0
        self.at_work = False
        self._source, self._config, self._max_length = source, config, max_length
        self._model: Any = None
        self._guard: Guard | None = None

    @property
    def tokenizer_name(self) -> str:
        """What lm-eval would name requests by that it keeps; it keeps none."""
        return "policy"

    def apply_chat_template(self, chat_history: Messages, add_generation_prompt: bool = True) -> str:
        """A conversation as larpo renders it for training. A system message that the template refuses is left out.

        Args:
            chat_history: the messages; without a generation prompt, the last one is the beginning of the response.
            add_generation_prompt: whether the response begins behind them.

        Raises:
            ModelError: the template refuses the conversation.
        """
        try:
            return self._rendered(chat_history, whole=add_generation_prompt)
        except ModelError:
            without = [message for message in chat_history if message["role"] != "system"]
            if len(without) == len(chat_history):
                raise
            text = self._rendered(without, whole=add_generation_prompt)
            self.refused += 1
            return text

    def generate_until(self, requests: list[Instance]) -> list[str]:
        """A response to each request."""
        for request in requests:
            context, settings = request.args
            room = self._max_length - normalize_gen_kwargs(settings)["max_gen_toks"]
            self.cut += self._tokens(context) > room
        return list(self._answered("generate_until", requests))

    def loglikelihood(self, requests: list[Instance]) -> list[tuple[float, bool]]:
        """Of each request the log-probability of its continuation, and whether it is the most probable one."""
        self.cut += sum(self._tokens("".join(request.args)) > self._max_length for request in requests)
        found = [(float(logp), bool(greedy)) for logp, greedy in self._answered("loglikelihood", requests)]
        self._refuse_unless_numbers([logp for logp, _ in found])
        return found

    def loglikelihood_rolling(self, requests: list[Instance]) -> list[float]:
        """The log-probability of each text."""
        found = [float(logp) for logp in self._answered("loglikelihood_rolling", requests)]
        self._refuse_unless_numbers(found)
        return found

    def close(self) -> None:
        """Give back what the model holds."""
        if self._guard is not None:
            from larpo_lib.samplers.engines.vllm import shut_down

            shut_down(self._model.model, self._guard)
        self._model = self._guard = None
        give_back_memory()

    def _rendered(self, messages: Messages, *, whole: bool) -> str:
        tokenizer = self._source.tokenizer
        return prompt_text(tokenizer, messages) if whole else begun_reply_text(tokenizer, messages)

    def _answered(self, kind: str, requests: Sequence[Instance]) -> list[Any]:
        """Long ones first, so that what does not fit into memory is told at once."""
        order = sorted(range(len(requests)), key=lambda i: (-len(requests[i].args[0]), requests[i].args[0], i))
        sampler = self._config.sampler
        size = _BATCHES * sampler.batch_size if isinstance(sampler, HfSamplerConfig) else _REQUESTS

        def ask(batch: Sequence[int]) -> Any:
            self.at_work = True
            model = self._opened()
            torch.manual_seed(self._seed(requests[batch[0]], batch[0]))
            answers = getattr(model, kind)([self._asked(kind, requests[i], i) for i in batch])
            self.at_work = False
            return answers

        batches = [order[start : start + size] for start in range(0, len(order), size)]
        found = in_batches(batches, ask, lambda i: [kind, i, str(requests[i].args)])
        random.seed(self._config.seed)  # lm-eval's metrics draw, be it the first start or a later one
        np.random.seed(self._config.seed)  # noqa: NPY002
        return [found[i] for i in range(len(requests))]

    def _asked(self, kind: str, request: Instance, place: int) -> Instance:
        """What the back end is told besides of a response: which tokens end it, and what it is drawn with."""
        if kind != "generate_until":
            return request
        context, settings = request.args
        if self._config.sampler.type == "vllm":
            more = {"stop_token_ids": self._source.stop_ids, "seed": self._seed(request, place)}
        else:
            until = settings.get("until") or []
            more = {"until": [*([until] if isinstance(until, str) else until), *self._ends]}
        return dataclasses.replace(request, arguments=(context, {**settings, **more}))

    @cached_property
    def _ends(self) -> list[str]:
        """Texts of tokens that end a response and that `hf` would leave in it, because they are not special."""
        tokenizer = self._source.tokenizer
        return [
            str(tokenizer.decode([each])) for each in self._source.stop_ids if each not in tokenizer.all_special_ids
        ]

    def _seed(self, request: Instance, place: int) -> int:
        return zlib.crc32(f"{self._config.seed} {request.task_name} {place}".encode()) % 2**31

    def _tokens(self, text: str) -> int:
        return len(self._source.tokenizer(text, add_special_tokens=not self._config.chat)["input_ids"])

    def _refuse_unless_numbers(self, found: Sequence[float]) -> None:
        if not all(logp == logp for logp in found):  # noqa: PLR0124
            raise ModelError(
                f"{self._source.path}: a log-probability is not a number",
                remedy="Set lm_eval.sampler.model.dtype to float32, or check the policy's weights",
            )

    def _opened(self) -> Any:
        if self._model is None:
            opened = _open_hf if isinstance(self._config.sampler, HfSamplerConfig) else _open_vllm
            self._model, self._guard = opened(self._source, self._config, self._max_length)
        return self._model


def _open_hf(source: ModelDir, config: LmEvalConfig, max_length: int) -> tuple[Any, None]:
    from lm_eval.models.huggingface import HFLM

    assert isinstance(config.sampler, HfSamplerConfig)
    model = source.load_policy()
    tell_precision("lm_eval", config.sampler.model, sum(each.numel() for each in model.parameters()))
    # Of the model's own generation settings only what ends a response counts; the rest is the task's.
    model.generation_config = GenerationConfig(eos_token_id=source.stop_ids)  # type: ignore[no-untyped-call]
    model.register_forward_hook(lambda *_: mark())
    opened = HFLM(
        pretrained=model,
        tokenizer=source.tokenizer,
        backend="causal",
        batch_size=config.sampler.batch_size,
        **_shared(config, max_length),
    )
    return opened, None


def _open_vllm(source: ModelDir, config: LmEvalConfig, max_length: int) -> tuple[Any, Guard]:
    from larpo_lib.samplers.engines.vllm import engine_arguments, started
    from larpo_lib.samplers.vllm import VllmSamplerConfig

    assert isinstance(config.sampler, VllmSamplerConfig)
    arguments = engine_arguments(config.sampler, max_length)
    arguments.pop("max_model_len")

    def start() -> Any:
        with any_build_of_vllm():
            from lm_eval.models.vllm_causallms import VLLM

        return VLLM(pretrained=str(source.path), batch_size="auto", **arguments, **_shared(config, max_length))

    return started(start, source.path)


def _shared(config: LmEvalConfig, max_length: int) -> dict[str, Any]:
    """The chat template has written the special tokens; without one, the tokenizer does."""
    return {
        "max_length": max_length,
        "add_bos_token": False if config.chat else None,
        "think_end_token": config.think_end_token,
    }
