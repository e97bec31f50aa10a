"""What the vLLM sampler refuses before its engine starts; tests/vllm has the engine."""

import importlib.util

import pytest
from small_models import make_model, user

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
