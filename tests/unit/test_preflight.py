import pytest
from server_double import Reply, serve

from larpo_lib.config import load_config
from larpo_lib.errors import ConfigError, EndpointError, LarpoError
from larpo_lib.preflight import STEPS, check_config

MODELS = Reply({"data": [{"id": "rm", "max_model_len": 4096}, {"id": "policy", "max_model_len": 4096}]})


@pytest.fixture
def checked(tiny_world):
    """Checks the tiny world's configuration with some settings laid over it."""

    def check(*settings, left=STEPS):
        check_config(load_config(tiny_world / "larpo.toml", settings), left)

    return check


def _table(section, **settings):
    return [f"{section}.{name}={value}" for name, value in settings.items()]


def _http(url, section="rerank.reranker", model="rm", **settings):
    return _table(section, type="http", api="vllm_pooling", base_url=url, served_model=model, **settings)


def _openai(url, section="sample.sampler", model="policy"):
    return _table(section, type="openai", base_url=f"{url}/v1", served_model=model)


def test_a_reward_model_behind_a_server_is_looked_for(checked):
    with serve(lambda _: MODELS) as server:
        checked(*_http(server.url))
        assert set(server.paths()) == {"/v1/models"}
        with pytest.raises(ConfigError, match="does not serve a model 'other'"):
            checked(*_http(server.url, model="other"))


def test_a_member_of_an_ensemble_is_looked_for(checked):
    with serve(lambda _: MODELS) as server:
        settings = f'type = "http", api = "vllm_pooling", base_url = "{server.url}", served_model = "other"'
        member = f"{{ reranker = {{ {settings} }}, mean = 0.0, std = 1.0 }}"  # so that it can evaluate too
        with pytest.raises(ConfigError, match="does not serve a model 'other'"):
            checked("rerank.reranker.type=ensemble", f"rerank.reranker.members=[{member}, {member}]")


def test_a_server_that_is_not_there_is_told_without_another_try(checked):
    with serve(lambda _: MODELS) as server:
        pass
    with pytest.raises(EndpointError, match=r"/v1/models: .*Start the server") as raised:
        checked(*_http(server.url))
    assert "tries" not in str(raised.value)


def test_a_missing_key_is_told_before_anything_is_asked(checked, monkeypatch):
    monkeypatch.delenv("MY_KEY", raising=False)
    with serve(lambda _: MODELS) as server:
        with pytest.raises(ConfigError, match="the environment variable MY_KEY"):
            checked(*_http(server.url, api_key_env="MY_KEY"))
        assert server.asked == []


def test_a_server_may_sample_only_the_policy_it_serves(checked):
    own = ["evaluate.sampler.type=hf", "loop.iterations=1"]
    with serve(lambda _: MODELS) as server:
        with pytest.raises(ConfigError, match="this run trains before it samples"):
            checked(*_openai(server.url), *own)  # the tiny world has demonstrations
        with pytest.raises(ConfigError, match=r"evaluate\.sampler is a server, .* a run evaluates several"):
            checked(*_openai(server.url, "evaluate.sampler"))
        assert server.asked == []


def test_one_iteration_may_sample_the_first_policy_from_a_server(tiny_world):
    tree = (tiny_world / "larpo.toml").read_text()
    start = tree.index("[demonstrations]")
    without = tiny_world.parent / "without-demonstrations.toml"
    without.write_text(tree[:start] + tree[tree.index("[sft]") :])
    with serve(lambda _: MODELS) as server:
        settings = [*_openai(server.url), "evaluate.sampler.type=hf", "loop.iterations=1"]
        check_config(load_config(without, settings))
        assert server.paths() == ["/v1/models"]
        with pytest.raises(ConfigError, match="does not serve a model 'other'"):
            check_config(load_config(without, [*settings, "sample.sampler.served_model=other"]))


NOWHERE = "http://127.0.0.1:9"


@pytest.mark.parametrize(
    ("settings", "step", "told"),
    [
        (["policy=nowhere"], "sft", "nowhere: is not a model directory"),
        (["policy=nowhere"], "sample", "nowhere: is not a model directory"),
        (["policy=nowhere"], "train", "nowhere: is not a model directory"),
        (["policy=nowhere"], "evaluate", "nowhere: is not a model directory"),
        ([*_http(NOWHERE), "evaluate.reranker.type=verifier"], "rerank", "127.0.0.1:9"),
        (_http(NOWHERE, "evaluate.reranker"), "evaluate", "127.0.0.1:9"),
        (
            _table("lists.negatives", kind="related", retriever="{ type = 'embedding', path = 'nowhere' }"),
            "build_lists",
            "nowhere",
        ),
    ],
)
def test_a_model_or_server_is_looked_for_only_while_a_step_that_needs_it_is_left(checked, settings, step, told):
    needing = {"sft", "sample", "train", "evaluate"} if settings == ["policy=nowhere"] else {step}
    with pytest.raises(LarpoError, match=told):
        checked(*settings, left={step})
    checked(*settings, left=STEPS - needing)
    checked(*settings, left={"promote", "report"})


def test_settings_that_contradict_each_other_are_refused_whatever_is_left(checked):
    with pytest.raises(ConfigError, match="one source"):
        checked("prepare.heldout=2", left={"report"})
