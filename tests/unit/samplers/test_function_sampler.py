"""A user's own function or class as a sampler."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from larpo_lib.config import ModelConfig
from larpo_lib.errors import ConfigError, LarpoError
from larpo_lib.samplers import Request, Response, Sampler, SamplingLimits, make_sampler
from larpo_lib.samplers.function import FunctionSamplerConfig
from larpo_lib.samplers.hf import HfSamplerConfig

LIMITS = SamplingLimits(16, 8, 1.0)
ASKED = [
    Request("p", [{"role": "user", "content": "1 + 2"}], 1.0, seed=4),
    Request("q", [{"role": "user", "content": "3 + 4"}], 0.0, seed=5),
]
Make = Callable[..., Sampler]


@pytest.fixture
def make(tiny_world: Path, tmp_path: Path) -> Make:
    def make(source: str, **settings: Any) -> Sampler:
        (tmp_path / "mine.py").write_text(source)
        config = FunctionSamplerConfig(target=f"{tmp_path}/mine.py:draw", settings=settings)
        config.check(tiny_world / "policy", LIMITS)
        return make_sampler(config, tiny_world / "policy", LIMITS)

    return make


def texts(sampler: Sampler, requests: Sequence[Request] = ASKED) -> list[str]:
    return [response.text for response in sampler.sample(requests)]


def test_a_function_is_given_what_it_takes(make: Make, tiny_world: Path) -> None:
    sampler = make(
        "def draw(requests, policy, limits, words):\n"
        "    return [f'{words[r.seed % 2]} {r.temperature} {policy.name} {limits.max_new_tokens}' for r in requests]",
        words=["yes", "no"],
    )
    assert sampler.sample(ASKED) == [
        Response("yes 1.0 policy 8", None, None, "stop"),
        Response("no 0.0 policy 8", None, None, "stop"),
    ]
    assert sampler.prompt_tokens(ASKED[0].messages) > 0  # by the policy's own tokenizer
    assert not sampler.has_special_text(ASKED[0].messages)
    sampler.close()
    assert texts(make("def draw(requests): return ['a'] * len(requests)"), []) == []


def test_an_object_of_a_class_is_made_once_and_closed(make: Make, tmp_path: Path) -> None:
    sampler = make(
        "from larpo_lib.samplers import Response\n"
        "from pathlib import Path\n"
        "class draw:\n"
        "    def __init__(self, policy, log):\n"
        "        self.log = Path(log)\n"
        "        self.log.write_text(self.log.read_text() + f'made for {policy.name}; ')\n"
        "    def __call__(self, requests):\n"
        "        return [Response('x', [7], 1, 'length') for _ in requests]\n"
        "    def close(self):\n"
        "        self.log.write_text(self.log.read_text() + 'closed')\n",
        **_log(tmp_path),
    )
    assert sampler.sample(ASKED) == sampler.sample(ASKED) == [Response("x", [7], 1, "length")] * 2
    sampler.close()
    assert (tmp_path / "log").read_text() == "made for policy; closed"


def test_one_of_ours_behind_a_class_draws_as_it_does_itself(make: Make, tiny_world: Path) -> None:
    source = (
        "from larpo_lib.samplers.hf import HfSamplerConfig\n"
        "class draw:\n"
        "    def __init__(self, policy, limits):\n"
        "        self.own = HfSamplerConfig(model={'device': 'cpu'}).make(policy, limits)\n"
        "    def __call__(self, requests):\n"
        "        return self.own.sample(requests)\n"
    )
    own = HfSamplerConfig(model=ModelConfig(device="cpu")).make(tiny_world / "policy", LIMITS)
    assert make(source).sample(ASKED) == own.sample(ASKED)


def _log(tmp_path: Path) -> dict[str, str]:
    (tmp_path / "log").write_text("")
    return {"log": str(tmp_path / "log")}


@pytest.mark.parametrize(
    ("source", "told"),
    [
        (
            "def draw(requests): return 'ab'",
            r"mine\.py:draw gave str, not a list with one response a request; 2 prompts",
        ),
        (
            "def draw(requests): return ['a']",
            r"gave 1 responses for 2 requests; 2 prompts, the first p\. Fix the function",
        ),
        ("def draw(requests): return ['a', None]", r"gave None, which is no text and no Response; prompt q"),
        (
            "from larpo_lib.samplers import Response as R\ndef draw(requests): return [R('a', None, None, 'done')] * 2",
            r"gave the finish_reason 'done'; prompt p",
        ),
        (
            "def draw(requests):\n    1 / 0",
            r"raised ZeroDivisionError: division by zero \(.*mine\.py, line 2\); 2 prompts",
        ),
        ("class draw: pass", r"raised TypeError: 'draw' object is not callable"),
    ],
)
def test_what_is_no_sampler_is_refused(make: Make, source: str, told: str) -> None:
    with pytest.raises(LarpoError, match=told):
        make(source).sample(ASKED)


def test_what_cannot_be_made_or_called_is_refused_before(make: Make) -> None:
    with pytest.raises(LarpoError, match=r"mine\.py:draw raised KeyError: 'x' \(.*mine\.py, line 3\)\. Fix"):
        make("class draw:\n    def __init__(self):\n        raise KeyError('x')")
    with pytest.raises(ConfigError, match=r"mine\.py:draw needs 'words'\. Give it in settings"):
        make("def draw(requests, words): return words")
    with pytest.raises(ConfigError, match=r"mine\.py:draw does not take the setting 'word'"):
        make("def draw(requests, words=()): return words", word=1)
