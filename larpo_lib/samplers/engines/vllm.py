"""Samples with vLLM's offline engine, in a process of the engine's own.

Each response is a request of its own with its own seed. vLLM does nothing else for `n` responses of one prompt; they
share the prompt's keys and values by prefix caching either way.
"""

import os
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from importlib.util import find_spec
from io import StringIO
from pathlib import Path
from typing import Any, TypeVar

from tqdm import tqdm

from larpo_lib.adapters import is_adapter
from larpo_lib.config import ModelConfig
from larpo_lib.device_memory import give_back_memory
from larpo_lib.errors import ConfigError, LarpoError, ModelError
from larpo_lib.guard import Guard
from larpo_lib.heartbeat import mark
from larpo_lib.models.chat import decode, opened_think_tag, prompt_ids
from larpo_lib.models.device import model_dtype
from larpo_lib.models.model_dir import ModelDir
from larpo_lib.samplers.base import Request, Response, SamplingLimits
from larpo_lib.samplers.engines.policy import PolicySampler, check_limits
from larpo_lib.samplers.vllm import VllmSamplerConfig
from larpo_lib.schemas import LENGTH, STOP

EngineT = TypeVar("EngineT")

_PASS_TOKENS = 8192
"""Tokens of a forward pass over prompts, unless one sequence is longer."""
NO_FLOAT16 = frozenset({"gemma2", "gemma3", "gemma3_text", "glm4"})
"""Types of models that vLLM does not run in float16."""


class _Marks(tqdm):  # type: ignore[misc]
    """The bar that the engine is given: it tells of each response that is done."""

    def update(self, n: float | None = 1) -> bool | None:
        mark()
        return super().update(n)


class VllmSampler(PolicySampler):
    """Draws responses from a Hugging Face policy directory.

    The engine starts with the first call of `sample`, so that what can be refused is refused before.

    Args:
        config: how much of the machine the engine may take, and how to load the model.
        policy: the policy's directory.
        limits: of prompts and responses.

    Raises:
        LarpoError: vLLM is not installed.
        ConfigError: the limits do not fit into the policy's context.
    """

    def __init__(self, config: VllmSamplerConfig, policy: Path, limits: SamplingLimits) -> None:
        source = ModelDir(policy, config.model)
        check_vllm(source, config, limits)
        super().__init__(source, limits)
        self._config = config
        self._engine: Any = None
        self._guard: Guard | None = None

    def sample(self, requests: Sequence[Request]) -> list[Response]:
        """Draw one response for each request, in their order.

        Raises:
            ConfigError: a temperature is one that vLLM does not take.
            ModelError: the engine does not start.
        """
        if not requests:
            return []
        _check_temperatures({request.temperature for request in requests})
        engine = self._started()
        prompts = {request.prompt_id: prompt_ids(self._tokenizer, request.messages) for request in requests}
        # The engine would cut a response short to make room for a longer prompt.
        assert all(len(ids) <= self._limits.max_prompt_tokens for ids in prompts.values())
        outputs = engine.generate(
            [{"prompt_token_ids": prompts[request.prompt_id]} for request in requests],
            [self._parameters(request) for request in requests],
            use_tqdm=partial(_Marks, file=StringIO()),
        )
        pairs = zip(requests, outputs, strict=True)
        return [self._response(request, output.outputs[0]) for request, output in pairs]

    def close(self) -> None:
        """End the engine's process, and with it all memory it held."""
        if self._guard is not None:
            shut_down(self._engine, self._guard)
            self._engine = self._guard = None

    def _started(self) -> Any:
        if self._engine is None:

            def start() -> Any:
                from vllm import LLM

                settings = engine_arguments(self._config, self._limits.longest)
                return LLM(str(self._policy), skip_tokenizer_init=True, **settings)  # it takes and gives token ids

            self._engine, self._guard = started(start, self._policy)
        return self._engine

    def _parameters(self, request: Request) -> Any:
        from vllm import SamplingParams

        return SamplingParams(
            temperature=request.temperature,
            top_p=self._limits.top_p,
            seed=request.seed,
            max_tokens=self._limits.max_new_tokens,
            stop_token_ids=self._stops,
            detokenize=False,
        )

    def _response(self, request: Request, completion: Any) -> Response:
        ids = list(completion.token_ids)
        stopped = ids[-1] in self._stops
        assert completion.finish_reason == (STOP if stopped else LENGTH)
        text = decode(self._tokenizer, ids[:-1] if stopped else ids)
        text = opened_think_tag(self._tokenizer, request.messages) + text
        return Response(text=text, token_ids=ids, num_tokens=len(ids), finish_reason=completion.finish_reason)


def check_vllm(policy: ModelDir, config: VllmSamplerConfig, limits: SamplingLimits) -> None:
    """Check what can be known to be wrong before the engine starts.

    Raises:
        LarpoError: vLLM is not installed.
        ConfigError: the limits do not fit into the policy's context, the policy is an adapter, its layers cannot be
            split over the GPUs, or a temperature or the precision is one that vLLM does not take.
    """
    if is_adapter(policy.path):
        raise ConfigError(
            f"{policy.path}: contains adapters, but sampling with vLLM needs a complete model",
            remedy="Set the sampler's type to hf, or merge the adapters with peft's merge_and_unload",
        )
    if find_spec("vllm") is None:
        raise LarpoError(
            "sampling with vLLM needs the package vllm, which is not installed",
            remedy="pip install vllm, or set the sampler's type to hf",
        )
    check_limits(policy, limits)
    _check_temperatures(limits.temperatures)
    _check_split(policy, config.tensor_parallel)
    _check_precision(policy, config.model)


def engine_arguments(config: VllmSamplerConfig, longest: int) -> dict[str, Any]:
    """What vLLM's engine is started with, beside the model's directory.

    Args:
        config: how much of the machine it may take, and how to load the model.
        longest: tokens of the longest prompt with its response.
    """
    return {
        "trust_remote_code": config.model.trust_remote_code,
        "load_format": "safetensors",
        "dtype": _dtype(config.model),
        "generation_config": "vllm",  # the model's own penalties would distort the distribution
        "max_model_len": longest,
        "max_num_seqs": config.max_num_seqs,
        "tensor_parallel_size": config.tensor_parallel,
        "gpu_memory_utilization": config.gpu_memory,
        "enforce_eager": config.enforce_eager,
        "enable_prefix_caching": True,
        # A prompt in chunks costs its response random numbers, which vLLM gives back by guess on a GPU and not at all
        # on a CPU: it fails there. So prompts are computed whole.
        "enable_chunked_prefill": False,
        "max_num_batched_tokens": max(_PASS_TOKENS, longest, config.max_num_seqs),  # vLLM takes no fewer
    }


def started(start: Callable[[], EngineT], policy: Path) -> tuple[EngineT, Guard]:
    """What `start` makes, which starts an engine for a policy, and what ends that engine's processes with this one.

    vLLM leaves them, and the memory of their GPUs, behind if this process is killed.

    Raises:
        ModelError: it does not start.
    """
    give_back_memory()
    try:
        guard = Guard()
        with _spawning(), guard.over_new_children():
            return start(), guard
    except (OSError, ValueError, RuntimeError, NotImplementedError) as error:
        said = str(error).strip() or type(error).__name__
        raise ModelError(
            f"{policy}: vLLM did not start: {said.splitlines()[0][:300]}", remedy="See the engine's messages above"
        ) from error


def shut_down(engine: Any, guard: Guard) -> None:
    """End an engine's processes, and with them all memory they held."""
    from vllm import envs
    from vllm.distributed import cleanup_dist_env_and_memory

    try:
        engine.llm_engine.engine_core.shutdown()
    finally:
        guard.end()
    if not envs.VLLM_ENABLE_V1_MULTIPROCESSING:  # it was in this process, and left a process group behind
        cleanup_dist_env_and_memory()


def _check_temperatures(temperatures: Collection[float]) -> None:
    for temperature in temperatures:  # vLLM refuses hotter ones with a traceback, and takes colder ones for 0.01
        if temperature > 2 or 0 < temperature < 0.01:
            raise ConfigError(
                f"temperature = {temperature}, but vLLM takes 0, or 0.01 to 2",
                remedy="Set another temperature, or set the sampler's type to hf",
            )


def _check_split(policy: ModelDir, gpus: int) -> None:
    """vLLM splits the heads and the rows of the feed-forward layers evenly; key heads it also copies."""
    model = policy.config.get_text_config()
    names = ("num_attention_heads", "num_key_value_heads", "intermediate_size")
    heads, key_heads, width = (getattr(model, name, None) for name in names)

    def fits(gpus: int) -> bool:
        whole = all(size % gpus == 0 for size in (heads, width) if isinstance(size, int))
        return whole and (not isinstance(key_heads, int) or key_heads % gpus == 0 or gpus % max(key_heads, 1) == 0)

    if not fits(gpus):
        told = zip(("attention heads", "key-value heads", "feed-forward rows"), (heads, key_heads, width), strict=True)
        sizes = [f"{size} {name}" for name, size in told if isinstance(size, int)]
        raise ConfigError(
            f"sampler.tensor_parallel = {gpus}: vLLM cannot split {policy.path} evenly, which has {', '.join(sizes)}",
            remedy=f"Set it to one of {', '.join(str(size) for size in range(1, gpus) if fits(size))}",
        )


def _check_precision(policy: ModelDir, config: ModelConfig) -> None:
    import torch

    dtype, kind = _dtype(config), policy.config.model_type
    if dtype == "float16" and kind in NO_FLOAT16:
        raise ConfigError(
            f"{policy.path}: vLLM does not run models of the type {kind} in float16",
            remedy="Set the sampler's model.dtype to bfloat16 or float32",
        )
    if (
        dtype == "bfloat16"
        and torch.cuda.is_available()
        and not torch.cuda.is_bf16_supported(including_emulation=False)
    ):
        raise ConfigError(
            f"model.dtype = {config.dtype} is bfloat16 on this GPU, for which vLLM needs a compute capability of 8.0",
            remedy="Set the sampler's model.dtype to float16 or float32",
        )


def _dtype(config: ModelConfig) -> str:
    """The precision as vLLM names it; on which device is vLLM's own choice."""
    return str(model_dtype(ModelConfig(dtype=config.dtype))).removeprefix("torch.")


@contextmanager
def _spawning() -> Iterator[None]:
    """Let vLLM spawn its process: a fork of this one, after a training here, could wait for threads it lacks."""
    name = "VLLM_WORKER_MULTIPROC_METHOD"
    before = os.environ.get(name)
    os.environ[name] = "spawn"
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before
