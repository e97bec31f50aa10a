"""Samples from a server with OpenAI's chat completions, such as `vllm serve`, SGLang or TGI."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, Field, PositiveInt
from transformers import PreTrainedTokenizerBase

from larpo_lib.endpoint import Endpoint
from larpo_lib.errors import ConfigError, EndpointError, InputRefusedError
from larpo_lib.models.chat import (
    decode,
    depends_on_date,
    find_special_text,
    message_contents,
    opened_think_tag,
    prompt_ids,
)
from larpo_lib.models.model_dir import ModelDir
from larpo_lib.models.turns import TurnEnd, named_stops
from larpo_lib.progress import tell
from larpo_lib.samplers.base import Request, Response, SamplingLimits
from larpo_lib.samplers.engines.policy import PolicySampler, check_limits
from larpo_lib.samplers.openai import OpenAiSamplerConfig
from larpo_lib.schemas import LENGTH, STOP
from larpo_lib.served_models import listed

_FINISHED = {"stop": STOP, "eos_token": STOP, "length": LENGTH}
"""TGI may say `eos_token`. Other reasons (a filter, a tool call, an abort) leave no response of the policy's own."""
_NEUTRAL = {"top_k": -1, "min_p": 0.0, "repetition_penalty": 1.0, "presence_penalty": 0.0, "frequency_penalty": 0.0}
"""vLLM and SGLang would else take them from the model's generation_config.json, and the samples would not be the
policy's."""
_THESE_KNOW = ("vllm", "sglang")
"""Servers, by the name they give themselves, that take all of these, a `top_p` of 1 and ids of tokens to stop at."""
_SEEDS = 2**31
"""Some servers take seeds of 32 bits only."""
_STOPS = 4
"""Texts to stop at that OpenAI's API and TGI take."""


_Count = Annotated[int, Field(ge=0, lt=2**31)]


class _Model(BaseModel):
    id: str
    owned_by: str | None = None
    max_model_len: PositiveInt | None = None


class _Models(BaseModel):
    data: list[_Model]


class _Message(BaseModel):
    content: str | None = None
    reasoning: str | None = None
    reasoning_content: str | None = None


class _Choice(BaseModel):
    message: _Message
    finish_reason: str | None = None
    token_ids: list[_Count] | None = None


class _Usage(BaseModel):
    completion_tokens: _Count


class _Completion(BaseModel):
    choices: list[_Choice]
    usage: _Usage | None = None
    prompt_token_ids: list[_Count] | None = None


def check_sampling_server(
    config: OpenAiSamplerConfig, limits: SamplingLimits, retries: int | None = None
) -> str | None:
    """Check that the server answers, serves the model, and takes prompts and responses as long as they may be.

    A server that does not list its models (GET /models), or not with their length, passes.

    Args:
        config: the server and the model's name.
        limits: of prompts and responses.
        retries: instead of the settings' own.

    Returns:
        Whose server it is, such as `vllm`, if it says so.

    Raises:
        ConfigError: the key is not set, the server serves other models, or the limits are too long for it.
        EndpointError: the server does not answer.
    """
    models = Endpoint(config, "models", _Models, retries=retries).get()
    if models is None:
        return None
    served = next((model for model in models.data if model.id == config.served_model), None)
    if served is None:
        raise ConfigError(
            f"{config.base_url} does not serve a model '{config.served_model}'",
            remedy=f"Set served_model to one of {listed(model.id for model in models.data)}",
        )
    if served.max_model_len is not None and limits.longest > served.max_model_len:
        raise ConfigError(
            f"{config.base_url} serves '{served.id}' with {served.max_model_len} tokens, but max_prompt_tokens +"
            f" max_new_tokens = {limits.longest}",
            remedy="Reduce them, or serve the model with a longer context length",
        )
    return served.owned_by


def check_served_template(tokenizer: PreTrainedTokenizerBase) -> None:
    """Check that a server, which renders prompts on the day they are asked, writes what is rendered here.

    Raises:
        ConfigError: the policy's chat template writes the day's date.
    """
    if depends_on_date(tokenizer, [{"role": "user", "content": "?"}]):
        raise ConfigError(
            f"{tokenizer.name_or_path}: the chat template writes today's date, and a server does not use model.date",
            remedy="Serve the policy with a template that contains a fixed date, and set model.chat_template to the "
            "same template; or sample with hf or vllm",
        )


class OpenAiSampler(PolicySampler):
    """Draws responses from a policy that a server has loaded.

    Args:
        config: the server, and the policy's name there.
        policy: the policy's directory, for its tokenizer.
        limits: of prompts and responses.

    Raises:
        ConfigError, EndpointError: as `check_sampling_server`; there are more stop tokens than a server takes, or the
            limits do not fit into the policy's context.
        ModelError: the policy's tokenizer or generation settings cannot be used.
    """

    def __init__(self, config: OpenAiSamplerConfig, policy: Path, limits: SamplingLimits) -> None:
        source = ModelDir(policy, config.model)
        check_limits(source, limits)
        super().__init__(source, limits)
        check_served_template(self._tokenizer)
        self._config = config
        self._completions = Endpoint(config, "chat/completions", _Completion)
        self._takes_all = check_sampling_server(config, limits) in _THESE_KNOW or config.token_ids
        if not self._takes_all:
            unsaid = ", ".join([*(["top_p"] if limits.top_p == 1.0 else []), *_NEUTRAL])
            tell(
                f"{config.base_url}: does not say that it is vLLM or SGLang, so its own defaults hold for {unsaid}. "
                "Start it without the model's generation settings"
            )
        self._stop_texts = self._texts_to_stop_at(source.turn_end)
        self._vocabulary = source.vocab_size or len(self._tokenizer)

    def sample(self, requests: Sequence[Request]) -> list[Response]:
        """Draw one response for each request.

        Raises:
            EndpointError: a request failed for good, a response ended otherwise than by its end or its length, or the
                server reads prompts otherwise than the policy's tokenizer.
        """
        self._check_text(requests)
        answers = self._completions.ask([self._payload(request) for request in requests])
        return [self._response(request, answer) for request, answer in zip(requests, answers, strict=True)]

    def close(self) -> None:
        """Nothing is held: connections live as long as a call of `sample`."""

    def _check_text(self, requests: Sequence[Request]) -> None:
        """Refuse prompts in which the server would take text for a special token."""
        if self._config.model.special_text == "control":
            return
        for request in requests:
            name = find_special_text(self._tokenizer, message_contents(request.messages))
            if name is not None:
                raise self._refuse(
                    request.prompt_id,
                    f"contains the text {name}, which a server reads as the token of this name",
                    "Set model.special_text to control, so that it is read as the token everywhere; or sample "
                    "with hf or vllm",
                )

    def _texts_to_stop_at(self, end: TurnEnd) -> list[str]:
        """The end of a turn and `stop_tokens`. A server knows those in the model's own settings, eos among them."""
        ends = {end.token, *named_stops(self._tokenizer, self._config.model)}
        texts = sorted(str(self._tokenizer.convert_ids_to_tokens(token)) for token in ends)
        if not self._takes_all and len(texts) > _STOPS:
            raise ConfigError(
                f"{len(texts)} stop texts ({', '.join(texts)}), but servers accept at most {_STOPS}",
                remedy="Use fewer model.stop_tokens, or add them to the policy's generation_config.json",
            )
        return texts

    def _payload(self, request: Request) -> dict[str, Any]:
        payload: dict[str, Any] = {
            "model": self._config.served_model,
            "messages": request.messages,
            "n": 1,
            "temperature": request.temperature,
            "max_tokens": self._limits.max_new_tokens,  # OpenAI has renamed it, but only this name is known everywhere
            "seed": request.seed % _SEEDS,
        }
        if self._takes_all:
            payload |= {**_NEUTRAL, "top_p": self._limits.top_p, "return_token_ids": self._config.token_ids}
            return payload | {"stop_token_ids": self._stops}
        if self._limits.top_p < 1.0:  # TGI refuses 1
            payload["top_p"] = self._limits.top_p
        return payload | {"stop": self._stop_texts}

    def _response(self, request: Request, answer: _Completion | InputRefusedError) -> Response:
        if isinstance(answer, InputRefusedError):
            raise answer
        if len(answer.choices) != 1:
            raise self._refuse(
                request.prompt_id,
                f"the server returned {len(answer.choices)} choices instead of one",
                "Use another server",
            )
        (choice,) = answer.choices
        finish_reason = _FINISHED.get(choice.finish_reason or "")
        if finish_reason is None:
            raise self._refuse(
                request.prompt_id,
                f"a response ended with '{choice.finish_reason}' instead of 'stop' or 'length'",
                "Serve the policy without filters or tools",
            )
        if self._config.token_ids:
            return self._response_of_ids(request, answer, choice.token_ids, finish_reason)
        tokens = answer.usage.completion_tokens if answer.usage else None
        self._check_length(request, tokens)
        return Response(self._text(request, choice.message), None, tokens, finish_reason)

    def _text(self, request: Request, message: _Message) -> str:
        """A server that takes thoughts apart gives the reply alone; from others it begins where the prompt ended."""
        text = message.content or ""
        apart = message.reasoning is not None or message.reasoning_content is not None
        opened = "" if apart else opened_think_tag(self._tokenizer, request.messages)
        return text if text.startswith(opened.strip()) else opened + text

    def _response_of_ids(
        self, request: Request, answer: _Completion, ids: list[int] | None, finish_reason: str
    ) -> Response:
        if ids is None or answer.prompt_token_ids is None:
            raise self._refuse(
                request.prompt_id,
                "the server returned no token ids",
                "Set token_ids to false, or serve the policy with vLLM 0.10.2 or newer",
            )
        if answer.prompt_token_ids != prompt_ids(self._tokenizer, request.messages):
            raise self._refuse(
                request.prompt_id,
                "the server used other prompt tokens than the policy's tokenizer and chat template",
                "Serve the same policy that is passed here, with its own chat template",
            )
        self._check_length(request, len(ids))
        if max(ids, default=0) >= self._vocabulary:
            problem = f"the server returned the token id {max(ids)}, but the policy has ids below {self._vocabulary}"
            raise self._refuse(request.prompt_id, problem, "Serve the same policy that is passed here")
        text = decode(self._tokenizer, ids[:-1] if ids and ids[-1] in self._stops else ids)
        text = opened_think_tag(self._tokenizer, request.messages) + text
        return Response(text, ids, len(ids), finish_reason)

    def _check_length(self, request: Request, tokens: int | None) -> None:
        if tokens is not None and tokens > self._limits.max_new_tokens:
            raise self._refuse(
                request.prompt_id,
                f"a response of {tokens} tokens, but max_new_tokens = {self._limits.max_new_tokens}",
                "Use a server that keeps to max_tokens",
            )

    def _refuse(self, prompt_id: str, problem: str, remedy: str) -> EndpointError:
        return self._completions.refuse(f"prompt {prompt_id}: {problem}", remedy)
