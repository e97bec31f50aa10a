"""What a run does, where, and when it ends."""

import pytest

from larpo_lib.config import EarlyStopConfig, LarpoConfig
from larpo_lib.early_stop import best_iteration, has_stalled
from larpo_lib.errors import ArtifactError
from larpo_lib.plan import Plan
from larpo_lib.run_files import summarize
from larpo_lib.run_state import all_calls
from larpo_lib.shards import Shard


def plan(**settings) -> Plan:
    tree = {"policy": "models/base", "prepare": {"source": "p.jsonl", "heldout": 4}, **settings}
    return Plan(LarpoConfig.model_validate(tree), "s3://b/runs/one")


def rewards(*values):
    return {i: {"mean_reward": value} for i, value in enumerate(values)}


def test_each_round_begins_with_the_policy_of_the_one_before():
    one = plan()
    assert [one.sample(i).inputs["policy"] for i in (1, 2)] == ["models/base", "s3://b/runs/one/iteration-1/policy"]
    assert one.train(2).outputs == {"trained": "s3://b/runs/one/iteration-2/policy"}
    assert one.train(2).inputs["reference"] is None
    tuned = plan(demonstrations={"source": "d.jsonl"}, loop={"reference": "initial"})
    assert tuned.sft().output == tuned.sample(1).inputs["policy"] == "s3://b/runs/one/sft"
    assert tuned.train(2).inputs["reference"] == "s3://b/runs/one/sft"


def test_lists_are_given_all_rounds_and_a_list_relative_reranker_what_memory_keeps():
    assert plan().build_lists(2).inputs["ranked"] == [f"s3://b/runs/one/iteration-{i}/ranked" for i in (1, 2)]
    assert plan().rerank(2).inputs["candidates"] == ["s3://b/runs/one/iteration-2/candidates"]
    relative = {"rerank": {"reranker": {"type": "pairrm", "path": "m"}}, "evaluate": {"reranker": {"type": "verifier"}}}
    kept = plan(**relative, lists={"memory": "previous"})
    assert kept.rerank(3).inputs["candidates"] == [f"s3://b/runs/one/iteration-{i}/candidates" for i in (2, 3)]
    assert kept.build_lists(3).inputs["ranked"] == ["s3://b/runs/one/iteration-3/ranked"]


def test_shares_lie_apart_and_are_merged_to_where_the_whole_would_be():
    one = plan()
    shares = [one.sample(1, Shard(i, 2)).output for i in range(2)]
    assert shares == [f"s3://b/runs/one/iteration-1/shards/candidates-{i}-of-2" for i in range(2)]
    merged = one.merge("candidates", 1, 2)
    assert (merged.inputs["shards"], merged.output) == (shares, one.sample(1).output)


def test_a_run_of_a_study_shares_what_is_before_its_first_round():
    config = plan(demonstrations={"source": "d.jsonl"}).config
    member = Plan(config, "s3://b/study/members/1", shared="s3://b/study")
    assert member.sample(1).inputs == {"policy": "s3://b/study/sft", "prompts": "s3://b/study/prompts"}
    assert member.sample(1).output == "s3://b/study/members/1/iteration-1/candidates"
    assert member.promote(1, "x").inputs["baseline"] == "s3://b/study/iteration-0/evaluation"


def test_policies_that_were_given_are_measured_and_compared_where_there_are_two():
    alone = Plan(plan().config, "s3://b/e", policies=("", "s3://m/new"))
    assert alone.evaluate(1).inputs["policy"] == "s3://m/new"
    assert alone.promote(1, "x").inputs["baseline"] is None
    both = Plan(plan().config, "s3://b/e", policies=("s3://m/old", "s3://m/new"))
    assert both.promote(1, "x").inputs["baseline"] == "s3://b/e/iteration-0/evaluation"


FILES = {"benchmark_files": {"gsm8k": {"problems": "s3://d/test.jsonl"}}}
GUARDED = {
    "promote": {
        "must_improve": [{"metric": "evaluate.reward"}],
        "must_not_lose": [{"metric": "gsm8k.accuracy", "margin": 1}, {"metric": "divergence.kl", "margin": 1}],
    },
    "loop": FILES,
}


def test_a_gate_that_asks_for_benchmarks_is_given_them_of_the_policy_and_of_the_start():
    one = plan(**GUARDED)
    problems, divergence = one.late_benchmarks(2)
    assert (problems.output, problems.asked) == ("s3://b/runs/one/iteration-2/gsm8k", ["accuracy"])
    assert problems.inputs == {"policy": "s3://b/runs/one/iteration-2/policy", "problems": "s3://d/test.jsonl"}
    assert divergence.inputs == {
        "policy": "s3://b/runs/one/iteration-2/policy",
        "baseline": "models/base",
        "prompts": "s3://b/runs/one/heldout",
        "evaluated": "s3://b/runs/one/iteration-2/evaluation",
    }
    gate = one.promote(2, "x").inputs
    assert gate["benchmarks"] == [problems.output, divergence.output]
    assert gate["baseline_benchmarks"] == [call.output for call in one.benchmarks(0)]
    assert plan().promote(2, "x").inputs["benchmarks"] == []


@pytest.mark.parametrize(
    ("loop", "rewarded", "measured"),
    [
        ({}, (0.1, 0.2, 0.3), [0, 2]),
        ({"promote": "every_iteration"}, (0.1, 0.2, 0.3), [0, 1, 2]),
        ({"early_stop": {}}, (0.1, 0.2, 0.1), [0, 1]),  # the result is the best policy
        ({"early_stop": {}}, (0.3, 0.2), [0]),
        ({"evaluate": "last_iteration"}, (0.1, None, 0.3), [0, 2]),
    ],
)
def test_benchmarks_measure_the_start_and_the_policies_that_go_through_the_gate(loop, rewarded, measured):
    one = plan(**{**GUARDED, "loop": {**FILES, "iterations": 2, **loop}})
    known = {i: {"mean_reward": value} for i, value in enumerate(rewarded) if value is not None}
    calls = [(call.name, call.iteration) for call in all_calls(one, known)]
    assert [iteration for name, iteration in calls if name == "gsm8k"] == measured
    assert calls.index(("gsm8k", 0)) < calls.index(("sample", 1))  # what is missing is told before the training


@pytest.mark.parametrize(
    ("loop", "gated", "every", "at_the_gate"),
    [
        ({}, False, [0, 1, 2], []),
        ({}, True, [0, 1, 2], [0, 2]),
        ({"evaluate": "last_iteration"}, True, [0, 2], [0, 2]),
        ({"early_stop": {}}, True, [0, 1, 2], [0, 1]),  # the result is the best policy
        ({"promote": "every_iteration"}, True, [0, 1, 2], [0, 1, 2]),
    ],
)
def test_benchmarks_of_the_loop_measure_each_evaluated_policy_once(loop, gated, every, at_the_gate):
    promote = GUARDED["promote"] if gated else {}
    one = plan(promote=promote, loop={**FILES, "iterations": 2, "benchmarks": ["gsm8k"], **loop})
    known = {i: {"mean_reward": value} for i, value in enumerate((0.1, 0.3, 0.2))}
    calls = [*all_calls(one, known)]
    taken = {
        name: [call.iteration for call in calls if call.name == name] for name in ("evaluate", "gsm8k", "divergence")
    }
    assert taken == {"evaluate": every, "gsm8k": every, "divergence": at_the_gate}
    places = [(call.name, call.iteration) for call in calls]
    assert all(places.index(("gsm8k", i)) == places.index(("evaluate", i)) + 1 for i in every)
    *_, promote_call, report = calls
    made = {call.output for call in calls if call.name in ("gsm8k", "divergence")}
    assert {*report.inputs["benchmarks"]} == made
    assert len(report.inputs["benchmarks"]) == len(made)
    result = f"iteration-{at_the_gate[-1] if gated else 2}"
    assert {*promote_call.inputs["benchmarks"]} == {path for path in made if path.split("/")[-2] == result}


@pytest.mark.parametrize(
    ("values", "patience", "stalled"),
    [
        ((0.1,), 1, False),
        ((0.1, 0.3), 1, False),
        ((0.1, 0.3, 0.35), 1, True),  # a rise of no more than 0.1 is none
        ((0.1, 0.3, 0.35), 2, False),
        ((0.3, 0.2, 0.25), 2, True),
    ],
)
def test_the_loop_stalls_without_a_rise_within_its_patience(values, patience, stalled):
    rule = EarlyStopConfig(min_delta=0.1, patience=patience)
    assert has_stalled([{"mean_reward": value} for value in values], rule) is stalled


def test_the_last_round_is_the_one_that_stalled_first_else_the_one_asked_for():
    stopping = plan(loop={"iterations": 5, "early_stop": {"patience": 1}})
    assert stopping.last(rewards(0.1, 0.2)) == 5
    assert stopping.last(rewards(0.1, 0.2, 0.2)) == 2
    assert stopping.last(rewards(0.1, 0.2, 0.2, 0.9)) == 2
    assert plan(loop={"iterations": 5}).last(rewards(0.1, 0.0)) == 5


def test_the_result_is_the_last_policy_or_with_early_stop_the_best_one():
    assert best_iteration(rewards(0.3, 0.9, 0.2), None) == 2
    assert best_iteration(rewards(0.3, 0.9, 0.9), EarlyStopConfig()) == 1


def test_a_watch_ends_the_loop_though_the_reward_rises_and_its_best_policy_is_the_result():
    watched = [{"mean_reward": reward, "watch_rules": rules} for reward, rules in ((0.1, 0.4), (0.5, 0.6), (0.9, 0.5))]
    rule = {"metric": "watch_rules", "patience": 1}
    stopping = plan(loop={"iterations": 5, "early_stop": rule})
    assert stopping.last(dict(enumerate(watched))) == 2
    assert best_iteration(dict(enumerate(watched)), stopping.config.loop.early_stop) == 1
    assert plan(loop={"iterations": 5, "early_stop": {}}).last(dict(enumerate(watched))) == 5


@pytest.mark.parametrize("metrics", [{"mean_reward": 0.1}, {"mean_reward": 0.1, "watch_rules": None}])
def test_an_evaluation_that_other_settings_made_cannot_end_the_loop(metrics):
    stopping = plan(loop={"early_stop": {"metric": "watch_rules"}})
    with pytest.raises(
        ArtifactError, match=r"has no watch_rules, which loop\.early_stop\.metric names: other settings"
    ):
        stopping.last({0: metrics, 1: metrics})


def test_with_evaluation_of_the_last_round_only_the_report_is_given_two():
    last = plan(loop={"iterations": 3, "evaluate": "last_iteration"})
    assert [i for i in range(4) if last.measures(i, 3)] == [0, 3]
    assert last.report(3, 3).inputs["evaluations"] == [f"s3://b/runs/one/iteration-{i}/evaluation" for i in (0, 3)]


CHANGES = [
    {"iteration": 2, "sample": {"k": 8}, "lists": {"memory": "current"}},
    {"iteration": 3, "train": {"objective": {"type": "simpo"}}, "lists": {"memory": "previous"}},
]


def test_each_round_has_the_settings_that_have_changed_until_then():
    """Those that a run with these settings throughout has; what is outside the rounds stays."""
    changing = plan(loop={"changes": CHANGES})
    in_turn = [
        plan(),
        plan(sample={"k": 8}, lists={"memory": "current"}),
        plan(sample={"k": 8}, lists={"memory": "previous"}, train={"objective": {"type": "simpo"}}),
    ]
    for number, expected in enumerate(in_turn, start=1):
        for step in ("sample", "rerank", "build_lists", "train", "evaluate"):
            assert getattr(changing, step)(number) == getattr(expected, step)(number)
    assert changing.report(3, 3) == plan().report(3, 3)
    assert changing.sample(3, Shard(1, 2)) == in_turn[2].sample(3, Shard(1, 2))


def test_what_a_round_reads_follows_its_own_settings():
    relative = {"rerank": {"reranker": {"type": "pairrm", "path": "m"}}, "evaluate": {"reranker": {"type": "verifier"}}}
    changing = plan(**relative, loop={"changes": CHANGES, "reference": "initial"})
    kept = [[path.split("/")[-2] for path in changing.rerank(number).inputs["candidates"]] for number in (1, 2, 3)]
    assert kept == [["iteration-1"], ["iteration-2"], ["iteration-2", "iteration-3"]]
    assert [changing.train(number).inputs["reference"] for number in (1, 2, 3)] == ["models/base", "models/base", None]


def test_the_summary_names_the_objectives_in_turn():
    changing = plan(loop={"changes": CHANGES}).config
    names = ("mean_reward", "accuracy", "pass_at_8", "greedy_accuracy", "greedy_reward")
    measured = {i: dict.fromkeys(names, 0.0) for i in range(4)}
    assert summarize(changing, measured, {"promoted": 1}, 1.0)["objective"] == "listmle, then simpo"
    stopped = {i: measured[i] for i in range(3)}
    assert summarize(changing, stopped, {"promoted": 1}, 1.0)["objective"] == "listmle"


def test_the_report_is_given_the_benchmarks_that_the_gate_asked_for():
    gate = {"must_improve": [{"metric": "divergence.kl"}]}
    once, always = (
        plan(promote=gate, loop={"iterations": 3, "promote": f"{which}_iteration"}) for which in ("last", "every")
    )

    def measured(one, result):
        return [place.split("/")[-2] for place in one.report(3, result).inputs["benchmarks"]]

    assert measured(once, 2) == ["iteration-0", "iteration-2"]
    assert measured(once, 0) == ["iteration-0"]
    assert measured(always, 2) == [f"iteration-{i}" for i in range(4)]
    assert plan().report(3, 3).inputs["benchmarks"] == []
