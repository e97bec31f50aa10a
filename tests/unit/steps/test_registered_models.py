"""What a promotion leaves: cards, and models that MLflow's own loaders read in a process without larpo."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from forked import forked
from huggingface_hub import ModelCard
from mlflow import MlflowClient
from promotions import PROMPTS, row

from larpo_lib.artifacts import digest, produce, verify
from larpo_lib.config import EvaluateConfig, LarpoConfig, ModelConfig, PromoteConfig, TrainConfig
from larpo_lib.execution import execute_step
from larpo_lib.models.model_dir import ModelDir
from larpo_lib.plan import Plan, StepCall
from larpo_lib.registry import Registry, VersionFacts
from larpo_lib.steps.declarations import STEPS
from larpo_lib.steps.edge import at_edge
from larpo_lib.storage import publish
from larpo_lib.tables import write_table
from larpo_lib.tracking import Run, Tracker

NAME = "registered"
ASKED = [{"role": "user", "content": "Ann has 3 coins. Ben gives Ann 4 coins. How many coins does Ann have?"}]
BASE_CARD = "---\nlicense: apache-2.0\nlanguage: en\n---\n# A base\n"


@pytest.fixture(scope="module")
def trained(tiny_policy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A policy as the step `train` publishes it; not to be written to."""
    folder = tmp_path_factory.mktemp("trained") / "policy"

    def make(work: Any) -> dict[str, Any]:
        shutil.copytree(tiny_policy, work.data, dirs_exist_ok=True)
        return {}

    settings = TrainConfig.model_validate({"objective": {"type": "listmle", "beta": 0.25}})
    produce("train", settings, {}, folder, make)
    return folder


@pytest.fixture
def config(tmp_path: Path, tiny_policy: Path) -> LarpoConfig:
    base = shutil.copytree(tiny_policy, tmp_path / "base")
    (base / "README.md").write_text(BASE_CARD)
    settings = {
        "policy": str(base),
        "prepare": {"source": "org/problems"},
        "evaluation_prompts": {"source": "heldout.jsonl"},
        "sample": {"max_new_tokens": 24},
        "promote": {"model_name": NAME, "resamples": 50},
        "rerank": {"reranker": {"type": "verifier"}},
        "tracking": {"uri": "http://me:hunter2@host"},
    }
    return LarpoConfig.model_validate(settings)


def evaluation(folder: Path) -> Path:
    """Of rewards around 0.5, with what the step `evaluate` says of them."""
    rows = [row(prompt, 0.4 + number / 100) for number, prompt in enumerate(PROMPTS)]
    bounds = {"mean_reward": 0.495, "mean_reward_low": 0.45, "mean_reward_high": 0.54, "accuracy": None}

    def make(work: Any) -> dict[str, Any]:
        write_table(work.data / "evaluated.parquet", "evaluated", rows)
        return {"prompts": len(PROMPTS), **bounds, "pass_at_2": 0.75}

    produce("evaluate", EvaluateConfig(confidence=0.9), {}, folder, make)
    return folder


def promoted(tracker: Tracker, config: LarpoConfig, policy: str, tmp_path: Path) -> tuple[Run, Any]:
    """The run and the version of a policy that the step `promote` registered, as the loop takes it."""
    inputs = {"policy": policy, "evaluation": str(evaluation(tmp_path / "evaluation")), "baseline": None}
    outputs = {"promotion": str(tmp_path / "promotion")}
    known = Plan(config, "out").promote(2, "promotion").arguments
    call = StepCall(STEPS["promote"], "promote", None, config.promote, inputs, outputs, known)
    with (
        tracker.run("demo", "key", PromoteConfig()) as parent,
        tracker.step("promote", None) as run,
        at_edge(call.config, inputs, outputs, call.without_weights) as paths,
    ):
        execute_step(call, paths, run)
    version = MlflowClient(tracker.uri).get_model_version_by_alias(NAME, "champion")
    return parent, version


def ask(uri: str, answers: str) -> None:
    """In a process of its own: load the champion by both of MLflow's loaders, and ask it."""
    import mlflow

    mlflow.set_tracking_uri(uri)
    pipeline = mlflow.transformers.load_model(f"models:/{NAME}@champion", device="cpu")
    said = pipeline(ASKED, max_new_tokens=8, do_sample=False)[0]["generated_text"][-1]["content"]
    model = mlflow.pyfunc.load_model(f"models:/{NAME}@champion")
    reply = model.predict({"messages": ASKED, "max_tokens": 8, "temperature": 1e-9})
    short = model.predict({"messages": ASKED, "temperature": 1e-9})  # as long as the run's samples
    found = {
        "transformers": said,
        "pyfunc": reply[0]["choices"][0]["message"]["content"],
        "default_tokens": short[0]["usage"]["completion_tokens"],
        "inputs": [column["name"] for column in model.metadata.signature.inputs.to_dict()],
        "example": model.input_example,
    }
    Path(answers).write_text(json.dumps(found))


def asked_afresh(uri: str, tmp_path: Path) -> dict[str, Any]:
    process = forked(ask, uri, str(tmp_path / "answers.json"), output=tmp_path / "output.txt")
    assert process.wait(120) == 0, (tmp_path / "output.txt").read_text("utf-8")
    found: dict[str, Any] = json.loads((tmp_path / "answers.json").read_text("utf-8"))
    return found


def greedy(policy: Path, tokens: int) -> str:
    """What the policy says, by transformers alone."""
    source = ModelDir(policy, ModelConfig(device="cpu"))
    tokenizer, model = source.tokenizer, source.load_policy()
    ids = tokenizer.apply_chat_template(ASKED, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    out = model.generate(**ids, max_new_tokens=tokens, do_sample=False)
    return str(tokenizer.decode(out[0][ids["input_ids"].shape[1] :], skip_special_tokens=True))


def check_answers(found: dict[str, Any], policy: Path) -> None:
    expected = greedy(policy, 8)
    assert (found["transformers"].strip(), found["pyfunc"].strip()) == (expected.strip(), expected.strip())
    assert found["default_tokens"] <= 24
    assert found["inputs"][:3] == ["messages", "temperature", "max_tokens"]
    assert found["example"]["messages"][0]["role"] == "user"


@pytest.fixture
def tracker(config: LarpoConfig, mlflow_store: Path, monkeypatch: pytest.MonkeyPatch) -> Tracker:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "")
    return Tracker(config.tracking.model_copy(update={"uri": None}), mlflow_store)


def test_a_version_is_a_model_of_mlflow_without_a_second_copy_of_its_weights(
    trained: Path, config: LarpoConfig, tracker: Tracker, tmp_path: Path, mlflow_store: Path
) -> None:
    policy = shutil.copytree(trained, tmp_path / "policy")
    parent, version = promoted(tracker, config, str(policy), tmp_path)
    check_answers(asked_afresh(tracker.uri, tmp_path), policy)

    (weights,) = mlflow_store.rglob("model.safetensors")
    assert weights.samefile(policy / "model.safetensors")
    verify(policy)
    assert digest(policy) == digest(trained)
    pinned = (weights.parent / "requirements.txt").read_text().splitlines()
    import transformers

    assert f"transformers=={transformers.__version__}" in pinned
    assert not any("+" in line for line in pinned)

    client = MlflowClient(tracker.uri)
    tags = {"larpo.objective": "listmle", "larpo.base_licence": "apache-2.0", "larpo.iteration": "2"}
    assert version.tags.items() >= {**tags, "larpo.run_id": parent.run_id}.items()
    assert "no champion and no baseline" in version.tags["larpo.gate"]
    assert "| mean reward | 0.495 [0.450, 0.540] |" in version.description
    assert "Brackets are 90% bootstrap intervals" in version.description
    model_id = version.tags["larpo.model_id"]
    model = client.get_logged_model(model_id)
    assert model.params["objective.beta"] == "0.25"
    assert {metric.key: metric.value for metric in model.metrics}["mean_reward_low"] == 0.45
    assert json.loads(model.tags["mlflow.modelVersions"]) == [{"name": NAME, "version": 1}]
    for run_id in (parent.run_id, version.run_id):
        assert [made.model_id for made in client.get_run(run_id).outputs.model_outputs] == [model_id]

    card = ModelCard.load(policy / "README.md")
    assert (card.data.license, card.data.datasets, card.data.base_model) == ("apache-2.0", ["org/problems"], None)
    results = {result.metric_type: result.metric_value for result in card.data.eval_results}
    assert results == {"mean_reward": 0.495, "pass_at_2": 0.75}
    assert card.data.tags == ["larpo", "preference-optimization", "listmle"]
    assert "hunter2" not in str(card)
    assert "`listmle` (" in card.text
    assert "beta = 0.25" in card.text

    fetched = Registry(tracker.uri).download(f"models:/{NAME}@champion", tmp_path / "fetched")
    names = {path.relative_to(trained) for path in trained.rglob("*")} | {Path("README.md")}
    assert {path.relative_to(fetched) for path in fetched.rglob("*")} == names
    mlflow_store.rename(tmp_path / "moved")
    moved = Registry(f"sqlite:///{tmp_path / 'moved' / 'mlflow.db'}")
    assert digest(moved.download(f"models:/{NAME}@champion", tmp_path / "from-moved")) == digest(trained)


def test_a_policy_in_an_object_store_stays_there(
    trained: Path,
    config: LarpoConfig,
    tracker: Tracker,
    tmp_path: Path,
    s3: Any,
    monkeypatch: pytest.MonkeyPatch,
    mlflow_store: Path,
) -> None:
    """Neither the machine that promotes it nor MLflow's own store ever holds the weights."""
    monkeypatch.setenv("LARPO_CACHE", str(tmp_path / "cache"))
    uri = "s3://larpo-bucket/run/iteration-2/policy"
    publish(trained, uri)
    _, version = promoted(tracker, config, uri, tmp_path)
    assert version.source == uri
    assert not [*(tmp_path / "cache").rglob("*.safetensors"), *mlflow_store.rglob("*.safetensors")]
    check_answers(asked_afresh(tracker.uri, tmp_path), trained)

    keys = {item["Key"].removeprefix("run/iteration-2/policy/") for item in s3.list_objects_v2(
        Bucket="larpo-bucket")["Contents"]}  # fmt: skip
    beside = keys - {path.relative_to(trained).as_posix() for path in trained.rglob("*")}
    tokenizer = {"components/tokenizer/" + name for name in (
        "chat_template.jinja", "config.json", "tokenizer.json", "tokenizer_config.json")}  # fmt: skip
    assert beside == tokenizer | {
        "MLmodel", "README.md", "conda.yaml", "python_env.yaml", "requirements.txt", "input_example.json",
        "serving_input_example.json",
    }  # fmt: skip
    registry = Registry(tracker.uri)
    fetched = registry.download(f"models:/{NAME}@champion", tmp_path / "fetched")
    assert digest(fetched) == digest(trained)
    assert ModelCard.load(fetched / "README.md").data.model_name == NAME
    assert registry.evaluation(NAME, 1)["reranker"] == "verifier"
    body = s3.get_object(Bucket="larpo-bucket", Key="run/iteration-2/policy/MLmodel")["Body"].read()
    assert yaml.safe_load(body)["flavors"]["transformers"]["model_binary"] == "."


def test_a_directory_that_is_no_artifact_is_copied_with_all_its_files(
    config: LarpoConfig, tracker: Tracker, tmp_path: Path, mlflow_store: Path, tiny_policy: Path
) -> None:
    """Some may have names that MLflow's files have, and somebody may write to them later."""
    plain = shutil.copytree(tiny_policy, tmp_path / "plain")
    for name in ("README.md", "requirements.txt", "MLmodel"):
        (plain / name).write_text("of the policy's own")
    import mlflow

    before = digest(plain)
    promoted(tracker, config, str(plain), tmp_path)
    assert digest(plain) == before
    (weights,) = mlflow_store.rglob("model.safetensors")
    (said,) = mlflow.transformers.load_model(str(weights.parents[1]), device="cpu")(
        ASKED, max_new_tokens=8, do_sample=False
    )
    assert said["generated_text"][-1]["content"].strip() == greedy(plain, 8).strip()
    assert not weights.samefile(plain / "model.safetensors")
    assert digest(Registry(tracker.uri).download(f"models:/{NAME}@champion", tmp_path / "fetched")) == before


@pytest.mark.parametrize("change", ["", "model"])
def test_a_version_of_an_earlier_larpo_is_still_a_policy(
    trained: Path, tiny_policy: Path, config: LarpoConfig, tracker: Tracker, tmp_path: Path, change: str
) -> None:
    """They had the policy's files and the evaluation side by side, and nothing of MLflow's."""
    policy = trained if change else tiny_policy
    client = MlflowClient(tracker.uri)
    run = client.create_run(client.get_experiment_by_name("larpo").experiment_id)
    model = client.create_logged_model(run.info.experiment_id, name="policy", source_run_id=run.info.run_id)
    client.log_model_artifacts(model.model_id, str(policy))
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "evaluation.json").write_text('{"reranker": "r"}')
    client.log_model_artifacts(model.model_id, str(tmp_path / "kept"), "larpo-evaluation")
    client.finalize_logged_model(model.model_id, "READY")
    client.create_registered_model(NAME)
    tags = {"larpo.policy_digest": digest(policy), "larpo.model_id": model.model_id}
    client.create_model_version(NAME, model.artifact_location, run.info.run_id, tags, model_id=model.model_id)
    registry = Registry(tracker.uri, run.info.run_id)
    fetched = registry.download(f"models:/{NAME}/1", tmp_path / "fetched")
    assert {path.relative_to(fetched) for path in fetched.rglob("*")} == {
        path.relative_to(policy) for path in policy.rglob("*")
    }
    assert registry.evaluation(NAME, 1) == {"reranker": "r"}
    facts = VersionFacts(card="# not beside files that are all the policy's")
    assert registry.register(policy, model_name=NAME, evaluation={"reranker": "s"}, facts=facts) == 1
    assert registry.evaluation(NAME, 1) == {"reranker": "s"}
    again = registry.download(f"models:/{NAME}/1", tmp_path / "fetched-again")
    assert digest(again) == digest(policy)
    assert (again / "README.md").exists() == bool(change)
