"""What the vLLM sampler refuses before its engine starts; tests/vllm has the engine."""

import importlib.util

import pytest
import torch
from small_models import make_model, user
from transformers import LlamaConfig, Qwen2Config

from larpo_lib import preflight
from larpo_lib.config import ModelConfig, load_config
from larpo_lib.errors import ConfigError, LarpoError
from larpo_lib.models.model_dir import ModelDir
from larpo_lib.preflight import check_config
from larpo_lib.samplers import Request, SamplingLimits, make_sampler
from larpo_lib.samplers.engines import vllm as sampler_module
from larpo_lib.samplers.vllm import VllmSamplerConfig

PLAIN = ModelConfig(device="cpu")
CONFIG = VllmSamplerConfig(model=PLAIN)
CONTEXT = 8192  # of the tiny policy


@pytest.fixture
def installed(monkeypatch):
    """As if vLLM were installed: nothing here may import it."""
    monkeypatch.setattr(sampler_module, "find_spec", lambda _: importlib.util.find_spec("json"))


@pytest.mark.usefixtures("installed")
def test_limits_that_fill_the_context_are_taken_and_no_engine_starts(tiny_policy):
    sampler = make_sampler(CONFIG, tiny_policy, SamplingLimits(CONTEXT - 6, 6, 1.0))
    assert sampler.prompt_tokens(user("How many ?")) == 5  # <user> How many ? <assistant>
    sampler.close()


@pytest.mark.usefixtures("installed")
def test_limits_beyond_the_context_are_refused(tiny_policy):
    with pytest.raises(ConfigError, match="max_prompt_tokens = 8000 and max_new_tokens = 193: sequences of up to 8193"):
        make_sampler(CONFIG, tiny_policy, SamplingLimits(8000, 193, 1.0))


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize("temperature", [0.005, 2.1])
def test_a_temperature_that_vllm_does_not_take_is_refused(tiny_policy, temperature):
    sampler = make_sampler(CONFIG, tiny_policy, SamplingLimits(64, 8, 1.0))
    requests = [Request("p", user("How many ?"), value, seed=0) for value in (1.0, temperature)]
    with pytest.raises(ConfigError, match=rf"temperature = {temperature}, but vLLM takes 0, or 0\.01 to 2"):
        sampler.sample(requests)


def test_a_missing_package_is_named(tiny_policy, monkeypatch):
    monkeypatch.setattr(sampler_module, "find_spec", lambda _: None)
    with pytest.raises(LarpoError, match=r"needs the package vllm, which is not installed\. pip install vllm, or set"):
        make_sampler(CONFIG, tiny_policy, SamplingLimits(8, 8, 1.0))


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize("section", ["sample", "evaluate"])
@pytest.mark.parametrize("sampler", ["hf", "vllm"])
def test_a_run_is_refused_before_it_begins(tiny_world, section, sampler):
    settings = [f"{section}.sampler.type={sampler}", f"{section}.max_new_tokens=8190"]
    with pytest.raises(ConfigError, match="max_new_tokens = 8190: sequences of up to 8254 tokens"):
        check_config(load_config(tiny_world / "larpo.toml", settings))


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(
    ("settings", "told"),
    [
        (["sample.temperature=[1.0, 1.5, 2.5]"], "2.5"),
        (["sample.temperature=0.001"], "0.001"),
        (["sample.extra_draws=[{ temperature = 3.0, count = 1 }]"], "3.0"),
        (["loop.iterations=2", "loop.changes=[{ iteration = 2, sample = { temperature = 2.1 } }]"], "2.1"),
        (["evaluate.temperature=2.2"], "2.2"),
    ],
)
def test_a_temperature_of_any_iteration_is_refused_before_a_run_begins(tiny_world, settings, told):
    check_config(load_config(tiny_world / "larpo.toml", settings))  # transformers takes it
    with pytest.raises(ConfigError, match=rf"temperature = {told}, but vLLM takes 0, or 0\.01 to 2"):
        check_config(load_config(tiny_world / "larpo.toml", ["sample.sampler.type=vllm", *settings]))


QWEN = Qwen2Config(num_attention_heads=28, num_key_value_heads=4, intermediate_size=18944)  # Qwen2.5-7B: 2^9 * 37 rows
LLAMA = LlamaConfig(num_attention_heads=32, num_key_value_heads=8, intermediate_size=14336)  # Llama 3.1 8B


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(
    ("model", "gpus", "fitting"),
    [
        (QWEN, 4, None),
        (QWEN, 7, "1, 2, 4"),  # it divides the heads, but not the key-value heads, and is no multiple of them
        (QWEN, 8, "1, 2, 4"),
        (QWEN, 28, "1, 2, 4"),  # 18944 / 28 is no whole number
        (LLAMA, 8, None),
        (LLAMA, 16, None),  # each key-value head twice
        (LLAMA, 6, "1, 2, 4"),
    ],
)
def test_a_model_that_cannot_be_split_over_the_gpus_is_refused(tmp_path, model, gpus, fitting):
    model.save_pretrained(tmp_path)
    config = VllmSamplerConfig(model=PLAIN, tensor_parallel=gpus)
    if fitting is None:
        config.check(tmp_path, SamplingLimits(64, 8, 1.0))
        return
    heads = f"{model.num_attention_heads} attention heads, {model.num_key_value_heads} key-value heads"
    with pytest.raises(ConfigError, match=rf"tensor_parallel = {gpus}: .*{heads}.*Set it to one of {fitting}\.$"):
        config.check(tmp_path, SamplingLimits(64, 8, 1.0))


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(
    ("gpus", "settings", "told"),
    [
        (0, ["sample.processes=4"], None),  # on CPUs
        (4, ["sample.processes=4"], None),
        (4, ["sample.processes=2", "sample.sampler.tensor_parallel=2"], None),
        (4, ["sample.processes=3", "sample.sampler.tensor_parallel=2"], r"tensor_parallel = 2 take 6 GPUs, .* has 4"),
        (1, ["sample.sampler.tensor_parallel=2"], r"sample\.processes = 1 with .* take 2 GPUs, .* has 1"),
        (4, ["sample.processes=5"], r"puts 2 of .* processes to 4, or sampler\.gpu_memory below 0\.5\."),
        (4, ["sample.processes=8", "sample.sampler.gpu_memory=0.45"], None),
        (
            4,
            ["evaluate.sampler={ type = 'vllm', gpu_memory = 0.45 }", "evaluate.processes=9"],
            r"evaluate\.processes = 9 puts 3 of",
        ),
    ],
)
def test_engines_that_have_no_room_are_refused_before_a_run_begins(tiny_world, monkeypatch, gpus, settings, told):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    config = load_config(tiny_world / "larpo.toml", ["sample.sampler.type=vllm", *settings])
    if told is None:
        check_config(config)
        return
    with pytest.raises(ConfigError, match=told):
        check_config(config)


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(
    ("gpus", "settings", "told"),
    [
        (8, [], ["sample uses 1 of 8 GPUs: set sample.processes = 8 to use all", "evaluate uses 1 of"]),
        (
            8,
            ["sample.sampler.tensor_parallel=2"],
            ["sample uses 2 of 8 GPUs: set sample.processes = 4", "evaluate"],
        ),
        (8, ["sample.processes=8", "evaluate.sampler.type=hf", "evaluate.processes=2"], ["evaluate uses 2 of 8 GPUs"]),
        (8, ["sample.processes=8", "evaluate.processes=8"], []),
        (1, [], []),
        (0, [], []),
    ],
)
def test_a_run_says_which_steps_leave_gpus_without_work(tiny_world, monkeypatch, gpus, settings, told):
    said = []
    monkeypatch.setattr(preflight, "tell", said.append)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    config = load_config(tiny_world / "larpo.toml", ["sample.sampler.type=vllm", "model.device=auto", *settings])
    check_config(config)
    assert [line[: len(start)] for line, start in zip(said, told, strict=True)] == told


@pytest.mark.usefixtures("installed")
def test_a_precision_that_vllm_refuses_for_a_family_or_a_gpu_is_refused_before(tmp_path, monkeypatch):
    make_model("gemma2").config.save_pretrained(tmp_path)
    half = VllmSamplerConfig(model=ModelConfig(dtype="float16"))
    with pytest.raises(ConfigError, match=r"type gemma2 in float16\. Set the sampler's model\.dtype to bfloat16"):
        half.check(tmp_path, SamplingLimits(8, 8, 1.0))
    bfloat16 = VllmSamplerConfig(model=ModelConfig(dtype="bfloat16"))
    bfloat16.check(tmp_path, SamplingLimits(8, 8, 1.0))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation)  # T4
    with pytest.raises(ConfigError, match=r"needs a compute capability of 8\.0\. Set .* to float16 or float32"):
        bfloat16.check(tmp_path, SamplingLimits(8, 8, 1.0))


def test_a_pass_has_room_for_a_token_of_every_response():
    """As vLLM demands of `max_num_batched_tokens`."""
    many = sampler_module.engine_arguments(VllmSamplerConfig(model=PLAIN, max_num_seqs=9000), 64)
    assert many["max_num_batched_tokens"] == 9000
    assert sampler_module.engine_arguments(CONFIG, 64)["max_num_batched_tokens"] == 8192


@pytest.mark.parametrize(
    ("rope", "expected"),
    [
        ({"rope_type": "default"}, 64),
        ({"rope_type": "linear", "factor": 4.0}, 256),
        ({"rope_type": "dynamic", "factor": 2.0}, 128),
        ({"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16}, 64),
    ],
)
def test_scaled_positions_lengthen_the_context(tmp_path, rope, expected):
    make_model(
        "llama", max_position_embeddings=64, rope_parameters={"rope_theta": 10000.0, **rope}
    ).config.save_pretrained(tmp_path)
    assert ModelDir(tmp_path, PLAIN).context_length == expected


def test_layers_with_rotary_embeddings_of_their_own_have_one_context(tmp_path):
    make_model("gemma3", max_position_embeddings=64).config.save_pretrained(tmp_path)
    assert ModelDir(tmp_path, PLAIN).context_length == 64
