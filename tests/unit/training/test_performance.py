import resource
import sys
import time

import numpy as np
import psutil
import pytest
import torch
from small_models import FAMILIES, make_model
from torch.utils.flop_counter import FlopCounterMode
from transformers import (
    AutoModelForCausalLM,
    Gemma4TextConfig,
    LlamaConfig,
    MambaConfig,
    MixtralConfig,
    Qwen3NextConfig,
)

from larpo_lib.training.performance import (
    Throughput,
    TokenFlops,
    flops_per_token,
    mean_context,
    peak_flops,
    peak_memory,
    step_performance,
)

CPU = torch.device("cpu")
GPU = torch.device("cuda", 0)
ROWS, LENGTH = 2, 48
TINY = {
    "vocab_size": 16,
    "hidden_size": 16,
    "intermediate_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 8,
}


def _counted(model):
    """FLOPs that torch counts for a forward and backward pass in which every token is compared with all of its row."""
    model.set_attn_implementation("eager")
    ids = torch.arange(ROWS * LENGTH).view(ROWS, LENGTH) % model.config.vocab_size
    counter = FlopCounterMode(display=False)
    with counter:
        model(input_ids=ids, use_cache=False).logits.sum().backward()
    return counter.get_total_flops()


def _vectors(model):
    """Parameters of norms, which take part in no matrix product."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.dim() == 1)


@pytest.mark.parametrize(("family", "changes"), [*((family, {}) for family in FAMILIES), ("qwen3", {"head_dim": 16})])
def test_flops_are_those_that_torch_counts(family, changes):
    model = make_model(family, **changes)
    body, output = flops_per_token(model, LENGTH)
    rotary = 2 * (16 // 2) * ROWS * LENGTH  # angles: half a head's frequencies by the positions, for each layer type
    expected = ROWS * LENGTH * (body - 6 * _vectors(model) + output)
    assert _counted(model) == pytest.approx(expected, abs=rotary)


def test_frozen_parameters_take_no_gradient_of_their_own():
    model = make_model("llama")
    for layer in model.get_decoder().layers:
        layer.mlp.requires_grad_(False)
    frozen = 2 * 3 * 32 * 48
    assert flops_per_token(make_model("llama"), 0).body - flops_per_token(model, 0).body == 2 * frozen
    body, output = flops_per_token(model, LENGTH)
    expected = ROWS * LENGTH * (body - 6 * _vectors(model) + output)
    assert _counted(model) == pytest.approx(expected, rel=1e-3)


def test_flops_of_a_llama_of_seven_billion_by_hand():
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(
            LlamaConfig(
                vocab_size=32000,
                hidden_size=4096,
                intermediate_size=11008,
                num_hidden_layers=32,
                num_attention_heads=32,
            )
        )
    layer = 4 * 4096**2 + 3 * 4096 * 11008 + 2 * 4096
    assert flops_per_token(model, 1024) == TokenFlops(
        body=6 * (32 * layer + 4096) + 12 * 32 * 32 * 128 * 1024, output=6 * 32000 * 4096
    )


def test_an_output_layer_that_shares_its_weights_with_the_embeddings_counts_all_the_same():
    tied, untied = make_model("llama", tie_word_embeddings=True), make_model("llama", tie_word_embeddings=False)
    assert sum(p.numel() for p in tied.parameters()) < sum(p.numel() for p in untied.parameters())
    assert flops_per_token(tied, 5) == flops_per_token(untied, 5)


def test_adapters_are_trained_and_what_they_adapt_is_frozen():
    peft = pytest.importorskip("peft", reason="LoRA needs peft")
    plain = flops_per_token(make_model("llama"), 0)
    config = peft.LoraConfig(r=4, target_modules=["q_proj"], task_type="CAUSAL_LM")
    adapted = flops_per_token(peft.get_peft_model(make_model("llama"), config), 0)
    adapters = 2 * 4 * (32 + 32)
    assert adapted.body == pytest.approx(plain.body * 4 / 6 + 6 * adapters)
    assert adapted.output == pytest.approx(plain.output * 4 / 6)


def test_parameters_that_are_sharded_away_count_in_full():
    model = make_model("qwen3")
    whole = flops_per_token(model, 3)
    for parameter in model.parameters():  # as ZeRO-3 leaves them between uses
        parameter.ds_numel = parameter.numel()
        parameter.data = torch.empty(0)
    assert flops_per_token(model, 3) == whole


def test_a_mixture_of_experts_has_no_figure():
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_attention_heads": 2, "num_key_value_heads": 2}
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(MixtralConfig(vocab_size=16, num_hidden_layers=1, **sizes))
    assert flops_per_token(model, 3) is None


@pytest.mark.parametrize(
    "config",
    [
        Gemma4TextConfig(**TINY, layer_types=["sliding_attention", "full_attention"], vocab_size_per_layer_input=16),
        MambaConfig(vocab_size=16, hidden_size=16, num_hidden_layers=1),
        Qwen3NextConfig(**TINY, num_experts=2, layer_types=["linear_attention", "full_attention"]),
    ],
    ids=lambda config: config.model_type,
)
def test_layers_that_differ_or_are_no_attention_have_no_figure(config):
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    assert flops_per_token(model, 3) is None


def test_mean_context_by_hand():
    # prompt 1 2 3, responses 4 5 and 4; prompt 1, response 2 3
    assert mean_context([([7, 7, 7], [[8, 8], [9]]), ([7], [[8, 8]])]) == (6 + 9 + 4 + 6) / (6 + 3)
    assert mean_context([([7] * 30, [[8] * 70])]) == (100 + 1) / 2  # a plain causal row


@pytest.mark.parametrize(
    ("name", "peak"),
    [
        ("NVIDIA H100 80GB HBM3", 989e12),
        ("NVIDIA H100 PCIe", 756e12),
        ("NVIDIA H200", 989e12),
        ("NVIDIA A100-SXM4-80GB", 312e12),
        ("A100-PCIE-40GB", 312e12),  # as older drivers say
        ("NVIDIA A100 80GB PCIe", 312e12),
        ("NVIDIA A10", 125e12),
        ("NVIDIA L40S", 362e12),
        ("NVIDIA L4", 121e12),
        ("NVIDIA B200", 2250e12),
        ("NVIDIA GeForce RTX 4090", 165e12),
        ("NVIDIA A10G", None),
        ("NVIDIA L40", None),
        ("NVIDIA H100 NVL", None),
        ("NVIDIA GeForce RTX 4090 Laptop GPU", None),
        ("NVIDIA A100-SXM4-40GB MIG 1g.5gb", None),
        ("AMD Instinct MI300X", None),
    ],
)
def test_peaks_of_gpus_by_their_names(monkeypatch, name, peak):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _device: name)
    assert peak_flops(GPU, torch.bfloat16) == peak
    assert peak_flops(GPU, torch.float32) is None
    assert peak_flops(CPU, torch.bfloat16) is None


def test_performance_of_a_step_by_hand():
    flops = TokenFlops(body=4e9, output=1e9)
    # 1000 tokens of 4 GFLOPs and 500 of 1 more are 4.5 TFLOPs, in half a second on hardware that does 36 a second
    assert step_performance(1000, 500, 0.5, flops, 36e12) == pytest.approx(
        {"seconds": 0.5, "tokens_per_s": 2000.0, "mfu": 0.25}
    )


@pytest.mark.parametrize(("flops", "peak"), [(None, 1e12), (TokenFlops(1e9, 1e9), None)])
def test_utilisation_that_is_not_known_is_left_out(flops, peak):
    assert step_performance(10, 5, 2.0, flops, peak) == {"seconds": 2.0, "tokens_per_s": 5.0}


def test_a_step_is_measured_by_the_clock():
    throughput = Throughput(TokenFlops(1e9, 1e9), CPU, torch.float32, world_size=1)
    before = time.perf_counter()
    throughput.start()
    time.sleep(0.05)
    found = throughput.stop(1000, 400)
    assert 0.05 <= found["seconds"] <= time.perf_counter() - before
    assert found["tokens_per_s"] == 1000 / found["seconds"]
    assert found.keys() == {"seconds", "tokens_per_s", "memory_gib"}
    assert found["memory_gib"] == pytest.approx(peak_memory(CPU) / 2**30, rel=0.05)


def test_ranks_share_the_global_batch_and_gpus_are_waited_for(monkeypatch):
    waited = []
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _device: "NVIDIA L4")
    monkeypatch.setattr(torch.cuda, "synchronize", waited.append)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda _device: 3 * 2**30)
    throughput = Throughput(TokenFlops(1e9, 0), GPU, torch.bfloat16, world_size=4)
    throughput.start()
    time.sleep(0.01)
    found = throughput.stop(1000, 400)
    assert waited == [GPU, GPU]
    assert found["memory_gib"] == 3
    assert found["mfu"] == pytest.approx(1000 * 1e9 / found["seconds"] / (4 * 121e12))


def test_a_step_cannot_end_before_it_began():
    throughput = Throughput(None, CPU, torch.float32, world_size=1)
    throughput.start()
    throughput.stop(1, 1)
    with pytest.raises(AssertionError, match="start"):
        throughput.stop(1, 1)


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss is in kilobytes on Linux only")
def test_peak_memory_lies_between_what_is_taken_now_and_what_the_system_says_was_taken_at_most():
    taken = np.ones(2**25)  # 256 MiB
    now = psutil.Process().memory_info().rss
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    del taken
    assert 0.98 * now <= peak_memory(CPU) <= 1.02 * most
