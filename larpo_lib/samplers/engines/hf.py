"""Samples with `transformers` generate, in this process.

Every response has a stream of uniform numbers of its own, drawn from its seed, and picks each token by inverting the
cumulative distribution. What else is in the batch therefore never changes which numbers a response is drawn with.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList

from larpo_lib.batches import in_batches
from larpo_lib.device_memory import give_back_memory
from larpo_lib.errors import ModelError
from larpo_lib.heartbeat import mark
from larpo_lib.models.chat import decode, opened_think_tag, prompt_ids
from larpo_lib.models.device import tell_precision
from larpo_lib.models.model_dir import ModelDir
from larpo_lib.samplers.base import Request, Response, SamplingLimits
from larpo_lib.samplers.engines.policy import PolicySampler, check_limits
from larpo_lib.samplers.hf import HfSamplerConfig
from larpo_lib.schemas import LENGTH, STOP


class HfSampler(PolicySampler):
    """Draws responses from a Hugging Face policy directory.

    Args:
        config: batch size and how to load the model.
        policy: the policy's directory.
        limits: of prompts and responses.

    Raises:
        ModelError: the directory cannot be used.
        ConfigError: the limits do not fit into the policy's context.
    """

    def __init__(self, config: HfSamplerConfig, policy: Path, limits: SamplingLimits) -> None:
        source = ModelDir(policy, config.model)
        check_limits(source, limits)
        super().__init__(source, limits)
        self._model = source.load_policy()
        tell_precision("sample", config.model, sum(p.numel() for p in self._model.parameters()))
        self._model.generation_config = GenerationConfig()  # the model's own penalties would distort the distribution
        self._batch_size = config.batch_size

    def sample(self, requests: Sequence[Request]) -> list[Response]:
        """Draw one response for each request; requests of like length share a batch.

        Raises:
            ModelError: the policy's logits are not finite.
        """
        prompts = [prompt_ids(self._tokenizer, request.messages) for request in requests]
        order = sorted(range(len(requests)), key=lambda i: (len(prompts[i]), i))
        batches = [order[start : start + self._batch_size] for start in range(0, len(order), self._batch_size)]

        def draw(batch: Sequence[int]) -> list[dict[str, Any]]:
            return [vars(drawn) for drawn in self._generate([prompts[i] for i in batch], [requests[i] for i in batch])]

        responses = in_batches(batches, draw, lambda i: vars(requests[i]))
        return [Response(**responses[i]) for i in range(len(requests))]

    def close(self) -> None:
        """Give back the model's memory."""
        del self._model
        give_back_memory()

    @torch.inference_mode()
    def _generate(self, prompts: list[list[int]], requests: list[Request]) -> list[Response]:
        device = self._model.device
        longest = max(len(prompt) for prompt in prompts)
        pad = int(self._tokenizer.pad_token_id)
        input_ids = torch.tensor([[pad] * (longest - len(prompt)) + prompt for prompt in prompts], device=device)
        mask = torch.tensor([[0] * (longest - len(p)) + [1] * len(p) for p in prompts], device=device)
        generate: Any = self._model.generate
        chooser = _InverseCdf(requests, self._limits, longest, device, self._refuse_unless_finite)
        generated: Tensor = generate(
            input_ids=input_ids,
            attention_mask=mask,
            generation_config=GenerationConfig(
                max_new_tokens=self._limits.max_new_tokens,
                do_sample=False,  # the logits processor has chosen: it leaves one token possible
                eos_token_id=self._stops,
                pad_token_id=pad,
            ),
            logits_processor=LogitsProcessorList([chooser]),
        )
        drawn = generated[:, longest:].tolist()
        return [self._response(request, tokens) for request, tokens in zip(requests, drawn, strict=True)]

    def _refuse_unless_finite(self, requests: Sequence[Request], drawn: Tensor, peaks: Tensor) -> None:
        """By the (B,) highest logits of a step after (B, S) drawn tokens; what follows an ended response is unused."""
        if bool(peaks.isfinite().all()):
            return
        ended = torch.isin(drawn, torch.tensor(self._stops, device=drawn.device)).any(dim=1)
        broken = (~peaks.isfinite() & ~ended).nonzero()[:, 0].tolist()
        if broken:
            request = requests[broken[0]]
            raise ModelError(
                f"{self._policy}: the policy's logits are {peaks[broken[0]].item()} for prompt {request.prompt_id}, at"
                f" token {drawn.shape[1] + 1} of a response at temperature {request.temperature}",
                remedy="Set the sampler's model.dtype to float32, or check the policy's weights",
            )

    def _response(self, request: Request, tokens: list[int]) -> Response:
        end = next((i for i, token in enumerate(tokens) if token in self._stops), None)
        finish_reason = LENGTH if end is None else STOP
        ids = tokens if end is None else tokens[: end + 1]
        text = opened_think_tag(self._tokenizer, request.messages) + decode(self._tokenizer, ids[:end])
        return Response(text=text, token_ids=ids, num_tokens=len(ids), finish_reason=finish_reason)


class _InverseCdf(LogitsProcessor):
    """Leaves possible the one token that each row's next uniform number falls on."""

    def __init__(
        self,
        requests: Sequence[Request],
        limits: SamplingLimits,
        prompt_length: int,
        device: torch.device,
        check: Callable[[Sequence[Request], Tensor, Tensor], None],
    ) -> None:
        self._requests = requests
        self._check = check
        self._uniforms = torch.stack([_uniforms(request.seed, limits.max_new_tokens) for request in requests]).to(
            device
        )
        temperatures = torch.tensor([request.temperature for request in requests], device=device)
        self._greedy = temperatures == 0
        self._temperatures = temperatures.masked_fill(self._greedy, 1.0)[:, None]
        self._top_p = limits.top_p
        self._prompt_length = prompt_length

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        step = input_ids.shape[1] - self._prompt_length
        logits = scores.float() / self._temperatures
        self._check(self._requests, input_ids[:, self._prompt_length :], logits.amax(-1))
        mark()
        drawn = draw_tokens(logits, self._uniforms[:, step], self._top_p)
        chosen = torch.where(self._greedy, scores.argmax(-1), drawn)
        return torch.full_like(scores, float("-inf")).scatter(1, chosen[:, None], 0.0)


def draw_tokens(logits: Tensor, uniforms: Tensor, top_p: float) -> Tensor:
    """Draw a token a row by inverting the cumulative distribution.

    Args:
        logits: (B, V), temperature already applied.
        uniforms: (B,) in [0, 1), float64.
        top_p: draw from the most probable tokens whose mass reaches this share.

    Returns:
        (B,) token ids.
    """
    probabilities = logits.double().softmax(-1)
    if top_p < 1.0:
        ordered, ids = probabilities.sort(stable=True, dim=-1, descending=True)
        outside = ordered.cumsum(-1) - ordered >= top_p
        probabilities = torch.zeros_like(probabilities).scatter(-1, ids, ordered.masked_fill(outside, 0.0))
    cumulative = probabilities.cumsum(-1)
    wanted = uniforms[:, None] * cumulative[:, -1:]
    return torch.searchsorted(cumulative, wanted, right=True)[:, 0].clamp(max=logits.shape[-1] - 1)


def _uniforms(seed: int, count: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(count, generator=generator, dtype=torch.float64)
