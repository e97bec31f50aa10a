"""Compiled pipelines as they are read, and typed arguments for them."""

import hashlib
import json
import re
from pathlib import Path

import pytest
from small_pipeline import write_small_pipeline

from larpo_kubeflow.pipelines.arguments import run_arguments
from larpo_kubeflow.pipelines.package import Parameter, declared, parse_arguments, read_package, require_complete
from larpo_lib.artifacts import digest
from larpo_lib.errors import ConfigError
from larpo_lib.rewards.rerankers.llm_judge import LlmJudgeRerankerConfig

PARAMETERS = {
    "text": Parameter("STRING", required=True),
    "times": Parameter("NUMBER_INTEGER", required=False),
    "rate": Parameter("NUMBER_DOUBLE", required=False),
    "fast": Parameter("BOOLEAN", required=False),
    "tags": Parameter("LIST", required=False),
    "labels": Parameter("STRUCT", required=False),
    "settings": Parameter("STRING", required=False),
}


def test_a_package_says_its_name_its_parameters_and_its_digest(small_package: Path) -> None:
    package = read_package(small_package)
    assert package.name == "small"
    assert package.parameters == PARAMETERS
    assert package.digest == hashlib.sha256(small_package.read_bytes()).hexdigest()
    assert set(package.spec) >= {"root", "components", "pipelineInfo"}


def test_the_platforms_part_is_sent_beside_the_pipelines(tmp_path: Path) -> None:
    package = read_package(write_small_pipeline(tmp_path / "small.yaml", platform=True))
    assert set(package.spec) == {"pipeline_spec", "platform_spec"}
    assert "secretAsEnv" in str(package.spec["platform_spec"])
    assert declared(package.spec) == PARAMETERS


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (None, "cannot be read: No such file or directory"),
        ("a: [", "is not YAML"),
        ("", "is not a compiled pipeline"),
        ("- root", "is not a compiled pipeline"),
        ("name: x", "is not a compiled pipeline"),
        ("root: {}\n---\n{a: b}\n---\n{c: d}", "is not a compiled pipeline"),
    ],
)
def test_other_files_are_refused(text: str | None, problem: str, tmp_path: Path) -> None:
    if text is not None:
        (tmp_path / "file.yaml").write_text(text, "utf-8")
    with pytest.raises(ConfigError, match=re.escape(f"file.yaml: {problem}. Create one with `larpo compile")):
        read_package(tmp_path / "file.yaml")


def test_arguments_get_the_types_that_are_declared() -> None:
    texts = ["text=7", "times=3", "rate=2", "fast=True", 'tags=["a", 1]', 'labels={"a": {"b": null}}']
    arguments = parse_arguments(texts, PARAMETERS)
    assert arguments == {
        "text": "7", "times": 3, "rate": 2.0, "fast": True, "tags": ["a", 1], "labels": {"a": {"b": None}}
    }  # fmt: skip
    assert {name: type(value) for name, value in arguments.items()} == {
        "text": str, "times": int, "rate": float, "fast": bool, "tags": list, "labels": dict
    }  # fmt: skip


def test_text_is_taken_as_it_is() -> None:
    assert parse_arguments(['text={"a": "b=c"}', "text= x = y "], PARAMETERS) == {"text": " x = y "}
    assert parse_arguments(["text="], PARAMETERS) == {"text": ""}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("text", "--parameter 'text' is not in the form name=value."),
        ("txt=a", "the pipeline has no parameter 'txt'. Did you mean 'text'?"),
        ("zzz=a", "the pipeline has no parameter 'zzz'. Known: fast, labels, rate, settings, tags, text, times."),
        (
            "times=3.5",
            "the parameter 'times' must be a whole number, not '3.5'. Use --parameter times=<a whole number>.",
        ),
        ("times=", "the parameter 'times' must be a whole number, not ''. Use --parameter times=<a whole number>."),
        ("rate=nan", "the parameter 'rate' must be a number, not 'nan'. Use --parameter rate=<a number>."),
        ("fast=1", "the parameter 'fast' must be true or false, not '1'. Use --parameter fast=<true or false>."),
        ("tags={}", "the parameter 'tags' must be a JSON list, not '{}'. Use --parameter tags=<a JSON list>."),
        ("labels=a", "the parameter 'labels' must be a JSON object, not 'a'. Use --parameter labels=<a JSON object>."),
    ],
)
def test_wrong_arguments_are_told_with_the_remedy(text: str, problem: str) -> None:
    with pytest.raises(ConfigError) as raised:
        parse_arguments([text], PARAMETERS)
    assert str(raised.value) == problem


def test_a_parameter_without_a_default_needs_a_value() -> None:
    require_complete({"text": ""}, PARAMETERS)
    with pytest.raises(ConfigError, match=r"'text' has no default and no value\. Pass --parameter text=\.\.\."):
        require_complete({}, PARAMETERS)


def test_one_setting_of_the_configuration_is_not_given_twice(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be combined"):
        run_arguments(PARAMETERS, None, ["seed=1"], ["text=a", "settings={}"])
    with pytest.raises(ConfigError, match="does not support --config and --set"):
        run_arguments({"text": PARAMETERS["text"]}, None, ["seed=1"], ["text=a"])


def test_a_file_of_arguments_is_checked_as_texts_are_and_texts_win(tmp_path: Path) -> None:
    study = read_package(Path(__file__).parents[3] / "pipelines" / "compiled" / "study.yaml").parameters
    file = tmp_path / "arguments.json"
    file.write_text(json.dumps({"run_id": "mine", "grid": ["{}", '{"seed": 1}'], "rounds": 2, "settings": "{}"}))
    found = run_arguments(study, None, [], ["rounds=3", "root=s3://b/r"], file)
    assert found == {
        "run_id": "mine", "grid": ["{}", '{"seed": 1}'], "rounds": 3, "settings": "{}", "root": "s3://b/r",
    }  # fmt: skip
    with pytest.raises(ConfigError, match="--arguments cannot be combined with --config or --set"):
        run_arguments(study, None, ["seed=1"], [], file)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"roundz": 1}', "no parameter 'roundz'"),
        ('{"rounds": "many"}', "rounds"),
        ("[1]", "is not a JSON object with parameters"),
        ("{", "cannot be read as JSON"),
    ],
)
def test_a_mistake_in_a_file_of_arguments_is_named(tmp_path: Path, text: str, message: str) -> None:
    study = read_package(Path(__file__).parents[3] / "pipelines" / "compiled" / "study.yaml").parameters
    (tmp_path / "arguments.json").write_text(text)
    with pytest.raises(ConfigError, match=message):
        run_arguments(study, None, [], [], tmp_path / "arguments.json")
    with pytest.raises(ConfigError, match=r"missing.json: no such file"):
        run_arguments(study, None, [], [], tmp_path / "missing.json")


SECRET = "http://user:hunter2@mlflow:5000"
STUDY = {**PARAMETERS, "text": Parameter("STRING", required=False), "grid": Parameter("LIST", required=False)}


@pytest.mark.parametrize(
    ("settings", "texts", "place"),
    [
        ([f"tracking.uri={SECRET}"], [], "settings.tracking.uri"),
        (["tracking.uri=postgresql://larpo:a/b@db/mlflow"], [], "settings.tracking.uri"),
        (["tracking.uri=http://mlflow?password=hunter2"], [], "settings.tracking.uri"),
        ([], [f'settings={{"tracking": {{"uri": "{SECRET}"}}}}'], "settings.tracking.uri"),
        ([], ["grid=" + json.dumps(["{}", json.dumps({"tracking": {"uri": SECRET}})])], "grid.1.tracking.uri"),
        ([], ["grid=" + json.dumps([f'{{"tracking": "{SECRET}"'])], "grid.0"),
        ([], [f"text={SECRET}"], "text"),
        ([], ["text=https://host/a.jsonl?token=hunter2"], "text"),
        ([], ["grid=" + json.dumps(['{"lists": {"key_env": "sk-hunter2"}}'])], "grid.0.lists.key_env"),
    ],
)
def test_a_password_is_never_sent(settings: list[str], texts: list[str], place: str) -> None:
    """Kubeflow keeps the parameters of a run, and shows them."""
    with pytest.raises(ConfigError, match=f"^{re.escape(place)} contains a user, a password or a key") as told:
        run_arguments(STUDY, None, settings, texts)
    assert "hunter2" not in str(told.value)


def test_a_password_of_a_file_is_never_sent(tmp_path: Path) -> None:
    (tmp_path / "larpo.toml").write_text(f'[tracking]\nuri = "{SECRET}"\n', "utf-8")
    (tmp_path / "arguments.json").write_text(json.dumps({"settings": {"tracking": {"uri": SECRET}}}), "utf-8")
    for config, file in ((tmp_path / "larpo.toml", None), (None, tmp_path / "arguments.json")):
        with pytest.raises(ConfigError, match="contains a user, a password or a key"):
            run_arguments(STUDY, config, [], [], file)


def test_texts_that_look_a_little_like_passwords_are_sent() -> None:
    texts = ["text=s3://bucket/run@1/policy", 'settings={"prepare":{"source":"s3://b/a.jsonl"},"name":"a@b"}']
    assert run_arguments(STUDY, None, [], texts).keys() == {"text", "settings"}
    assert run_arguments(STUDY, None, ["tracking.uri=http://mlflow:5000"], []).keys() == {"settings"}


@pytest.mark.parametrize(
    ("text", "problem"), [("{nope", "settings is not valid JSON"), ('{"sampel": {}}', "unknown setting 'sampel'")]
)
def test_settings_as_a_parameter_are_looked_at_as_well(text: str, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        run_arguments(STUDY, None, [], [f"settings={text}"])


CODE = 'def brevity(responses):\n    return [-len("a\\n") for _ in responses]\n'


def test_the_file_of_a_function_is_sent_along(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_rewards.py").write_text(CODE)
    monkeypatch.chdir(tmp_path)
    chosen = ["rerank.reranker.type=function", "rerank.reranker.target=my_rewards.py:brevity"]
    sent = {"type": "function", "target": "my_rewards.py:brevity", "code": CODE}
    found = run_arguments(PARAMETERS, None, chosen, ["text=a"])
    assert json.loads(found["settings"]) == {"rerank": {"reranker": sent}}
    study = read_package(Path(__file__).parents[3] / "pipelines" / "compiled" / "study.yaml").parameters
    grid = ["{}", json.dumps({"evaluate": {"judge": {"type": "function", "target": "my_rewards.py:brevity"}}})]
    found = run_arguments(study, None, [], [f"grid={json.dumps(grid)}", f"settings={found['settings']}"])
    assert json.loads(found["settings"]) == {"rerank": {"reranker": sent}}
    assert found["grid"][0] == "{}"
    assert json.loads(found["grid"][1]) == {"evaluate": {"judge": sent}}


def test_a_password_in_the_code_of_a_function_is_never_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    chosen = ["rerank.reranker.type=function", "rerank.reranker.target=mine.py:f"]
    (tmp_path / "mine.py").write_text("URL = 'http://me:hunter2@server/v1'\ndef f(responses): ...")
    with pytest.raises(
        ConfigError, match=r"settings\.rerank\.reranker\.code contains a user, a password or a key"
    ) as raised:
        run_arguments(PARAMETERS, None, chosen, ["text=a"])
    assert "hunter2" not in str(raised.value)
    (tmp_path / "mine.py").write_text("URL = 'http://server:80/v1'  # ask me@here.org\n@cache\ndef f(responses): ...")
    assert "here.org" in run_arguments(PARAMETERS, None, chosen, ["text=a"])["settings"]


@pytest.mark.parametrize("target", ["s3://bucket/my.py:f", "package.module:f", "/in/the/image.py:f"])
def test_a_function_that_is_elsewhere_is_left_where_it_is(target: str) -> None:
    found = run_arguments(
        PARAMETERS, None, ["rerank.reranker.type=function", f"rerank.reranker.target={target}"], ["text=a"]
    )
    assert json.loads(found["settings"]) == {"rerank": {"reranker": {"type": "function", "target": target}}}


def test_the_file_of_a_judges_template_is_sent_along(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LARPO_CACHE", str(tmp_path / "cache"))
    judge = {"type": "llm_judge", "base_url": "http://judge/v1", "model": "big", "mode": "pairwise"}
    chosen = [f"rerank.reranker.{name}={value}" for name, value in {**judge, "template": "mine.txt"}.items()]
    with pytest.raises(ConfigError, match=r"mine\.txt: the template cannot be read: No such file"):
        run_arguments(PARAMETERS, None, chosen, ["text=a"])
    (tmp_path / "mine.txt").write_text("{prompt} {first}\n")
    with pytest.raises(ConfigError, match=r"mine\.txt: a pairwise template needs the place \{second\}"):
        run_arguments(PARAMETERS, None, chosen, ["text=a"])
    (tmp_path / "mine.txt").write_text("{prompt} {first} {second}\n")
    found = json.loads(run_arguments(PARAMETERS, None, chosen, ["text=a"])["settings"])["rerank"]["reranker"]
    assert found == {**judge, "template": "{prompt} {first} {second}\n"}
    here = LlmJudgeRerankerConfig.model_validate({**judge, "template": "mine.txt"})
    there = LlmJudgeRerankerConfig.model_validate(found)
    assert there.identity() == here.identity()
    assert digest(there.models()["reranker"]) == digest(here.models()["reranker"])


def test_a_function_that_is_not_here_or_too_long_is_not_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    chosen = ["rerank.reranker.type=function", "rerank.reranker.target=my_rewards.py:brevity"]
    with pytest.raises(ConfigError, match=r"my_rewards\.py: no such file\. Give a path from the folder"):
        run_arguments(PARAMETERS, None, chosen, ["text=a"])
    (tmp_path / "my_rewards.py").write_text(CODE + "#" * 16_000)
    with pytest.raises(
        ConfigError, match=r"would be sent 160\d\d bytes of functions, but the most is 16000\. Upload their"
    ):
        run_arguments(PARAMETERS, None, chosen, ["text=a"])
    (tmp_path / "my_rewards.py").write_bytes(b"# \xff")
    with pytest.raises(ConfigError, match=r"my_rewards\.py: cannot be read: .*utf-8"):
        run_arguments(PARAMETERS, None, chosen, ["text=a"])
