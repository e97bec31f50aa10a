"""Whole runs by every reranker, and by a sampler behind a server. Finished, they need nothing they were made from."""

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hub_double import HubDouble
from server_double import Asked, Reply, ServerDouble, serve
from tiny_pairrm import make_pairrm
from tiny_world import Larpo, files, make_reward_model, make_tiny_world, write_jsonl

from larpo_lib.artifacts import read_manifest
from larpo_lib.config import RerankerConfig

HTTP = 'type = "http", base_url = "{url}", served_model = "rm"'
RERANKERS = {
    "classifier": '{{ type = "classifier", path = "org/reward", model = {{ device = "cpu" }} }}',  # of the hub
    "pairrm": '{{ type = "pairrm", path = "{root}/pairrm", model = {{ device = "cpu" }} }}',
    "http": "{{ " + HTTP + ', api = "vllm_pooling" }}',
    "function": '{{ type = "function", target = "{root}/my_rewards.py:by_length", settings = {{ goal = 20 }} }}',
    "llm_judge": '{{ type = "llm_judge", base_url = "{url}/v1", model = "policy", decisions = "{root}/decisions" }}',
    "ensemble": "{{ type = \"ensemble\", members = ["
    '{{ reranker = {{ type = "verifier" }}, mean = 0.5, std = 0.5 }},'
    "{{ reranker = {{ " + HTTP + ', api = "tei_rerank" }}, mean = 20.0, std = 10.0 }} ] }}',
    "rules": "{{ type = \"ensemble\", members = ["
    '{{ reranker = {{ type = "ifeval" }}, mean = 0.0, std = 1.0 }},'
    '{{ reranker = {{ type = "json_schema", accepted = {{ type = "integer" }} }}, mean = 0.0, std = 1.0 }},'
    '{{ reranker = {{ type = "language", language = "en" }}, mean = 0.0, std = 1.0 }},'
    '{{ reranker = {{ type = "length", unit = "characters", shortest = 20 }}, mean = 0.0, std = 1.0 }},'
    '{{ reranker = {{ type = "regex", pattern = "[0-9]" }}, mean = 0.0, std = 1.0 }} ] }}',
}  # fmt: skip
TYPES = {"rules": "ensemble"}
"""The types of those that are named otherwise."""
FUNCTION = """
def by_length(responses, goal, level):
    return [-abs(len(response) - goal - number) for response, number in zip(responses, level)]

def is_short(responses, **others):
    return [len(response) < 20 for response in responses]
"""
SERVED = 'sample.sampler = {{ type = "openai", base_url = "{url}/v1", served_model = "policy" }}'


def answer(asked: Asked) -> Reply:
    """A server of a policy, a reward model and a judge: responses follow from the seed, rewards from lengths."""
    if asked.path == "/v1/models":
        return Reply({"data": [{"id": "policy"}, {"id": "rm"}]})
    if asked.path == "/v1/chat/completions" and "seed" not in asked.payload:  # of a judge
        grade = 1 + len(asked.payload["messages"][0]["content"]) % 5
        return Reply({"choices": [{"message": {"role": "assistant", "content": f"Grade: {grade}"}}]})
    if asked.path == "/v1/chat/completions":
        number = asked.payload["seed"] % 7
        text = f"1 + 1 = {number} {'so ' * number}#### {number}"
        choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
        return Reply({"id": "x", "choices": [choice]})
    if asked.path == "/info":
        return Reply({"model_id": "rm", "max_client_batch_size": 64})
    if asked.path == "/rerank":
        texts = asked.payload["texts"]
        return Reply([{"index": i, "score": float(len(text))} for i, text in enumerate(texts)])
    response = asked.payload["messages"][-1]["content"]
    return Reply({"data": [{"index": 0, "data": [float(len(response))]}]})


@pytest.fixture
def server() -> Iterator[ServerDouble]:
    with serve(answer) as running:
        yield running


def settings_of(reranker: str, root: Path, url: str) -> list[Any]:
    chosen = RERANKERS[reranker].format(root=root, url=url)
    judge = f'evaluate.judge={{ type = "function", target = "{root}/my_rewards.py:is_short" }}'
    pointwise = chosen if reranker != "pairrm" else RERANKERS["http"].format(url=url)
    settings = [
        f"rerank.reranker={chosen}",
        f"evaluate.reranker={pointwise}",
        *([judge] if reranker == "function" else []),
    ]
    return [part for setting in settings for part in ("--set", setting)]


COLUMNS: dict[str, dict[str, Any]] = {
    "function": {"level": 1},
    "rules": {
        "instruction_id_list": ["keywords:letter_frequency"],
        "kwargs": [{"letter": "1", "let_frequency": 2, "let_relation": "at least"}],
    },
}
"""Further ones of the prompts' rows that rerankers ask for."""


def add_columns(reranker: str, *sources: Path) -> None:
    for source in sources:
        rows = [json.loads(line) for line in source.read_text("utf-8").splitlines()]
        write_jsonl(source, [{**row, **COLUMNS.get(reranker, {})} for row in rows])


def test_every_reranker_has_a_whole_run() -> None:
    """That with the verifier is the one of the commands' own tests; code_tests would start a process a response."""
    types = {name for chosen in RERANKERS.values() for name in re.findall(r'type = "(\w+)"', chosen)}
    assert types - {"integer"} | {"code_tests"} == set(RerankerConfig.entries())


@pytest.mark.parametrize("reranker", RERANKERS)
def test_a_finished_run_needs_no_server_model_or_source_again(
    reranker: str, server: ServerDouble, hub: HubDouble, larpo: Larpo, tmp_path: Path, mlflow_store: Path
) -> None:
    world, out = tmp_path / "world", tmp_path / "run"
    make_tiny_world(world)
    make_reward_model(tmp_path / "reward")
    make_pairrm(world / "pairrm")
    (world / "my_rewards.py").write_text(FUNCTION)
    add_columns(reranker, world / "prompts.jsonl", world / "heldout.jsonl")
    out.mkdir()
    mlflow_store.rename(out / "mlflow")
    arguments = ["--config", world / "larpo.toml", *settings_of(reranker, world, server.url), "--out", out]
    if reranker == "classifier":
        models = [hub.push("org/tiny", world / "policy"), hub.push("org/reward", tmp_path / "reward")]
        arguments += ["--set", "policy=org/tiny"]
    first = larpo("run", *arguments)
    assert first.code == 0, first.err
    if reranker == "classifier":
        pinned = {name: f"{name}@{commit}" for name, commit in zip(("org/tiny", "org/reward"), models, strict=True)}
        assert json.loads((out / "models.json").read_text("utf-8")) == pinned
        assert read_manifest(out / "sft")["inputs"]["policy"] == pinned["org/tiny"]
        ranked = read_manifest(out / "iteration-1" / "ranked")
        assert ranked["inputs"]["reranker"] == ranked["config"]["reranker"]["path"] == pinned["org/reward"]
        hub.repositories.clear()
    assert read_manifest(out / "iteration-1" / "ranked")["config"]["reranker"]["type"] == TYPES.get(reranker, reranker)

    before, asked, asked_hub = files(out), len(server.asked), len(hub.asked)
    shutil.copy(world / "larpo.toml", tmp_path / "larpo.toml")
    arguments[1] = tmp_path / "larpo.toml"
    shutil.rmtree(world)
    for again in (arguments, ["--config", out / "config.toml", "--out", out]):
        repeated = larpo("run", *again)
        assert repeated.code == 0, repeated.err
        assert repeated.out == first.out
    assert files(out) == before
    assert (len(server.asked), len(hub.asked)) == (asked, asked_hub)


def test_a_run_of_one_iteration_samples_from_a_server(
    server: ServerDouble, larpo: Larpo, tmp_path: Path, mlflow_store: Path
) -> None:
    world, out = tmp_path / "world", tmp_path / "run"
    make_tiny_world(world)
    text = (world / "larpo.toml").read_text("utf-8")
    demonstrations, _, rest = text.partition("[demonstrations]")
    (world / "larpo.toml").write_text(demonstrations + rest[rest.index("[sample]") :], "utf-8")
    out.mkdir()
    mlflow_store.rename(out / "mlflow")
    served = [SERVED.format(url=server.url), "evaluate.sampler.type=hf"]
    settings = [part for setting in served for part in ("--set", setting)]
    outcome = larpo("run", "--config", world / "larpo.toml", *settings, "--out", out)
    assert outcome.code == 0, outcome.err
    assert (out / "report" / "report.html").is_file()
    assert read_manifest(out / "iteration-1" / "candidates")["config"]["sampler"]["served_model"] == "policy"


def test_every_command_takes_what_servers_made(server: ServerDouble, larpo: Larpo, here: Path) -> None:
    """Here servers sample for evaluations, too, which the loop does not allow, and shards are put together."""
    served = [SERVED.format(url=server.url), f"rerank.reranker={RERANKERS['http'].format(url=server.url)}"]
    config = ["--config", "larpo.toml", *(part for setting in served for part in ("--set", setting))]

    def done(*arguments: object) -> None:
        outcome = larpo(*arguments)
        assert outcome.code == 0, (arguments, outcome.err)

    for i in range(2):
        share = ["--shard", f"{i}/2"]
        done("sample", *config, "--policy", "policy", "--prompts", "prompts", "--candidates", f"c{i}", *share)
    done("merge-shards", "--shards", "c0", "--shards", "c1", "--merged", "c")
    for i in range(2):
        share = ["--shard", f"{i}/2"]
        done("rerank", *config, "--prompts", "prompts", "--candidates", "c", "--ranked", f"r{i}", *share)
    done("merge-shards", "--shards", "r0", "--shards", "r1", "--merged", "r")
    done("build-lists", *config, "--prompts", "prompts", "--ranked", "r", "--lists", "l")
    done("train", *config, "--policy", "policy", "--lists", "l", "--trained", "p")
    for policy, evaluation in (("policy", "e0"), ("p", "e1")):
        done("evaluate", *config, "--policy", policy, "--prompts", "heldout", "--evaluation", evaluation)
    done("promote", *config, "--policy", "p", "--evaluation", "e1", "--baseline", "e0", "--promotion", "promotion")
    evaluations = ["--evaluations", "e0", "--evaluations", "e1", "--promotion", "promotion"]
    made = ["--candidates", "c", "--ranked", "r", "--lists", "l", "--policies", "p"]
    done("report", *config, "--prompts", "heldout", *evaluations, *made, "--report", "report")
    done(
        "retrieval", *config, "--policy", "p", "--prompts", "heldout", "--evaluated", "e1", "--evaluation", "retrieval"
    )
    done("search-temperature", *config, "--policy", "policy", "--prompts", "heldout", "--search", "search")
    assert (here / "report" / "report.html").is_file()
