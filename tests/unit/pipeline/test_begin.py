"""The first component: what it checks, and what it leaves for the others."""

from pathlib import Path
from typing import Any

import pytest
from hub_double import HubDouble
from pipeline_requests import Given, changed

from larpo_lib.errors import ConfigError, LarpoError
from larpo_lib.pipeline.begin import begin
from larpo_lib.pipeline.journal import Journal, UnfinishedStep
from larpo_lib.pipeline.run_context import RunContext


def test_begin_leaves_a_context_that_finds_the_run_again(given: Given, tmp_path: Path) -> None:
    started = begin(given, "/kfp/checked")
    assert (started.rounds, started.shards) == (["1", "2", "3"], ["0/2", "1/2"])
    assert started.run == f"{tmp_path}/one/contexts/job"
    context = RunContext.at(started.run)
    assert (context.root, context.shards, context.job) == (str(tmp_path / "one"), 2, "job")
    assert RunContext.find(context.root, "job") == context
    assert RunContext.find(context.root, "another") is None
    again = begin({**given, "job": "another"}, "/kfp/checked")
    assert again.run != started.run
    assert RunContext.at(again.run).parent == context.parent


def test_an_earlier_run_of_the_same_root_keeps_its_settings(given: Given) -> None:
    first = begin(given, "/kfp/checked")
    begin({**given, "job": "later", "k": 5}, "/kfp/checked")
    assert RunContext.at(first.run).config.sample.k != 5


def test_a_pod_that_only_follows_other_machines_asks_for_little(given: Given, monkeypatch: pytest.MonkeyPatch) -> None:
    several = changed(given, train={"launch": {"nodes": 2, "launcher": "deepspeed"}})
    several |= {"train_gpus": "8", "train_memory": "64Gi"}
    started = begin(several, "/kfp/checked")
    assert (started.train_gpus, started.train_memory) == ("0", "2Gi")
    assert RunContext.at(started.run).resources == {"memory": "64Gi", "nvidia.com/gpu": "8"}
    monkeypatch.setenv("LARPO_GPU_TYPE", "amd.com/gpu")
    assert RunContext.at(begin(several, "/kfp/checked").run).resources == {"memory": "64Gi", "amd.com/gpu": "8"}


def test_a_node_has_the_memory_of_its_runtime_where_none_is_asked_for(given: Given) -> None:
    """A TrainJob's values win over its runtime's, and the form always has one."""
    several = changed(given, train={"launch": {"nodes": 2, "launcher": "deepspeed"}})
    assert several["train_memory"] == "8Gi"
    assert RunContext.at(begin({**several, "train_gpus": "8"}, "/kfp/checked").run).resources == {"nvidia.com/gpu": "8"}
    assert not RunContext.at(begin({**several, "job": "another"}, "/kfp/checked").run).resources


@pytest.mark.parametrize(
    ("change", "settings", "message"),
    [
        ({"rounds": 30}, {}, "30 rounds of 2 shards make a workflow of about 1470 KB, but the cluster allows 1000 KB"),
        ({"shards": 0}, {}, "shards is 0"),
        ({"sample_gpus": "two"}, {}, "sample_gpus is 'two'"),
        ({"rerank_memory": "lots"}, {}, "rerank_memory is 'lots'. Set an amount with its unit, such as 8Gi"),
        ({"train_memory": "64"}, {}, "train_memory is '64'. Set an amount with its unit"),  # Kubernetes reads 64 bytes
        ({}, {"prepare": {"heldout": 3}}, "must come from exactly one source"),
        ({}, {"tracking": {"uri": "http://me:hunter2@mlflow"}}, "tracking.uri contains a password"),
        ({"policy": "/no/such/policy"}, {}, "/no/such/policy"),
    ],
)
def test_what_cannot_be_is_told_before_anything_is_made(
    given: Given, tmp_path: Path, change: Given, settings: Given, message: str
) -> None:
    with pytest.raises(LarpoError, match=message) as raised:
        begin({**changed(given, **settings), **change}, "/kfp/checked")
    assert "hunter2" not in str(raised.value)
    assert [path.name for path in (tmp_path / "one").iterdir()] == ["journal"]
    (trouble,) = Journal(str(tmp_path / "one"), "job").unfinished()
    assert trouble == UnfinishedStep("start", str(raised.value))


def test_models_of_the_hub_stay_at_the_commits_of_the_first_begin(
    given: Given, hub: HubDouble, tiny_policy: Path, tmp_path: Path
) -> None:
    commit, reward = hub.push("org/tiny", tiny_policy), hub.push("org/reward", tiny_policy)
    given |= {"policy": "org/tiny", "rewards": "classifier:org/reward", "root": str(tmp_path / "runs")}
    reranker = {"type": "verifier"}
    first = begin(changed(given, evaluate={"reranker": reranker}), "/kfp/checked")
    config = RunContext.at(first.run).config
    assert (config.policy, config.rerank.reranker.path) == (f"org/tiny@{commit}", f"org/reward@{reward}")
    assert not [name for name in hub.files_asked() if name.endswith(".safetensors")]
    hub.push("org/tiny", tiny_policy)
    again = begin({**changed(given, evaluate={"reranker": reranker}), "job": "another"}, "/kfp/checked")
    assert RunContext.at(again.run).config == config
    hub.push("org/pickled", {"config.json": b"{}", "pytorch_model.bin": b"p"})
    for name in ("org/pickled", "org/nothing"):
        with pytest.raises(LarpoError, match=name):
            begin({**given, "run_id": "two", "policy": name}, "/kfp/checked")


@pytest.mark.usefixtures("s3")
def test_a_run_in_s3_needs_a_server_of_mlflow(given: Given, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    with pytest.raises(ConfigError, match="no MLflow server"):
        begin({**given, "root": "s3://larpo-bucket/runs"}, "/kfp/checked")


@pytest.mark.parametrize("place", ["rerank.reranker", "evaluate.judge", "rerank.reranker.members.reranker"])
def test_a_function_that_the_image_has_not_is_told_before_anything_is_made(given: Given, place: str) -> None:
    function: Any = {"type": "function", "target": "my_rewards.py:brevity"}
    if "members" in place:
        members = [{"reranker": one, "mean": 0.0, "std": 1.0} for one in ({"type": "verifier"}, function)]
        function = {"type": "ensemble", "members": members}
    section, name, *_ = place.split(".")
    with pytest.raises(ConfigError, match=r"my_rewards\.py: no such file\. Give an s3:// URI, start the run with"):
        begin(changed(given, **{section: {name: function}}), "/kfp/checked")


@pytest.mark.parametrize("section", ["rerank", "evaluate"])
def test_a_judges_template_that_the_image_has_not_is_told_before_anything_is_made(given: Given, section: str) -> None:
    judge = {"type": "llm_judge", "base_url": "http://judge/v1", "model": "big", "template": "mine.txt"}
    with pytest.raises(ConfigError, match=r"mine\.txt: the template cannot be read: .*\. Give the text of"):
        begin(changed(given, **{section: {"reranker": judge}}), "/kfp/checked")


CODE = "def brevity(responses): return [-len(text) for text in responses]\n"


@pytest.mark.usefixtures("s3")
def test_a_function_in_a_store_is_kept_with_the_run_as_it_was(given: Given, s3: Any) -> None:
    """As the person gives it who starts the run in the browser."""
    s3.put_object(Bucket="larpo-bucket", Key="mine.py", Body=CODE.encode())
    reranker = {"type": "function", "target": "s3://larpo-bucket/mine.py:brevity"}
    started = begin(changed(given, rerank={"reranker": reranker}), "/kfp/checked")
    s3.put_object(Bucket="larpo-bucket", Key="mine.py", Body=b"1 / 0")
    kept: Any = RunContext.at(started.run).config
    assert (kept.rerank.reranker.code, kept.evaluate.reranker.code) == (CODE, CODE)
    assert kept.rerank.reranker.source().read_text() == CODE


def test_the_code_of_functions_counts_in_the_size_of_the_run(given: Given) -> None:
    reranker = {"type": "function", "target": "mine.py:brevity", "code": CODE + "#" * 15_000}
    with pytest.raises(ConfigError, match=r"21 rounds of 2 shards make a workflow of about 1170 KB"):
        begin({**changed(given, rerank={"reranker": reranker}), "rounds": 21}, "/kfp/checked")
    reranker["code"] += "#" * 1_000
    with pytest.raises(ConfigError, match=r"would be sent 160\d\d bytes of functions"):
        begin(changed(given, rerank={"reranker": reranker}), "/kfp/checked")


def test_code_that_is_no_python_is_told_before_anything_is_made(given: Given) -> None:
    judge = {"type": "function", "target": "mine.py:right", "code": "x = 1\ndef right(responses:"}
    with pytest.raises(ConfigError, match=r"mine\.py, line 2: SyntaxError: .*Fix the file"):
        begin(changed(given, evaluate={"judge": judge}), "/kfp/checked")
