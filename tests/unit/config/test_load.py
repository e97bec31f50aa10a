import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from larpo_lib.config import (
    EvaluateConfig,
    LarpoConfig,
    SampleConfig,
    Section,
    apply_settings,
    load_config,
    load_section,
    parse_settings,
)
from larpo_lib.errors import ConfigError
from larpo_lib.evaluation.mixeval.settings import MixEvalConfig
from larpo_lib.objectives.pairwise import dpo
from larpo_lib.steps.declarations import STEPS

Tree = dict[str, Any]

WHOLE = """
policy = "models/base"

[prepare]
source = "prompts.jsonl"
heldout = 10

[sample]
k = 4
temperature = [1.0, 0.8]

[rerank]
reranker = { type = "classifier", path = "models/reward", batch_tokens = 2 }

[train]
objective = { type = "dpo", beta = 0.5, label_smoothing = 0.1 }
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "larpo.toml"
    path.write_text(WHOLE, "utf-8")
    return path


def test_file_wins_over_defaults_and_settings_over_the_file(file: Path) -> None:
    plain = load_config(file)
    assert (plain.sample.k, plain.sample.top_p, plain.sample.temperature) == (4, 1.0, (1.0, 0.8))
    changed = load_config(file, ["sample.k=6", "sample.temperature=0.5", "sample.k=8"])
    assert (changed.sample.k, changed.sample.temperature) == (8, 0.5)
    assert changed.prepare == plain.prepare


def test_settings_alone_make_a_configuration() -> None:
    config = load_config(None, ["policy=models/base", "prepare.source=prompts.jsonl"])
    assert (config.policy, config.prepare.source, config.sample) == ("models/base", "prompts.jsonl", SampleConfig())


def test_another_type_drops_the_fields_of_the_type_before(file: Path) -> None:
    config = load_config(file, ["train.objective.type=ipo", "rerank.reranker.type=verifier"])
    assert config.train.objective.model_dump() == {"type": "ipo", "tau": 0.1, "length_normalized": False}
    assert config.rerank.reranker.type == "verifier"


def test_same_type_keeps_the_fields_beside_the_one_set(file: Path) -> None:
    config = load_config(file, ["train.objective.beta=0.2", "rerank.reranker.type=classifier"])
    assert config.train.objective == dpo.settings(beta=0.2, label_smoothing=0.1)
    assert config.rerank.reranker.model_dump()["batch_tokens"] == 2


@pytest.mark.parametrize(
    ("below", "over", "kept"),
    [
        ({"sampler": {"batch_size": 3}}, {"sampler": {"type": "hf"}}, {"sampler": {"type": "hf", "batch_size": 3}}),
        ({"sampler": {"type": "hf", "n": 3}}, {"sampler": {"m": 2}}, {"sampler": {"type": "hf", "n": 3, "m": 2}}),
        ({"sampler": {"batch_size": 3}}, {"sampler": {"type": "vllm"}}, {"sampler": {"type": "vllm"}}),
        ({"judge": {"mode": "math"}}, {"judge": {"type": "verifier"}}, {"judge": {"type": "verifier", "mode": "math"}}),
        ({"judge": {"mode": "math"}}, {"judge": {"type": "function"}}, {"judge": {"type": "function"}}),
        # A reranker must name its type, so this table had none yet.
        ({"reranker": {"mode": "math"}}, {"reranker": {"type": "verifier"}},
         {"reranker": {"type": "verifier", "mode": "math"}}),
        ({"reranker": {"type": "http"}}, {"reranker": {"type": "verifier"}}, {"reranker": {"type": "verifier"}}),
    ],
)  # fmt: skip
def test_only_another_type_than_a_table_has_replaces_it(below: Tree, over: Tree, kept: Tree) -> None:
    assert apply_settings({"evaluate": below}, {"evaluate": over}) == {"evaluate": kept}
    assert apply_settings(below, over, EvaluateConfig) == kept
    answers, its = {"answers": {"sampler": {"batch_size": 3}}}, {"answers": {"sampler": {"type": "hf"}}}
    assert apply_settings({"gsm8k": answers}, {"gsm8k": its})["gsm8k"]["answers"]["sampler"]["batch_size"] == 3


def test_naming_the_type_that_a_table_has_anyway_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "larpo.toml"
    path.write_text(WHOLE + "[sample.sampler]\nbatch_size = 3\n[evaluate.judge]\nmode = 'math'\n", "utf-8")
    named = load_config(path, ["sample.sampler.type=hf", "evaluate.judge.type=verifier"])
    assert named == load_config(path)
    assert named.evaluate.judge is not None
    assert named.evaluate.judge.model_dump()["mode"] == "math"


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ("a=1", {"a": 1}),
        ("a.b=1.5", {"a": {"b": 1.5}}),
        ("a.b=true", {"a": {"b": True}}),
        ("a=[1, 0.5]", {"a": [1, 0.5]}),
        ('a="1"', {"a": "1"}),
        ("a={ type = 'x' }", {"a": {"type": "x"}}),
        ("a=models/base", {"a": "models/base"}),
        ("a=s3://bucket/key?x=y", {"a": "s3://bucket/key?x=y"}),
        ("a=", {"a": ""}),
        (" a . b = 2 ", {"a": {"b": 2}}),
        ("a=<unk>", {"a": "<unk>"}),
        ("a=1\nb=2", {"a": "1\nb=2"}),
    ],
)
def test_value_is_toml_or_else_plain_text(text: str, tree: dict[str, Any]) -> None:
    assert parse_settings([text]) == tree


@pytest.mark.parametrize("text", ["sample.k", "=1", "sample.=1", ".k=1", "a..b=1", ""])
def test_setting_without_name_or_equals_sign_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"is not in the form section\.name=value"):
        parse_settings([text])


def test_setting_below_a_value_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"'--set|'sample' is already set to a value"):
        parse_settings(["sample=1", "sample.k=2"])


trees = st.recursive(
    st.integers() | st.text(max_size=3),
    lambda below: st.dictionaries(st.sampled_from("abcd"), below, max_size=3),
    max_leaves=8,
).filter(lambda tree: isinstance(tree, dict))


@given(trees, trees)
def test_settings_laid_over_a_tree_win_and_the_rest_stays(tree: dict[str, Any], settings: dict[str, Any]) -> None:
    before = repr(tree)
    merged = apply_settings(tree, settings)
    assert repr(tree) == before
    assert set(merged) == {*tree, *settings}
    for key, value in merged.items():
        if key not in settings:
            assert value == tree[key]
        elif not (isinstance(value, dict) and isinstance(tree.get(key), dict)):
            assert value == settings[key]
    assert apply_settings(merged, settings) == merged


def told(file: Path, *settings: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load_config(file, settings)
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize(
    ("setting", "parts"),
    [
        ("sample.kk=4", ["unknown setting 'sample.kk'", "Did you mean 'k'?"]),
        ("sampel.k=4", ["unknown setting 'sampel'", "Did you mean 'sample'?"]),
        ("train.objective.betta=1", ["unknown setting 'train.objective.betta'", "Did you mean 'beta'?"]),
        ("sample.zzzzzz=4", ["unknown setting 'sample.zzzzzz'", "Known: sampler, k, temperature"]),
        ("sample.k=many", ["'sample.k'", "valid integer", "not 'many'"]),
        ("sample.k=2.5", ["'sample.k'", "valid integer"]),
        ("sample.top_p=0", ["'sample.top_p'", "greater than 0"]),
        ("seed=-1", ["'seed'", "greater than or equal to 0", "not -1"]),
        ("prepare=1", ["'prepare'", "not 1"]),
        ("train.objective=listmle", ["'train.objective'", "table of settings, not 'listmle'"]),
        ("train.objective.type=listmel", ["'train.objective'", "has the unknown type 'listmel'", "listmle"]),
        (
            "lists.selection.top=3",
            ["'lists.selection' has no type", "Set lists.selection.type to one of top_bottom, best_worst"],
        ),
        ("sample.temperature=[1, -1]", ["setting 'sample.temperature'", "not [1, -1]"]),
        ("sample.extra_draws=[{ cont = 1 }]", ["'sample.extra_draws.0.cont'", "Did you mean 'count'?"]),
        (
            "lists.negatives.kin=hot",
            ["unknown setting 'lists.negatives.kin' (and lists.negatives.kind)", "Did you mean 'kind'?"],
        ),
        ("demonstrations.columns.promt=x", ["'demonstrations.columns.promt'", "Did you mean 'prompt'?"]),
        ("evaluate.reranker.type=classifier", ["'evaluate.reranker.path' is missing", "--set evaluate.reranker.path="]),
    ],
)
def test_wrong_setting_is_told_with_its_place(file: Path, setting: str, parts: list[str]) -> None:
    message = told(file, setting)
    assert str(file) in message
    for part in parts:
        assert part in message


def test_missing_setting_is_told_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "empty.toml").write_text("", "utf-8")
    message = told(tmp_path / "empty.toml")
    assert "setting 'policy' is missing (and prepare)" in message
    assert "--set policy=..." in message


@pytest.mark.parametrize("content", [b"a = ", b"[a\n", b"\xff", b"a = 1\na = 2"])
def test_file_that_is_no_toml_is_told(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "broken.toml").write_bytes(content)
    assert "broken.toml: cannot be read as TOML" in told(tmp_path / "broken.toml")


def test_file_that_is_missing_or_a_directory_is_told(tmp_path: Path) -> None:
    assert "no such file" in told(tmp_path / "no.toml")
    assert "Is a directory" in told(tmp_path)


JUDGE = "rerank.reranker={type = 'llm_judge', base_url = 'http://judge/v1', model = 'm', mode = 'pairwise', %s}"
FUNCTION = "rerank.reranker={type = 'function', target = 'a.b:f', settings = {%s}}"


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("prepare.source=https://me:hunter2@host/a.jsonl", "setting 'prepare.source' looks like a password or a key"),
        ("prepare.source=https://host/a.jsonl?token=hunter2", "setting 'prepare.source' looks like"),
        ("policy=s3://bucket/a?X-Amz-Signature=hunter2", "setting 'policy' looks like"),
        ("policy=hf_hunter2hunter2hunter2", "setting 'policy' looks like"),
        ("seed=http://me:hunter2@host", "setting 'seed': Input should be a valid integer"),
        ("http://me:hunter2@host", "is not in the form section.name=value"),
        (JUDGE % "api_key_env = 'sk-hunter2'", "setting 'rerank.reranker.api_key_env': .* the name of an environment"),
        (FUNCTION % "api_key = 'hunter2'", "setting 'rerank.reranker.settings.api_key' looks like"),
        (FUNCTION % "judge = {key_env = 'sk-hunter2'}", "'rerank.reranker.settings.judge.key_env' is not the name of"),
    ],
)
def test_a_secret_in_a_setting_is_refused_and_not_repeated(file: Path, setting: str, message: str) -> None:
    """Settings stand in manifests and in MLflow, for all who see the run."""
    with pytest.raises(ConfigError, match=message) as raised:
        load_config(file, [setting])
    assert "hunter2" not in str(raised.value)


def test_a_password_in_the_address_of_mlflow_is_taken_as_no_file_keeps_it(file: Path) -> None:
    assert load_config(file, ["tracking.uri=http://me:hunter2@host"]).tracking.uri == "http://me:hunter2@host"


def test_section_is_read_where_others_are_incomplete(tmp_path: Path) -> None:
    path = tmp_path / "sample.toml"
    path.write_text("seed = 5\n[model]\ndevice = 'cpu'\n[sample]\nk = 3\n[prepare]\nlimit = 1\n", "utf-8")
    section = load_section("sample", path, ["sample.top_p=0.5"])
    assert (section.k, section.top_p, section.seed, section.sampler.model.device) == (3, 0.5, 5, "cpu")
    with pytest.raises(ConfigError, match=r"sample\.toml: setting 'prepare\.source' is missing"):
        load_section("prepare", path)
    with pytest.raises(ConfigError, match=r"unknown setting 'sampel'\. Did you mean 'sample'\?"):
        load_section("sample", path, ["sampel.k=2"])


@pytest.mark.parametrize(
    ("setting", "remedy"),
    [
        ("sample.max_new_token=64", "Did you mean 'max_new_tokens'?"),  # evaluate would take the right one over
        ("model.chat_templat=x", "Did you mean 'chat_template'?"),
        ("rerank.reranker.path=p", "Known: type"),  # the type verifier has none
        ("loop.iteration=3", "Did you mean 'iterations'?"),
        ("gsm8k.answers.sampler.batchsize=2", "Did you mean 'batch_size'?"),
    ],
)
def test_an_unknown_setting_is_refused_wherever_it_stands(tmp_path: Path, setting: str, remedy: str) -> None:
    known = ["rerank.reranker.type=verifier", "prepare.limit=0", "train.objective.top=2", "lists.memory=some"]
    place = setting.partition("=")[0]
    path = tmp_path / "evaluate.toml"
    path.write_text("[evaluate]\nn = 3\n", "utf-8")
    assert load_section("evaluate", path, known).n == 3
    for name in ("evaluate", "promote", "tracking"):
        with pytest.raises(ConfigError) as caught:
            load_section(name, path, [*known, setting])
        assert f"evaluate.toml: unknown setting '{place}'" in str(caught.value)
        assert remedy in str(caught.value)


def test_section_is_the_same_alone_and_in_the_whole(file: Path) -> None:
    settings = ["seed=3", "model.dtype=bfloat16", "sample.max_new_tokens=7", "demonstrations.source=d.jsonl"]
    settings += ['alpaca_eval.judge={base_url = "http://judge/v1", model = "j"}']
    settings += ["mixeval.judge.base_url=http://127.0.0.1:8000/v1", "mixeval.judge.model=judge"]
    whole = load_config(file, settings)
    sections = {name: section for name, section in whole if isinstance(section, Section)}
    assert {step.section for step in STEPS.values()} - {None} <= sections.keys()
    for name, section in sections.items():
        assert load_section(name, file, settings) == section


def test_a_benchmark_is_answered_with_the_sampler_of_sample_and_limits_of_its_own(file: Path) -> None:
    settings = ["seed=3", "sample.sampler.type=vllm", "sample.max_new_tokens=7", "mixeval.answers.temperature=0.5"]
    judge = ["mixeval.judge.base_url=http://127.0.0.1:8000/v1", "mixeval.judge.model=judge"]
    config = load_section("mixeval", file, [*settings, *judge])
    assert isinstance(config, MixEvalConfig)
    assert (config.seed, config.answers.seed, config.answers.sampler.type) == (3, 3, "vllm")
    assert (config.answers.max_new_tokens, config.answers.temperature) == (512, 0.5)
    device = "mixeval.answers.sampler.model.device=cpu"
    own = load_section("mixeval", file, [*settings, *judge, device])
    assert isinstance(own, MixEvalConfig)
    assert own.answers.sampler.type == "hf"


def test_json_gives_an_equal_configuration(file: Path) -> None:
    for settings in ([], ["loop.early_stop.patience=2", "lists.negatives.kind=hot", "seed=9", "model.device=cpu"]):
        config = load_config(file, settings)
        assert LarpoConfig.model_validate_json(config.model_dump_json()) == config
        assert LarpoConfig.model_validate(config.model_dump(mode="json")) == config


def test_configuration_cannot_be_changed(file: Path) -> None:
    config = load_config(file)
    with pytest.raises(ValidationError, match="frozen"):
        config.sample.k = 2  # type: ignore[misc]


def test_configuration_and_help_load_no_heavy_library() -> None:
    program = """
import sys
import larpo_lib.config, larpo_lib.cli
sys.argv = ["larpo", "--help"]
try:
    larpo_lib.cli.main()
except SystemExit as stopped:
    assert not stopped.code
print(sorted({name.partition(".")[0] for name in sys.modules}), file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    loaded = set(done.stderr.strip("[]\n").replace("'", "").split(", "))
    assert {"larpo_lib", "pydantic", "typer"} <= loaded
    assert not loaded & {"torch", "transformers", "mlflow", "datasets", "pyarrow", "numpy", "matplotlib", "boto3"}
    assert "build-lists" in done.stdout
