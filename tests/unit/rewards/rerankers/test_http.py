import pytest
from server_double import Reply, serve
from small_models import user

from larpo_lib.errors import ConfigError, EndpointError
from larpo_lib.rewards.rerankers import Scorable, make_reranker
from larpo_lib.rewards.rerankers.http import HttpRerankerConfig

TURNS = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Hi"},
    {"role": "assistant", "content": "Hello"},
    {"role": "user", "content": "And?"},
]
LONGEST = 20
"""Characters of a response that the servers take."""


def _score(query, text):
    """Which a server gives: so that prompt, response and their places all show in it."""
    return len(query) + len(text) / 100


def _tei(asked):
    if asked.path == "/info":
        return Reply({"model_id": "rm", "max_client_batch_size": 3})
    assert asked.path == "/rerank"
    assert asked.payload["raw_scores"] is True
    assert asked.payload["truncate"] is False
    texts = asked.payload["texts"]
    if len(texts) > 3:
        return Reply({"error": f"batch size {len(texts)} > maximum allowed batch size 3"}, status=413)
    if any(len(text) > LONGEST for text in texts):
        return Reply(
            {"error": "`inputs` must have less than 5 tokens. Given: 6", "error_type": "Validation"}, status=413
        )
    ranks = [{"index": i, "score": _score(asked.payload["query"], text)} for i, text in enumerate(texts)]
    return Reply(sorted(ranks, key=lambda rank: -rank["score"]))


def _vllm(asked):
    if asked.path == "/v1/models":
        return Reply({"data": [{"id": "rm"}]})
    too_long = Reply({"error": {"message": "This model's maximum context length is 5 tokens."}}, status=400)
    if asked.path == "/score":
        assert (asked.payload["use_activation"], asked.payload["activation"]) == (False, False)  # its older name
        texts = asked.payload["text_2"]
        if any(len(text) > LONGEST for text in texts):
            return too_long
        scores = [_score(asked.payload["text_1"], text) for text in texts]
        return Reply({"data": [{"index": i, "score": score} for i, score in enumerate(scores)]})
    assert asked.path == "/pooling"
    assert asked.payload["task"] == "classify"
    assert asked.payload["use_activation"] is False
    *prompt, response = asked.payload["messages"]
    assert response["role"] == "assistant"
    if len(response["content"]) > LONGEST:
        return too_long
    query = "".join(message["content"] for message in prompt)
    return Reply({"data": [{"index": 0, "data": [_score(query, response["content"])]}]})


SERVERS = {"tei_rerank": _tei, "vllm_score": _vllm, "vllm_pooling": _vllm}


def _reranker(server, api, **settings):
    return make_reranker(
        HttpRerankerConfig(**{"base_url": server.url, "api": api, "retries": 0, "texts_per_request": 3} | settings)
    )


def _items(*pairs):
    return [Scorable(f"p{prompt}", user(prompt), response) for prompt, response in pairs]


@pytest.mark.parametrize("api", SERVERS)
def test_each_item_gets_its_own_score(api):
    items = _items(("one", "a"), ("three", "b"), ("one", "cc"), ("three", "dddd"), ("one", "eee"), ("one", "ffffff"))
    with serve(SERVERS[api]) as server:
        scores = _reranker(server, api).score(items)
    assert scores == pytest.approx([_score(item.messages[0]["content"], item.response) for item in items])


@pytest.mark.parametrize(("api", "requests"), [("tei_rerank", 3), ("vllm_score", 3), ("vllm_pooling", 5)])
def test_each_distinct_response_is_asked_once(api, requests):
    items = _items(("one", "a"), ("two", "a"), ("one", "a"), ("one", "b"), ("one", "c"), ("one", "d"), ("one", "b"))
    with serve(SERVERS[api]) as server:
        scores = _reranker(server, api).score(items)
    assert len([asked for asked in server.asked if asked.method == "POST"]) == requests
    assert scores[0] == scores[2] == scores[1]
    assert scores[3] == scores[6]


@pytest.mark.parametrize("api", SERVERS)
def test_what_the_server_says_is_too_long_is_not_scored(api):
    items = _items(("one", "a"), ("one", "b" * 21), ("one", "c" * 20), ("two", "d" * 30))
    with serve(SERVERS[api]) as server:
        scores = _reranker(server, api).score(items)
    assert scores == [pytest.approx(3.01), None, pytest.approx(3.2), None]


def test_what_a_content_filter_refuses_is_not_scored_and_the_others_are():
    def answer(asked):
        if asked.method == "POST" and "bad" in str(asked.payload):
            return Reply({"error": {"message": "filtered", "code": "content_filter"}}, status=400)
        return _vllm(asked)

    with serve(answer) as server:
        scores = _reranker(server, "vllm_score").score(_items(("one", "a"), ("one", "bad"), ("two", "bb")))
    assert scores == [pytest.approx(3.01), None, pytest.approx(_score("two", "bb"))]


def test_a_conversation_goes_to_vllm_as_it_is():
    with serve(_vllm) as server:
        _reranker(server, "vllm_pooling", served_model="rm").score([Scorable("p", TURNS, "Well.")])
    (payload,) = server.payloads("/pooling")
    assert payload == {
        "model": "rm",
        "messages": [*TURNS, {"role": "assistant", "content": "Well."}],
        "task": "classify",
        "use_activation": False,
    }


@pytest.mark.parametrize(("api", "field"), [("tei_rerank", "query"), ("vllm_score", "text_1")])
def test_several_turns_are_joined_to_one_query(api, field):
    with serve(SERVERS[api]) as server:
        _reranker(server, api).score([Scorable("p", TURNS, "Well."), *_items(("one", "a"))])
    queries = {asked.payload[field] for asked in server.asked if asked.method == "POST"}
    assert queries == {"system: Be brief.\n\nuser: Hi\n\nassistant: Hello\n\nuser: And?", "one"}


def test_the_name_is_the_models_else_the_servers():
    with serve(_vllm) as server:
        assert _reranker(server, "vllm_score", served_model="rm").name == "http-rm"
        assert _reranker(server, "vllm_score").name == f"http-{server.url.removeprefix('http://')}"
        assert not _reranker(server, "vllm_score").list_relative


def test_without_a_models_name_the_address_decides_the_rewards():
    named, nameless = ({"served_model": name, "api": "vllm_score"} for name in ("rm", None))
    one, other = "http://one", "http://other"

    def identity(settings, url):
        return HttpRerankerConfig(**settings, base_url=url).identity()

    assert identity(named, one) == identity(named, other)
    assert identity(nameless, one) != identity(nameless, other)


@pytest.mark.parametrize("data", [[0.1, 0.9], [], [[0.5], [0.7]]], ids=["two labels", "none", "one a token"])
def test_a_model_of_other_than_one_label_is_refused(data):
    def answer(asked):
        return Reply({"data": [{"index": 0, "data": data}]}) if asked.path == "/pooling" else _vllm(asked)

    with (
        serve(answer) as server,
        pytest.raises(EndpointError, match=r"scores for 1 responses|the answer cannot be read"),
    ):
        _reranker(server, "vllm_pooling").score(_items(("one", "a")))


@pytest.mark.parametrize(
    ("places", "problem"),
    [
        ([(0, 1.0)], "returned 1 scores for 2 responses"),
        ([(0, 1.0), (0, 2.0)], "a score for response 0, of 2 from 0, that it should not, or twice"),
        ([(0, 1.0), (0, 2.0), (1, 3.0)], "returned 3 scores for 2 responses"),
        ([(1, 1.0), (2, 2.0)], "a score for response 1, of 2 from 0"),
        ([(-1, 1.0), (0, 2.0)], r"the answer cannot be read: .*0\.index: .*greater than or equal to 0"),
        ([(0, 1.0), (10**400, 2.0)], r"the answer cannot be read: .*1\.index"),
        ([(0, 1.0), (1, float("nan"))], r"the answer cannot be read: .*1\.score: .*finite number"),
        ([(0, 1.0), (1, float("-inf"))], r"the answer cannot be read: .*1\.score: .*finite number"),
    ],
)
@pytest.mark.parametrize("api", ["tei_rerank", "vllm_score"])
def test_scores_are_one_a_response_and_finite(api, places, problem):
    def answer(asked):
        found = [{"index": index, "score": score} for index, score in places]
        scores = {"/rerank": found, "/score": {"data": found}}
        return Reply(scores[asked.path]) if asked.path in scores else SERVERS[api](asked)

    with serve(answer) as server, pytest.raises(EndpointError, match=problem):
        _reranker(server, api).score(_items(("one", "a"), ("one", "b")))


def test_too_many_texts_for_the_server_are_an_error_that_says_so():
    with serve(_tei) as server, pytest.raises(EndpointError, match="batch size 4 > maximum allowed batch size 3"):
        _reranker(server, "tei_rerank", texts_per_request=4).score(_items(*(("one", text) for text in "abcd")))


def test_a_server_of_another_model_is_refused_before_anything_is_scored():
    with serve(_vllm) as server:
        with pytest.raises(ConfigError, match=r"does not serve a model 'other'\. Set served_model to one of rm\."):
            _reranker(server, "vllm_pooling", served_model="other")
        assert server.paths() == ["/v1/models"]


@pytest.mark.parametrize("api", SERVERS)
def test_a_server_that_does_not_answer_is_told_at_once(api):
    with serve(_vllm) as server:
        pass
    with pytest.raises(EndpointError, match="Start the server"):
        _reranker(server, api)
