import pytest
from server_double import Reply, serve
from small_models import user

from larpo_lib.config import ModelConfig
from larpo_lib.errors import ConfigError, EndpointError, InputTooLongError
from larpo_lib.models.chat import prompt_ids
from larpo_lib.models.model_dir import ModelDir
from larpo_lib.samplers import Request, SamplingLimits, make_sampler
from larpo_lib.samplers.openai import OpenAiSamplerConfig
from larpo_lib.schemas import LENGTH, STOP

PLAIN = ModelConfig(device="cpu")
WORDS = ("Ann", "has", "3", "pens", "<end>")


@pytest.fixture(scope="module")
def tokenizer(tiny_policy):
    return ModelDir(tiny_policy, PLAIN).tokenizer


@pytest.fixture
def sampler_of(tiny_policy):
    def make(server, *, longest=24, top_p=1.0, prompt=64, **settings):
        config = OpenAiSamplerConfig(
            **{"base_url": f"{server.url}/v1", "served_model": "tiny", "retries": 1, "model": PLAIN} | settings
        )
        return make_sampler(config, tiny_policy, SamplingLimits(prompt, longest, top_p))

    return make


def _models(*cards, owned_by="me"):
    return Reply({"data": [{"id": name, "owned_by": owned_by, "max_model_len": longest} for name, longest in cards]})


def _completion(choice, **more):
    return Reply({"id": "x", "choices": [{"index": 0, **choice}], **more})


def _says(text, finish_reason="stop", **more):
    return _completion({"message": {"role": "assistant", "content": text}, "finish_reason": finish_reason}, **more)


def _server(completion, models=None):
    """A server that lists `tiny` and answers completions by a function, or always alike."""

    def answer(asked):
        if asked.path == "/v1/models":
            return models or _models(("tiny", 256))
        return completion(asked) if callable(completion) else completion

    return serve(answer)


def _request(text="How many ?", temperature=0.7, seed=2**62 + 5):
    return Request("p", user(text), temperature, seed)


def _payload(server):
    (payload,) = server.payloads("/v1/chat/completions")
    return payload


def test_a_response_is_drawn_as_the_step_says(sampler_of):
    with _server(_says("Ann has 3", usage={"completion_tokens": 4})) as server:
        (response,) = sampler_of(server, top_p=0.9).sample([_request()])
    assert (response.text, response.token_ids, response.num_tokens, response.finish_reason) == (
        "Ann has 3", None, 4, STOP,
    )  # fmt: skip
    assert _payload(server) == {
        "model": "tiny",
        "messages": user("How many ?"),
        "n": 1,
        "temperature": 0.7,
        "top_p": 0.9,
        "max_tokens": 24,
        "seed": 5,  # of 31 bits
        "stop": ["<end>"],
    }


def test_the_whole_distribution_goes_unsaid_to_servers_that_refuse_1(sampler_of):
    with _server(_says("Ann")) as server:
        sampler_of(server).sample([_request()])
    assert "top_p" not in _payload(server)


def test_it_is_said_once_which_settings_are_an_unknown_servers_own(sampler_of, caplog):
    caplog.set_level("INFO", "larpo_lib")
    with _server(_says("Ann")) as server:
        sampler = sampler_of(server)
        sampler.sample([_request()])
        sampler.sample([_request()])
    [told] = [record.getMessage() for record in caplog.records if "defaults" in record.getMessage()]
    assert "hold for top_p, top_k, min_p, repetition_penalty, presence_penalty, frequency_penalty. Start" in told
    with _server(_says("Ann")) as server:
        sampler_of(server, top_p=0.9)
    assert "its own defaults hold for top_k" in caplog.text


def test_vllm_is_asked_for_token_ids_and_for_no_settings_of_its_own(sampler_of, tokenizer):
    ids = tokenizer.convert_tokens_to_ids(list(WORDS))

    def answer(asked):
        prompt = prompt_ids(tokenizer, asked.payload["messages"])
        choice = {"message": {"content": "parsed away"}, "finish_reason": "stop", "token_ids": ids}
        return _completion(choice, prompt_token_ids=prompt)

    with _server(answer) as server:
        (response,) = sampler_of(server, token_ids=True).sample([_request()])
    assert (response.text, response.token_ids, response.num_tokens) == ("Ann has 3 pens", ids, 5)
    asked = _payload(server)
    assert asked["return_token_ids"] is True
    assert {name: asked[name] for name in ("top_p", "top_k", "min_p", "repetition_penalty")} == {
        "top_p": 1.0, "top_k": -1, "min_p": 0.0, "repetition_penalty": 1.0,
    }  # fmt: skip


@pytest.mark.parametrize("owner", ["vllm", "sglang"])
def test_a_server_that_takes_them_is_asked_for_no_settings_of_its_own_without_token_ids_either(
    sampler_of, owner, tokenizer, caplog
):
    caplog.set_level("INFO", "larpo_lib")
    with _server(_says("Ann"), _models(("tiny", 256), owned_by=owner)) as server:
        sampler_of(server).sample([_request()])
    assert _payload(server)["stop_token_ids"] == tokenizer.convert_tokens_to_ids(["<end>"])
    assert "defaults" not in caplog.text
    asked = _payload(server)
    assert (asked["repetition_penalty"], asked["top_k"], asked["top_p"]) == (1.0, -1, 1.0)
    assert asked["return_token_ids"] is False


def test_responses_come_in_the_order_of_their_requests(sampler_of):
    def echo(asked):
        return _says(asked.payload["messages"][0]["content"])

    texts = [f"question {i}" for i in range(30)]
    with _server(echo) as server:
        sampler = sampler_of(server, concurrency=8)
        responses = sampler.sample([_request(text) for text in texts])
        sampler.close()
    assert [response.text for response in responses] == texts
    assert 1 < server.most_in_flight <= 8


@pytest.mark.parametrize(("told", "finish_reason"), [("stop", STOP), ("eos_token", STOP), ("length", LENGTH)])
def test_a_response_ends_by_its_end_or_its_length(sampler_of, told, finish_reason):
    with _server(_says("Ann", told)) as server:
        (response,) = sampler_of(server).sample([_request()])
    assert response.finish_reason == finish_reason


@pytest.mark.parametrize("told", ["content_filter", "tool_calls", "abort", None])
def test_a_response_that_is_not_the_policys_own_is_refused(sampler_of, told):
    problem = rf"prompt p: a response ended with '{told}' .*without filters or tools"
    with _server(_says("Ann", told)) as server, pytest.raises(EndpointError, match=problem):
        sampler_of(server).sample([_request()])


def test_an_empty_response_is_empty_text(sampler_of):
    with _server(_says(None, usage=None)) as server:
        (response,) = sampler_of(server).sample([_request()])
    assert (response.text, response.num_tokens) == ("", None)


def test_a_server_that_gives_no_token_ids_is_refused(sampler_of):
    with _server(_says("Ann")) as server, pytest.raises(EndpointError, match=r"no token ids\. Set token_ids to false"):
        sampler_of(server, token_ids=True).sample([_request()])


def test_a_server_of_another_template_is_refused(sampler_of, tokenizer):
    prompt = [1, *prompt_ids(tokenizer, user("How many ?"))]  # a bos token in front
    choice = {"message": {"content": "Ann"}, "finish_reason": "stop", "token_ids": [7]}
    problem = "other prompt tokens than the policy's tokenizer and chat template"
    with _server(_completion(choice, prompt_token_ids=prompt)) as server, pytest.raises(EndpointError, match=problem):
        sampler_of(server, token_ids=True).sample([_request()])


@pytest.mark.parametrize(
    ("ids", "problem"),
    [
        (
            [7, 99999],
            r"prompt p: the server returned the token id 99999, but the policy has ids below \d+\.",
        ),
        ([7, -1], r"the answer cannot be read: choices\.0\.token_ids\.1: .*greater than or equal to 0"),
        ([7, 10**30], r"the answer cannot be read: choices\.0\.token_ids\.1"),
        ([7] * 25, "prompt p: a response of 25 tokens, but max_new_tokens = 24"),
    ],
)
def test_token_ids_are_the_policys_and_no_more_than_asked_for(sampler_of, tokenizer, ids, problem):
    choice = {"message": {"content": "Ann"}, "finish_reason": "length", "token_ids": ids}
    answer = _completion(choice, prompt_token_ids=prompt_ids(tokenizer, user("How many ?")))
    with _server(answer) as server, pytest.raises(EndpointError, match=problem):
        sampler_of(server, token_ids=True).sample([_request()])


@pytest.mark.parametrize("count", [-1, 25, 10**30])
def test_a_count_of_tokens_that_cannot_be_is_refused(sampler_of, count):
    problem = r"the answer cannot be read: usage\.completion_tokens|a response of 25 tokens, but max_new_tokens = 24"
    with (
        _server(_says("Ann", usage={"completion_tokens": count})) as server,
        pytest.raises(EndpointError, match=problem),
    ):
        sampler_of(server).sample([_request()])


def test_a_prompt_that_is_too_long_for_the_server_is_an_error(sampler_of):
    refusal = Reply({"error": {"message": "This model's maximum context length is 9 tokens."}}, status=400)
    with _server(refusal) as server, pytest.raises(InputTooLongError, match="longer context"):
        sampler_of(server).sample([_request()])


def test_prompts_are_counted_by_the_policys_tokenizer(sampler_of):
    with _server(_says("Ann")) as server:
        counted = sampler_of(server).prompt_tokens(user("How many ?"))
    assert counted == len(["<user>", "How", "many", "?", "<assistant>"])


def test_a_server_of_other_models_is_refused_before_anything_is_sampled(sampler_of):
    with _server(_says("Ann"), _models(("one", 9), ("other", 9))) as server:
        with pytest.raises(
            ConfigError, match=r"does not serve a model 'tiny'\. Set served_model to one of one, other\."
        ):
            sampler_of(server)
        assert server.paths() == ["/v1/models"]


def test_limits_beyond_the_servers_are_refused_before_anything_is_sampled(sampler_of):
    problem = r"with 87 tokens, but max_prompt_tokens \+ max_new_tokens = 88"
    with _server(_says("Ann"), _models(("tiny", 87))) as server, pytest.raises(ConfigError, match=problem):
        sampler_of(server, prompt=64, longest=24)


def test_limits_beyond_the_policys_own_context_are_refused_whatever_the_server_says(sampler_of, tiny_policy):
    context = ModelDir(tiny_policy, PLAIN).context_length
    with _server(_says("Ann"), Reply("Not Found", status=404)) as server:
        sampler_of(server, prompt=context - 24)
        asked = len(server.asked)
        with pytest.raises(ConfigError, match=rf"up to {context + 1} tokens, but \S+ supports at most {context}"):
            sampler_of(server, prompt=context - 23)
        assert len(server.asked) == asked


def test_of_many_models_with_long_names_the_first_are_named(sampler_of):
    models = _models(*((f"{number}{'x' * 500}", 9) for number in range(20)))
    with _server(_says("Ann"), models) as server, pytest.raises(ConfigError, match=r"9x+, \.\.\.$") as raised:
        sampler_of(server)
    assert len(str(raised.value)) < 2500


@pytest.mark.parametrize("models", [Reply("Not Found", status=404), _models(("tiny", None))])
def test_a_server_that_does_not_list_its_models_may_sample(sampler_of, models):
    with _server(_says("Ann"), models) as server:
        assert sampler_of(server).sample([_request()])[0].text == "Ann"


def test_servers_are_told_where_to_stop(sampler_of, tiny_policy, tokenizer):
    """vLLM by ids, with those of the model's own settings; others by text, up to the four that they take."""
    model = ModelConfig(device="cpu", stop_tokens=(".", "?"))
    with _server(_says("Ann"), _models(("tiny", 256), owned_by="vllm")) as server:
        sampler_of(server, model=model).sample([_request()])
    assert _payload(server)["stop_token_ids"] == sorted(tokenizer.convert_tokens_to_ids(["<end>", ".", "?"]))
    assert "stop" not in _payload(server)
    with _server(_says("Ann")) as server:
        sampler_of(server, model=model).sample([_request()])
    assert _payload(server)["stop"] == [".", "<end>", "?"]
    many = ModelConfig(device="cpu", stop_tokens=(".", "?", "Ann", "has"))
    with _server(_says("Ann")) as server, pytest.raises(ConfigError, match=r"5 stop texts .* servers accept at most 4"):
        sampler_of(server, model=many)


def test_a_prompt_that_a_server_would_read_otherwise_is_refused(sampler_of):
    with _server(_says("Ann")) as server:
        sampler = sampler_of(server)
        assert not sampler.has_special_text(user("How many ?"))
        assert sampler.has_special_text(user("What is <end> ?"))
        with pytest.raises(EndpointError, match=r"prompt p: contains the text <end>.*model.special_text to control"):
            sampler.sample([_request(), _request("What is <end> ?")])
        assert not server.payloads("/v1/chat/completions")
        sampler_of(server, model=ModelConfig(device="cpu", special_text="control")).sample(
            [_request("What is <end> ?")]
        )


def test_a_template_that_tells_the_day_is_refused(sampler_of):
    dated = ModelConfig(device="cpu", chat_template="{{ strftime_now('%d %b') + messages[0]['content'] }}")
    with _server(_says("Ann")) as server, pytest.raises(ConfigError, match=r"a server does not use model\.date"):
        sampler_of(server, model=dated)


@pytest.mark.parametrize(
    ("message", "text"),
    [
        ({"content": "3 + 4"}, "<think>\n3 + 4"),
        ({"content": "3 + 4\n</think>\n7"}, "<think>\n3 + 4\n</think>\n7"),
        ({"content": "<think>\n3 + 4\n</think>\n7"}, "<think>\n3 + 4\n</think>\n7"),
        ({"content": "7", "reasoning_content": "3 + 4"}, "7"),
        ({"content": None, "reasoning": "3 + 4"}, ""),
    ],
)
def test_thoughts_begin_where_the_template_opened_them(sampler_of, tokenizer, message, text):
    """Some servers take a model's thoughts apart; from others the response goes on from the prompt's `<think>`."""
    choice = {"message": {"role": "assistant", **message}, "finish_reason": "length"}
    template = tokenizer.chat_template + "{% if add_generation_prompt %}<think>\n{% endif %}"
    with _server(_completion(choice)) as server:
        sampler = sampler_of(server, model=ModelConfig(device="cpu", chat_template=template))
        [response] = sampler.sample([_request()])
    assert response.text == text
