"""The arithmetic of memory against DeepSpeed's estimates, live tensors, measured peaks and published numbers."""

import weakref
from dataclasses import replace

import pytest
import torch
from small_models import make_model
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers import AutoModelForCausalLM, LlamaConfig

from benchmarks.gpu import shapes
from benchmarks.measure import peak_memory, reset_peak
from larpo_lib.budget.memory import GIB, ON_GPU, Training, sampling_need, training_need, vllm_need
from larpo_lib.budget.model import size_of
from larpo_lib.config import LoraConfig
from larpo_lib.models.layout import packed_layout
from larpo_lib.models.scoring import attach_scorer
from larpo_lib.training.trainable import add_adapters

CPU = torch.device("cpu")
ONE = Training(
    processes=1,
    zero=None,
    offload=False,
    bf16=False,
    on_gpu=False,
    adapters=0,
    pass_tokens=1024,
    checkpointing=False,
    chunk_tokens=None,
)
MEASURED_WITHIN = 0.25
"""Relative distance of a measured peak from the arithmetic."""


def llama(**fields):
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(LlamaConfig(**fields))


def llama_8b():
    heads = {"num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8}
    return size_of(llama(vocab_size=128_256, hidden_size=4_096, intermediate_size=14_336, **heads))


def by_name(need):
    return {item.name: item.bytes for item in need.items}


def states(need):
    """What DeepSpeed calls the model's states."""
    kinds = ("weights", "largest module", "gradients", "optimiser", "gradients and optimiser")
    return sum(size for name, size in by_name(need).items() if name in kinds)


@pytest.mark.parametrize("ranks", [1, 2, 8])
@pytest.mark.parametrize("offload", [False, True])
def test_states_are_those_that_deepspeed_estimates(ranks, offload):
    zero2 = pytest.importorskip("deepspeed.runtime.zero.stage_1_and_2", reason="compares with DeepSpeed")
    zero3 = pytest.importorskip("deepspeed.runtime.zero.stage3", reason="compares with DeepSpeed")
    size = llama_8b()
    shared = replace(ONE, processes=ranks, bf16=True, on_gpu=True, offload=offload)
    _, second = zero2.estimate_zero2_model_states_mem_needs(size.parameters, ranks, 1, offload)
    assert states(training_need("train", size, replace(shared, zero=2))) == pytest.approx(second, abs=8)
    _, third, _ = zero3.estimate_zero3_model_states_mem_needs(
        size.parameters, size.largest_module, ranks, 1, cpu_offload=offload, cpu_offload_params=False
    )
    assert states(training_need("train", size, replace(shared, zero=3))) == pytest.approx(third, abs=8)


def test_the_largest_module_is_the_one_that_deepspeed_takes():
    zero3 = pytest.importorskip("deepspeed.runtime.zero.stage3", reason="compares with DeepSpeed")
    model = make_model("llama")
    assert (size_of(model).parameters, size_of(model).largest_module) == zero3.model_to_params(model)


@pytest.mark.parametrize(
    ("shape", "measured"),
    [("LLAMA_1B", 37.42), ("QWEN_1_5B", 52.65)],  # GiB of a step on an H200 (docs/benchmarks.md)
)
def test_peaks_on_a_gpu_are_those_that_were_measured(shape, measured):
    made = getattr(shapes, shape)
    rows = 5 * (512 + 4 * 255)  # five lists of four: a prompt and the tokens before each last one
    chunk = 128 * 2**20 // (4 * made.fields["vocab_size"])  # the default of that day
    training = replace(ONE, bf16=True, on_gpu=True, pass_tokens=rows, chunk_tokens=chunk)
    need = training_need("train", size_of(shapes.make(made, "meta")), training)
    assert (need.bytes - ON_GPU) / GIB == pytest.approx(measured, rel=0.03)


def test_states_of_one_process_are_those_of_live_tensors():
    model = make_model("llama")
    optimizer = torch.optim.AdamW(model.parameters())
    model(input_ids=torch.arange(5)[None]).logits.sum().backward()
    optimizer.step()
    live = {
        "weights": sum(p.nbytes for p in model.parameters()),
        "gradients": sum(p.grad.nbytes for p in model.parameters()),
        "optimiser": sum(t.nbytes for state in optimizer.state.values() for t in state.values() if t.dim()),
    }
    found = by_name(training_need("train", size_of(model), ONE))
    assert {name: found[name] for name in live} == live


def test_adapters_are_as_many_as_those_of_peft():
    pytest.importorskip("peft", reason="LoRA needs peft")
    for targets in (None, ("q_proj", "down_proj")):
        model = make_model("llama")
        expected = size_of(model).adapters(4, targets)
        add_adapters(model, LoraConfig(r=4, targets=targets))
        assert sum(p.numel() for p in model.parameters() if p.requires_grad) == expected


def test_frozen_weights_have_no_gradients_and_no_moments():
    size = llama_8b()
    rank16 = 16 * 32 * (4_096 * 2 * 2 + (4_096 + 1_024) * 2 + (4_096 + 14_336) * 3)
    assert size.adapters(16, None) == rank16
    found = by_name(training_need("train", size, replace(ONE, bf16=True, adapters=rank16)))
    assert found["weights"] == 2 * 8_030_261_248 + 4 * rank16
    assert (found["gradients"], found["optimiser"]) == (4 * rank16, 8 * rank16)


@pytest.mark.parametrize("family", ["llama", "qwen3"])
@pytest.mark.parametrize("autocast", [False, True])
def test_activations_are_counted_as_a_real_pass_keeps_them(family, autocast):
    """Of a model that really computes, on rows without padding."""
    model = make_model(family)
    model.set_attn_implementation("sdpa")
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
    found = {}
    for tokens in (32, 96):
        kept = {}

        def keep(tensor, kept=kept):
            memory = tensor.untyped_storage()
            if memory.data_ptr() not in weights:
                kept[memory.data_ptr()] = (memory.nbytes(), tensor)
            return tensor

        hooks = torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor)
        with hooks, torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            model.train().get_decoder()(input_ids=torch.zeros(1, tokens, dtype=torch.long), use_cache=False)
        found[tokens] = sum(size for size, _ in kept.values())
    size = size_of(model)
    counted = size.under_autocast if autocast else size.in_float32
    per_token = (found[96] - found[32]) / 64
    assert size.layers * counted.layer + counted.rest == pytest.approx(per_token, rel=0.01)


@pytest.mark.parametrize("bf16", [False, True])
def test_a_measured_pass_takes_what_is_said(bf16):
    fields = {"vocab_size": 2_048, "hidden_size": 256, "intermediate_size": 768, "num_hidden_layers": 6}
    model = AutoModelForCausalLM.from_config(LlamaConfig(**fields, num_attention_heads=4, num_key_value_heads=2))
    attach_scorer(model, None).train()
    lists = [([1] * 128, [[2] * 120] * 4)] * 3
    rows, tokens = packed_layout(0)(lists), packed_layout(0).cost(lists)
    before = peak = 0
    for _ in range(2):  # gradients are there before the second pass
        before = reset_peak(CPU)
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            logps = model(**rows)
        logps.sum().backward()
        peak = peak_memory(CPU) - before
        del logps
    training = replace(ONE, pass_tokens=tokens, bf16=bf16)
    said = by_name(training_need("train", size_of(model), training))
    passes = ("activations", "logits", "output layer", "weights in bfloat16")
    assert peak == pytest.approx(sum(said.get(name, 0) for name in passes), rel=MEASURED_WITHIN)


def test_a_list_longer_than_a_pass_is_computed_again_but_with_zero_3():
    size = size_of(make_model("llama"))
    kept, tokens = size.in_float32, 100_000
    longer = replace(ONE, pass_tokens=64, list_tokens=tokens, on_gpu=True)
    again = by_name(training_need("train", size, longer))["activations"]
    assert again == tokens * (kept.rest + 2 * kept.layer + 2 * kept.stream)  # two layers
    apart = by_name(training_need("train", size, replace(longer, zero=3)))["activations"]
    assert apart == tokens * (kept.rest + 3 * kept.layer)
    shorter = by_name(training_need("train", size, replace(longer, list_tokens=10)))["activations"]
    assert shorter == 64 * (kept.rest + 3 * kept.layer)


def test_keys_and_values_are_those_of_a_live_cache_and_of_published_models():
    for family in ("llama", "qwen3"):
        model = make_model(family)
        cache = model(input_ids=torch.arange(7)[None], use_cache=True).past_key_values
        live = sum(layer.keys.nbytes + layer.values.nbytes for layer in cache.layers)
        assert size_of(model).cache_bytes(4) * 7 == live
    assert llama_8b().cache_bytes(2) == 131_072  # 2 x 32 layers x 8 heads x 128 x 2 bytes, as vLLM's pages hold


@pytest.mark.parametrize(
    ("stage", "on_gpu", "buckets"), [(0, True, 0), (1, True, 2), (2, True, 2), (3, True, 1), (2, False, 1)]
)
@pytest.mark.parametrize("offload", [False, True])
def test_gradients_are_exchanged_in_buckets_of_500_million(stage, on_gpu, buckets, offload):
    """DeepSpeed's own are looked at in tests/integration/test_deepspeed_settings.py."""
    shared = replace(ONE, processes=8, bf16=True, on_gpu=on_gpu, zero=stage, offload=offload)
    assert by_name(training_need("train", llama_8b(), shared)).get("buckets", 0) == buckets * 2 * 500_000_000


def test_gradients_of_the_output_layer_are_added_up_in_float32():
    """Under DeepSpeed: 4 bytes for the sum, and 2 for the product that is added, and at the end for the gradient."""
    size = llama_8b()
    shared = replace(ONE, processes=8, bf16=True, on_gpu=True, zero=2)
    assert by_name(training_need("train", size, shared))["output layer"] == 6 * 128_256 * 4_096


class _Live(TorchDispatchMode):
    """Counts the bytes of all memory that is in use, on tensors without memory."""

    def __init__(self):
        super().__init__()
        self.sizes, self.peak = {}, 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        found = function(*args, **(kwargs or {}))
        for tensor in tree_leaves(found):
            memory = tensor.untyped_storage() if isinstance(tensor, torch.Tensor) else None
            if memory is not None and memory._cdata not in self.sizes:
                self.sizes[memory._cdata] = memory.nbytes()
                weakref.finalize(memory, self.sizes.pop, memory._cdata)
        self.peak = max(self.peak, sum(self.sizes.values()))
        return found


def test_the_pass_of_hf_over_its_prompts_has_room():
    """By torch's own count. The arithmetic is above it: it has what a backward pass would need."""
    fields = {"vocab_size": 1_000, "hidden_size": 1_024, "intermediate_size": 2_816, "num_hidden_layers": 8}
    config = LlamaConfig(**fields, num_attention_heads=8)
    batch, prompt = 16, 512
    with FakeTensorMode():
        model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16, attn_implementation="sdpa").eval()
        ids = torch.zeros(batch, prompt, dtype=torch.long)
        with torch.inference_mode(), _Live() as live:
            model(input_ids=ids, use_cache=True, logits_to_keep=1)
    need = sampling_need(
        "sample", size_of(llama(**fields, num_attention_heads=8)), batch, prompt, 1, bf16=True, on_gpu=True
    )
    found = by_name(need)
    said = need.bytes - found["weights"] - found["process"]
    assert live.peak <= said <= 1.4 * live.peak


def test_the_cache_of_hf_is_of_the_largest_batch():
    need = sampling_need("sample", llama_8b(), 64, 1_000, 2_048, bf16=True, on_gpu=True)
    found = by_name(need)
    assert found["keys and values"] == 64 * 3_048 * 131_072
    assert found["weights"] == 2 * 8_030_261_248


def test_what_vllm_has_left_for_keys_and_values():
    size = llama_8b()
    limits = {"tokens": 4_096, "share": 0.9, "memory": 80 * GIB, "sequences": 256}
    need = vllm_need("sample", size, gpus=1, **limits)
    room = int(0.9 * 80 * GIB) - 2 * 8_030_261_248 - int(1.5 * GIB)
    assert by_name(need)["keys and values"] == room
    assert f"{room // (4_096 * 131_072)} responses of 4,096 tokens fit at once" in need.note
    assert need.bytes == pytest.approx(72 * GIB, abs=1)
    shared = by_name(vllm_need("sample", size, gpus=4, **limits))
    assert shared["weights"] == 2 * 8_030_261_248 // 4
    small = vllm_need("sample", size, gpus=1, **{**limits, "memory": 16 * GIB})
    assert "not one response" in small.note
    assert small.bytes > 16 * GIB


@pytest.mark.parametrize("family", ["gemma3", "phi3", "granite"])
def test_further_families_can_be_counted(family):
    kept = size_of(make_model(family)).in_bfloat16
    assert 0 < kept.stream < kept.layer
