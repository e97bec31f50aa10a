"""Memory that runs out is told in one line, and what was done before is not done again."""

import sys
import weakref
from contextlib import contextmanager
from functools import partial
from types import SimpleNamespace

import pytest
import torch
from pydantic import BaseModel
from transformers import AutoModelForCausalLM

from larpo_lib.config import LaunchConfig, ModelConfig, SampleConfig, TrainConfig
from larpo_lib.config.mixins import InParts
from larpo_lib.device_memory import RanOutError, give_back_memory, memory_errors, ran_out
from larpo_lib.errors import LarpoError
from larpo_lib.execution import execute_step
from larpo_lib.models.model_dir import ModelDir
from larpo_lib.rewards.rerankers.classifier import ClassifierConfig
from larpo_lib.samplers.engines.hf import HfSampler
from larpo_lib.samplers.engines.vllm import started
from larpo_lib.samplers.hf import HfSamplerConfig
from larpo_lib.shards import map_in_parts
from larpo_lib.steps import processes, sample
from larpo_lib.workers import go_through

OF_A_GPU = (  # as torch 2.11 says it
    "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 139.81 GiB of which 1.20 GiB is "
    "free. Including non-PyTorch memory, this process has 138.60 GiB memory in use."
)
TOLD = (
    "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 139.81 GiB of which 1.20 GiB is free"
)


def test_a_gpu_that_has_no_more() -> None:
    assert ran_out(torch.OutOfMemoryError(OF_A_GPU)) == TOLD
    assert ran_out(RuntimeError("CUDA error: out of memory\nCompile with TORCH_USE_CUDA_DSA")) is not None
    assert (
        ran_out(RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`")) is not None
    )


def test_a_machine_that_has_no_more() -> None:
    with pytest.raises(RuntimeError) as raised:
        torch.empty(2**60)
    told = ran_out(raised.value)
    assert told is not None
    assert told.startswith(
        "DefaultCPUAllocator: can't allocate memory: you tried to allocate 4611686018427387904 bytes"
    )
    assert ran_out(MemoryError()) == "there is none left"


@pytest.mark.parametrize(
    "error", [RuntimeError("CUDA error: an illegal memory access"), ValueError("x"), LarpoError("x")]
)
def test_other_errors_are_none_of_it(error: Exception) -> None:
    assert ran_out(error) is None
    with pytest.raises(type(error)) as raised, memory_errors("train", TrainConfig()):
        raise error
    assert raised.value is error


@pytest.mark.parametrize(
    ("config", "lower"),
    [
        (TrainConfig(), "Lower micro_batch_tokens (now 16384), or set gradient_checkpointing = true, and run"),
        (TrainConfig(gradient_checkpointing=True, logprob_chunk_tokens=64),
         "Lower micro_batch_tokens (now 16384) or logprob_chunk_tokens (now 64), and run"),
        (SampleConfig(sampler=HfSamplerConfig()), "Lower sampler.batch_size (now 64), and run"),
        (ClassifierConfig(path="m"), "Lower batch_tokens (now 16384), and run"),
        (LaunchConfig(), "Use a machine with more memory, and run"),
    ],
)  # fmt: skip
def test_the_remedy_names_what_takes_less_memory(config: BaseModel, lower: str) -> None:
    """Not `train.batch_size`, which decides what comes out."""
    with pytest.raises(LarpoError) as raised, memory_errors("train", config):
        raise torch.OutOfMemoryError(OF_A_GPU)
    problem, remedy = f"train: memory ran out: {TOLD}. ", " the same command again; it continues where it stopped. "
    assert str(raised.value) == f"{problem}{lower}{remedy}`larpo plan` says what fits."


def test_a_step_goes_on_with_smaller_batches(tiny_policy, tiny_prompts, tmp_path, monkeypatch) -> None:
    def run(batch_size, name):
        sampler = HfSamplerConfig(model=ModelConfig(device="cpu"), batch_size=batch_size)
        config = SampleConfig(sampler=sampler, k=3, max_new_tokens=6, max_prompt_tokens=64, part_prompts=4)
        output = tmp_path / name
        sample.run(config, policy=tiny_policy, prompts=tiny_prompts, candidates=output, iteration=1)
        return {file.name: file.read_bytes() for file in output.iterdir()}

    whole = run(64, "whole")
    generate, sizes = HfSampler._generate, []

    def small(self, prompts, requests):
        sizes.append(len(prompts))
        if len(prompts) > 6:
            raise torch.OutOfMemoryError(OF_A_GPU)
        return generate(self, prompts, requests)

    monkeypatch.setattr(HfSampler, "_generate", small)
    with pytest.raises(LarpoError, match=r"sample: memory ran out: .* Lower sampler\.batch_size \(now 8\)"):
        run(8, "half")
    done = len(sizes)
    assert run(6, "half") == whole
    assert sizes[done:] == [6] * 5  # ten prompts, in parts of four
    assert run(64, "half") == whole
    assert len(sizes) == done + 5  # found, not made again


def test_a_model_that_does_not_fit_is_not_called_damaged(tiny_policy, monkeypatch) -> None:
    def too_large(*_args, **_settings):
        return torch.empty(2**60)

    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", too_large)
    with (
        pytest.raises(LarpoError, match=r"^sample: memory ran out: DefaultCPUAllocator: .*Use a machine with more"),
        memory_errors("sample", LaunchConfig()),
    ):
        ModelDir(tiny_policy, ModelConfig(device="cpu")).load(AutoModelForCausalLM)


def _use_up(_item: int, *, told: str) -> None:
    raise torch.OutOfMemoryError(told)


def test_a_process_hands_it_to_whoever_knows_the_settings() -> None:
    with pytest.raises(RanOutError, match=r"Tried to allocate 2\.00 GiB") as raised:
        list(go_through([1, 2], partial(_use_up, told=OF_A_GPU), 2))
    assert ran_out(raised.value) == TOLD


def test_a_process_of_a_training_that_does_not_lead_says_it_itself(tmp_path, monkeypatch) -> None:
    class Second:
        is_main = False

        def broadcast(self, _value):
            return True

    @contextmanager
    def second(_model):
        yield Second()

    def make(_ranks, _work):
        raise torch.OutOfMemoryError(OF_A_GPU)

    monkeypatch.setattr(processes, "init_distributed", second)
    with pytest.raises(LarpoError, match=r"Lower micro_batch_tokens \(now 16384\)"):
        processes.produce_distributed("train", TrainConfig(), {}, tmp_path / "t", make, lambda *_: None)


class _Model:
    """Refers to itself, as a trainer does, so that only the collector of garbage finds it."""

    def __init__(self) -> None:
        self.itself = self


class _Gpu:
    """Whether the models that were made still held their memory, each time that PyTorch gave back what is free."""

    def __init__(self) -> None:
        self.models: list[weakref.ref[_Model]] = []
        self.held: list[list[bool]] = []

    def load(self) -> _Model:
        model = _Model()
        self.models.append(weakref.ref(model))
        return model

    def empty_cache(self) -> None:
        self.held.append([model() is not None for model in self.models])


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> _Gpu:
    """As if PyTorch had used a GPU here."""
    gpu = _Gpu()
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "empty_cache", gpu.empty_cache)
    return gpu


@pytest.mark.parametrize("fails", [False, True])
def test_a_step_gives_back_the_memory_of_its_models(gpu: _Gpu, fails: bool) -> None:
    def run(_config, **_arguments):
        model = gpu.load()
        if fails:
            raise LarpoError(f"{len(gpu.models)} of {model is not None}")
        return {"steps": 1}

    call = SimpleNamespace(step=SimpleNamespace(run=run), config=None, arguments={})
    if not fails:
        assert execute_step(call, {}, None) == {"steps": 1}
        assert gpu.held == [[False]]
        return
    with pytest.raises(LarpoError):
        execute_step(call, {}, None)
    assert gpu.held == [[True]]  # the error on its way knows where it came from
    _, guard = started(lambda: None, "policy")  # once it is dealt with, as by another try of the step
    guard.end()
    assert gpu.held[1:] == [[False]]


def test_a_part_of_a_step_gives_it_back_before_the_next_part(gpu: _Gpu, tmp_path) -> None:
    """As an evaluation draws, scores, and scores by further rewards."""

    @contextmanager
    def open_work():
        model = gpu.load()
        yield lambda prompt_ids: ([], {"prompts": len(prompt_ids) * (model is not None)})

    for name in ("first", "second"):
        options = {"schema": "candidates", "scratch": tmp_path / name, "output": tmp_path / f"{name}.parquet"}
        assert map_in_parts(name, ["a", "b"], InParts(part_prompts=1), open_work, **options) == {"prompts": 2}
    assert gpu.held == [[False], [False, False]]


def test_nothing_is_given_back_where_no_gpu_was_used(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise AssertionError("it would have made a context on the GPU")

    monkeypatch.setattr(torch.cuda, "empty_cache", refuse)
    assert not torch.cuda.is_initialized()
    give_back_memory()
    monkeypatch.delitem(sys.modules, "torch")
    give_back_memory()
    assert "torch" not in sys.modules
