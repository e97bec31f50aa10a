"""Benchmarks of a study: existing steps on the policy before and after training, decisions bought once."""

import json
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest
from mixeval_questions import asked_about, completion, write_questions
from server_double import Reply, serve
from tiny_world import write_jsonl

from larpo_lib.artifacts import read_metrics
from larpo_lib.errors import ArtifactError, ConfigError
from larpo_lib.judging import known_judges
from larpo_lib.judging.known_judges import JUDGES, known_judge
from larpo_lib.plan import Plan
from larpo_lib.playground.policy import make_policy
from larpo_lib.playground.problems import vocabulary
from larpo_lib.presets import FOLDER
from larpo_lib.studies.benchmarks import benchmark_config, check_benchmarks, judge_notes, load_benchmarks
from larpo_lib.studies.instruments import Instruments
from larpo_lib.studies.study import Cell, cells, kind_of, load_study

STUDIES = [path for path in sorted((FOLDER / "studies").glob("*.toml")) if kind_of(path) == "grid"]
SHORT = "{ max_new_tokens = 8 }"
CELL = Cell(
    ("A",), 3, {
        "policy": "p", "seed": 3, "prepare": {"source": "s", "heldout": 1},
        "sample": {"sampler": {"type": "hf", "batch_size": 16, "model": {"device": "cpu"}}},
    },
)  # fmt: skip


def judge(asked):
    """Half a point for every free-form answer, option A for every choice, and AlpacaEval's own first answer."""
    if asked.payload["model"] == "annotator":
        return Reply(completion("[{'model': 'model_1', 'rank': 1}, {'model': 'model_2', 'rank': 2}]"))
    asked_about(asked.payload)
    extracts = "option extractor" in asked.payload["messages"][0]["content"]
    return Reply(completion("[[A]]" if extracts else "[[0.5]]"))


@pytest.fixture
def benchmarks(tmp_path):
    """Files of three benchmarks whose judge is at the given address."""

    def write(url):
        questions = write_questions(tmp_path)
        problems = [{"question": f"What is {i} + 2 ?", "answer": f"#### {i + 2}"} for i in range(3)]
        reference = [{"instruction": f"What is {i} ?", "output": "1", "generator": "r"} for i in range(4)]
        (tmp_path / "reference.json").write_text(json.dumps(reference))
        write_jsonl(tmp_path / "problems.jsonl", problems)
        texts = {
            "mix": f"""
step = "mixeval"
measures = {{ mixeval = "overall" }}
files = {{ free_form = "{questions["free_form"]}", multiple_choice = "{questions["multiple_choice"]}" }}
settings = {{ judge = {{ base_url = "{url}", model = "judge", retries = 0 }}, answers = {SHORT} }}
""",
            "alpaca": f"""
step = "alpaca_eval"
measures = {{ win_rate = "win_rate" }}
files = {{ reference = "{tmp_path / "reference.json"}" }}
[settings]
partial = true
protocol = "alpaca_eval_llama3_70b_fn"
judge = {{ base_url = "{url}", model = "annotator", retries = 0 }}
answers = {SHORT}
""",
            "school": f"""
step = "gsm8k"
measures = {{ gsm8k_accuracy = "accuracy" }}
files = {{ problems = "{tmp_path / "problems.jsonl"}" }}
settings = {{ n = 0, answers = {SHORT} }}
""",
        }
        for name, text in texts.items():
            (tmp_path / f"{name}.toml").write_text(text)
        return [str(tmp_path / f"{name}.toml") for name in texts]

    return write


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Two more policies."""
    root = tmp_path_factory.mktemp("trained")
    for seed in (1, 2):
        make_policy(root / str(seed), vocabulary(), seed, hidden=32, layers=2, heads=2)
    return root


def _measure(policies, benchmarks, run, pool):
    """Iteration, then measure, to the values of a cell's policies."""
    plan = Plan(CELL.config(), str(run), policies=[str(policies.get(i, "")) for i in range(max(policies) + 1)])
    found = {}
    for iteration in policies:
        Path(plan.at(iteration, "")).mkdir(parents=True, exist_ok=True)
        found[iteration] = {}
        for measurement in Instruments(benchmarks).of_policy(CELL, plan, iteration):
            found[iteration].update(measurement.take(pool))
    return found


def _mean(values):
    return sum(values.values()) / len(values)


def test_both_policies_are_measured_and_what_cells_share_is_judged_once(benchmarks, trained, tiny_policy, tmp_path):
    def measure(name, policies):
        return _measure(policies, loaded, tmp_path / name, tmp_path / "pool")

    with serve(judge) as server:
        loaded = load_benchmarks(benchmarks(server.url), {})
        check_benchmarks([CELL], loaded)
        first = measure("one", {0: tiny_policy, 2: trained / "1"})
        bought = len(server.asked)
        assert measure("one", {0: tiny_policy, 2: trained / "1"}) == first
        assert len(server.asked) == bought
        second = measure("two", {0: tiny_policy, 3: trained / "2"})
    assert len(server.asked) <= bought + bought // 2  # of the second cell the last policy's answers alone
    assert second[0] == first[0]
    for outcome, run in ((first, "one"), (second, "two")):
        for iteration, values in outcome.items():
            assert values.keys() == {"mixeval", "win_rate", "gsm8k_accuracy"}
            place = tmp_path / run / f"iteration-{iteration}"
            found = {name: read_metrics(place / name) for name in ("mix", "alpaca", "school")}
            assert _mean(values["mixeval"]) == pytest.approx(found["mix"]["overall"], abs=1e-3)
            assert found["mix"]["free_form"] == 0.5
            assert _mean(values["win_rate"]) == pytest.approx(found["alpaca"]["win_rate"])
            assert _mean(values["gsm8k_accuracy"]) == pytest.approx(found["school"]["accuracy"])
            assert (len(values["mixeval"]), len(values["win_rate"]), len(values["gsm8k_accuracy"])) == (
                5,
                4,
                3,
            )  # one is a copy


def test_answers_are_sampled_as_the_cell_samples_and_settings_lie_over_the_files(benchmarks):
    over = {"mixeval": {"judge": {"model": "mine", "max_calls": 9}}, "sample": {"k": 4}}
    loaded = load_benchmarks(benchmarks("http://localhost:1/v1"), over)
    config = benchmark_config(CELL, loaded["mix"])
    assert (config.judge.model, config.judge.max_calls, config.judge.base_url) == ("mine", 9, "http://localhost:1/v1")
    assert (config.answers.sampler.batch_size, config.answers.seed, config.answers.max_new_tokens) == (16, 3, 8)
    assert benchmark_config(CELL, loaded["alpaca"]).judge.model == "annotator"
    assert judge_notes(CELL, loaded) == ["mix: judged by mine.", "alpaca: judged by annotator."]


def test_what_is_missing_is_told_before_any_cell_runs(benchmarks, tmp_path, monkeypatch):
    names = benchmarks("http://localhost:1/v1")
    monkeypatch.delenv("JUDGE_KEY", raising=False)
    keyed = load_benchmarks(names, {"mixeval": {"judge": {"api_key_env": "JUDGE_KEY"}}})
    with pytest.raises(ConfigError, match="the environment variable JUDGE_KEY"):
        check_benchmarks([CELL], keyed)
    late = {"judge": {"base_url": "https://api.openai.com/v1", "model": "gpt-3.5-turbo-0125"}}
    monkeypatch.setattr(known_judges, "JUDGES", [replace(one, shut_down=date(2000, 1, 1)) for one in JUDGES])
    with pytest.raises(ConfigError, match=r"gpt-3\.5-turbo-0125 cannot be asked: OpenAI shut it down on 2000-01-01"):
        check_benchmarks([CELL], load_benchmarks(names, {"mixeval": late}))
    (tmp_path / "problems.jsonl").unlink()
    with pytest.raises(ConfigError, match=r"problems.jsonl: no such file; the benchmark school needs it as problems"):
        check_benchmarks([CELL], load_benchmarks(names, {}))
    with pytest.raises(ConfigError, match="two benchmarks have the measure 'mixeval'"):
        load_benchmarks([names[0], "mixeval"], {})
    with pytest.raises(ConfigError, match=r"no-such.toml: no such file"):
        load_benchmarks(["no-such"], {})


def test_a_metric_that_the_report_lacks_is_named(benchmarks, tiny_policy, tmp_path):
    (school,) = load_benchmarks(benchmarks("http://localhost:1")[2:], {}).values()
    odd = school.model_copy(update={"measures": {"odd": "majority_accuracy"}})
    with pytest.raises(ArtifactError, match="school: has no majority_accuracy"):
        _measure({0: tiny_policy}, {"school": odd}, tmp_path, tmp_path / "pool")


@pytest.mark.parametrize(
    ("step", "files", "told"),
    [
        ("retrieval", "", "'files': Dictionary should have at least 1 item"),
        ("reward_eval", 'prompts = "p"', "the step reward_eval also reads baseline; add it to files"),
        ("score_reward_model", 'lists = "l"', r"'step': Input should be one of .*gsm8k.*, not"),
        ("no_such", 'a = "b"', r"'step': Input should be one of .*evaluate, not"),
    ],
)
def test_a_step_that_measures_a_policy_gets_all_that_it_reads(tmp_path, step, files, told):
    (tmp_path / "odd.toml").write_text(f'step = "{step}"\nfiles = {{ {files} }}\nmeasures = {{ a = "b" }}\n')
    with pytest.raises(ConfigError, match=told):
        load_benchmarks([str(tmp_path / "odd.toml")], {})


# benchmark: protocol or version, judge's model, calls
SHIPPED = {
    "alpaca-eval": ("weighted_alpaca_eval_gpt4_turbo", "meta-llama/Llama-3.3-70B-Instruct", 805),
    "alpaca-eval-fn": ("alpaca_eval_gpt4_turbo_fn", "meta-llama/Llama-3.3-70B-Instruct", 805),
    "alpaca-eval-llama3": ("alpaca_eval_llama3_70b_fn", "meta-llama/Meta-Llama-3-70B-Instruct", 805),
    "mixeval": (("mixeval", "2024-06-01"), "meta-llama/Llama-3.3-70B-Instruct", 4000),
    "mixeval-hard": (("mixeval-hard", "2024-06-01"), "meta-llama/Llama-3.3-70B-Instruct", 1000),
}
OF_TABLES = {
    "table2": ("alpaca-eval", "mixeval", "mixeval-hard"),
    "table3": ("alpaca-eval-fn", "mixeval", "mixeval-hard"),
    "table4": ("alpaca-eval-fn",),
    "table5": ("alpaca-eval-llama3", "mixeval", "mixeval-hard"),
    "fig3a": ("gsm8k",),
}


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_benchmarks_ask_as_the_paper_does_and_whom_no_vendor_can_shut_down(name):
    ((_, benchmark),) = load_benchmarks([name], {}).items()
    config = benchmark_config(CELL, benchmark)
    edition = config.protocol if benchmark.step == "alpaca_eval" else (config.benchmark, config.version)
    assert (edition, config.judge.model, benchmark.calls) == SHIPPED[name]
    assert known_judge(config.judge).vendor == ""
    assert (config.judge.base_url, config.judge.api_key_env) == ("http://localhost:8000/v1", None)


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_benchmarks_of_a_shipped_study_fit_its_cells_and_give_its_measures(path):
    study = load_study(path)
    loaded = load_benchmarks(study.paper.benchmarks, {})
    assert study.paper.benchmarks == OF_TABLES.get(study.name, study.paper.benchmarks)
    for cell in cells(study, "paper"):
        for benchmark in loaded.values():
            assert benchmark_config(cell, benchmark).answers.sampler == cell.config().sample.sampler
    given = {measure for benchmark in loaded.values() for measure in benchmark.measures}
    assert given <= {*study.paper.measures}
    published = {name for one in study.published for name in one.values}
    assert published <= given


def test_a_benchmark_may_read_a_folder(tmp_path, monkeypatch):
    """As lm-eval's tasks do, each its data set below it."""
    monkeypatch.chdir(tmp_path)
    found = load_benchmarks(["ifeval"], {"lm_eval": {"limit": 3}})
    config = benchmark_config(CELL, found["ifeval"])
    assert (config.tasks, config.limit, config.seed) == (("ifeval",), 3, 3)
    with pytest.raises(ConfigError, match=r"data/lm_eval: no such file; the benchmark ifeval needs it as data"):
        check_benchmarks([CELL], found)
    (tmp_path / "data" / "lm_eval").mkdir(parents=True)
    check_benchmarks([CELL], found)
