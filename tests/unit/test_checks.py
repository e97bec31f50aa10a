import json
from pathlib import Path
from typing import Any

import pytest
from small_models import write_prompts

from larpo_lib.checks import check_prepared, check_settings, foretell_calls
from larpo_lib.config import LarpoConfig, load_config
from larpo_lib.config.load import check
from larpo_lib.errors import ConfigError, DataError

CLASSIFIER = {"type": "classifier", "path": "rm"}
SERVER = {"type": "http", "api": "tei_rerank", "base_url": "http://localhost:1"}


def _config(objective: dict[str, Any] | None = None, **tables: Any) -> LarpoConfig:
    tree: dict[str, Any] = {
        "policy": "policy",
        "prepare": {"source": "prompts.jsonl", "heldout": 2},
        "evaluate": {"reranker": {"type": "verifier"}},
        "train": {"objective": {"type": "lipo_lambda", **(objective or {})}},
        **tables,
    }
    return LarpoConfig.model_validate(tree)


@pytest.mark.parametrize(
    ("tables", "told"),
    [
        ({"rerank": {"reranker": CLASSIFIER}}, "the scores of 'classifier' are unbounded"),
        ({"rerank": {"reranker": {"type": "pairrm", "path": "rm"}}}, "the scores of 'pairrm' are unbounded"),
        (
            {"rerank": {"reranker": {"type": "ensemble", "members": [{"reranker": {"type": "verifier"}}] * 2}}},
            "the scores of 'ensemble' are unbounded",
        ),
        ({"rerank": {"length_penalty": 0.01}}, "rerank.length_penalty makes rewards negative"),
        ({"rerank": {"reranker": {"type": "verifier", "answer_weight": 2.0}}}, "weights add up to 2.4"),
        ({"lists": {"negatives": {"kind": "random"}}}, "'random' negatives are scored below the worst response"),
    ],
)
@pytest.mark.parametrize("kind", ["lipo_lambda", "lambdaloss", "approx_ndcg", "neural_ndcg"])
def test_rewards_that_leave_0_to_1_are_refused_as_gains(kind: str, tables: dict[str, Any], told: str) -> None:
    remedy = r"train\.objective\.rewards to minmax or rank.*lambdarank"
    with pytest.raises(ConfigError, match=rf"{kind} needs rewards from 0 to 1, but .*{told}.*{remedy}"):
        check_settings(_config({"type": kind}, **tables))
    for rewards in ("minmax", "rank", "win_rate"):
        check_settings(_config({"type": kind, "rewards": rewards}, **tables))
    check_settings(_config({"type": "lambdarank"}, **tables))


@pytest.mark.parametrize(
    "tables",
    [
        {},
        {"rerank": {"reranker": {"type": "verifier", "mode": "exact", "answer_weight": 2.0}}},
        {"lists": {"negatives": {"kind": "cold"}}},
        {"rerank": {"reranker": SERVER}},
    ],
)
def test_lipo_lambda_takes_rewards_that_may_lie_between_0_and_1(tables: dict[str, Any]) -> None:
    check_settings(_config(**tables))


def _judged(tmp_path: Path, *settings: str) -> tuple[LarpoConfig, Path, Path]:
    judge = f'{{type = "llm_judge", base_url = "http://judge/v1", model = "big", {", ".join(settings)}}}'
    given = ["sample.k=4", "evaluate.n=2", "loop.iterations=3", "sample.prompts_per_iteration=2", "lists.memory=all"]
    chosen = [*given, "prepare.source=s", "prepare.heldout=2", "policy=p", f"rerank.reranker={judge}"]
    prompts = write_prompts(tmp_path / "prompts", [(str(number), "1") for number in range(4)])
    heldout = write_prompts(tmp_path / "heldout", [(f"held {number}", "1") for number in range(5)])
    return load_config(None, [*chosen, 'evaluate.reranker={type = "verifier"}']), prompts, heldout


def test_held_out_prompts_that_are_trained_on_are_told_before_sampling(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config, prompts, heldout = _judged(tmp_path, "max_calls = 1000")
    check_prepared(config, {"heldout": heldout, "prompts": prompts})
    assert not [message for message in caplog.messages if "trained on" in message]
    check_prepared(config, {"heldout": heldout, "prompts": prompts, "demonstrations": heldout})
    assert "some of the held-out prompts are trained on (5 are in demonstrations)" in caplog.text


def test_calls_of_a_judge_are_told_before_sampling(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Two of four prompts an iteration, so the third one has the first one's prompts again: lists of 4, 4 and 8."""
    foretell_calls(*_judged(tmp_path, 'mode = "pairwise"', "max_calls = 111"))
    of_four, of_eight = 2 * 4 * 3, 2 * 8 * 7
    told = f"rerank: llm_judge makes at most {of_eight} calls at a time, and {2 * of_four + of_eight} in the whole run"
    warning = "rerank may need 112 judge calls, but max_calls is 111: if it does, it stops before the first one"
    assert caplog.messages == [told, warning]


def test_calls_of_the_evaluation_are_told_too(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    config, prompts, heldout = _judged(tmp_path, "max_calls = 15")
    evaluate = config.evaluate.model_copy(update={"reranker": config.rerank.reranker})
    foretell_calls(config.model_copy(update={"evaluate": evaluate}), prompts, heldout)
    assert caplog.messages == [
        "rerank: llm_judge makes at most 8 calls at a time, and 24 in the whole run",
        "evaluate: llm_judge makes at most 15 calls at a time, and 60 in the whole run",  # of 4 policies
    ]
    caplog.clear()
    verified = load_config(None, ["policy=p", "prepare.source=s", "prepare.heldout=2"])
    foretell_calls(verified, tmp_path / "nothing", tmp_path / "nothing")
    assert not caplog.messages


def test_each_iteration_has_checks_of_its_own_settings(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    later = {"changes": [{"iteration": 3, "train": {"objective": {"type": "lipo_lambda"}}}]}
    with pytest.raises(ConfigError, match="lipo_lambda needs rewards from 0 to 1"):
        check_settings(_config({"type": "dpo"}, rerank={"reranker": CLASSIFIER}, loop=later))
    config, *paths = _judged(tmp_path, 'mode = "pairwise"')
    changes = [{"iteration": 2, "sample": {"k": 3}}, {"iteration": 3, "lists": {"memory": "previous"}}]
    tree = config.model_dump(mode="json")
    changing = check(LarpoConfig, {**tree, "loop": {**tree["loop"], "changes": changes}})
    foretell_calls(changing, *paths)
    of_four, of_three = 2 * 4 * 3, 2 * 3 * 2  # lists of 4, of 3, and of 3: the third has the first one's prompts
    told = f"rerank: llm_judge makes at most {of_four} calls at a time, and {of_four + 2 * of_three} in the whole run"
    assert caplog.messages == [told]


def _stopping(metric: str, *watch: dict[str, Any], **tables: Any) -> LarpoConfig:
    evaluate = {"reranker": {"type": "verifier"}, "watch": watch}
    tables = {"train": {"objective": {"type": "listmle"}}, **tables}
    return _config(evaluate=evaluate, loop={"early_stop": {"metric": metric}}, **tables)


RULES = {"name": "rules", "reranker": {"type": "ifeval"}}


def test_the_loop_is_ended_only_by_a_watch_that_there_is_and_that_training_does_not_learn_from() -> None:
    check_settings(_stopping("watch_rules", RULES))
    with pytest.raises(
        ConfigError, match=r"'watch_rule', but evaluate\.watch has no entry .* mean_reward, .*watch_rul"
    ):
        check_settings(_stopping("watch_rule", RULES))
    learned = {"rerank": {"reranker": RULES["reranker"]}}
    check_settings(_stopping("mean_reward", RULES, **learned))
    with pytest.raises(ConfigError, match=r"'watch_rules', whose reranker has the settings of rerank\.reranker"):
        check_settings(_stopping("watch_rules", RULES, **learned))


@pytest.mark.parametrize(
    ("changed", "refused"),
    [
        ({"max_calls": 3, "concurrency": 2}, True),  # how the work is done
        ({"model": "another"}, False),
        ({"base_url": "http://other/v1"}, False),  # who knows what is served there
    ],
)
def test_what_a_reranker_says_decides_whether_it_is_another_one(changed: dict[str, Any], refused: bool) -> None:
    judge = {"type": "llm_judge", "base_url": "http://judge/v1", "model": "big"}
    watch = {"name": "judge", "reranker": {**judge, **changed}}
    config = _stopping("watch_judge", watch, rerank={"reranker": judge})
    if refused:
        with pytest.raises(ConfigError, match=r"has the settings of rerank\.reranker"):
            check_settings(config)
    else:
        check_settings(config)


def test_a_watch_named_accuracy_needs_no_judge() -> None:
    check_settings(_stopping("watch_accuracy", {**RULES, "name": "accuracy"}))


def test_calls_of_a_watching_judge_are_told_too(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    judge = '{type = "llm_judge", base_url = "http://judge/v1", model = "big"}'
    settings = [f'evaluate.watch=[{{name = "big", reranker = {judge}}}]', "evaluate.n=2", "loop.iterations=3"]
    heldout = write_prompts(tmp_path / "heldout", [(f"held {number}", "1") for number in range(5)])
    foretell_calls(load_config(None, ["policy=p", "prepare.source=s", *settings]), heldout, heldout)
    assert caplog.messages == [
        "evaluate, watch big: llm_judge makes at most 15 calls at a time, and 60 in the whole run"
    ]


def test_calls_of_the_benchmarks_of_a_gate_are_told_too(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Three instructions in both orders; two prompts with two responses each, all by a judge; problems cost nothing."""
    judge = '{type = "llm_judge", base_url = "http://judge/v1", model = "big", mode = "pairwise"}'
    answers = [{"instruction": f"Say {i}.", "output": "No.", "generator": "other"} for i in range(3)]
    (tmp_path / "reference.json").write_text(json.dumps(answers))
    (tmp_path / "problems.jsonl").write_text('{"question": "1 + 1?", "answer": "#### 2"}\n')
    asked = ("alpaca_eval.win_rate", "reward_eval.win_rate", "gsm8k.accuracy")
    gate = [f'{{metric = "{metric}", margin = 1}}' for metric in asked]
    settings = [
        "evaluate.reranker.type=verifier", "rerank.reranker.type=verifier", "loop.iterations=3",
        f'promote.must_improve=[{", ".join(gate)}]', "reward_eval.limit=2", f"reward_eval.reranker={judge}",
        'alpaca_eval={both_orders = true, judge = {base_url = "http://judge/v1", model = "best", max_calls = 5}}',
        f"loop.benchmark_files.alpaca_eval.reference={tmp_path / 'reference.json'}",
        f"loop.benchmark_files.gsm8k.problems={tmp_path / 'problems.jsonl'}",
    ]  # fmt: skip
    heldout = write_prompts(tmp_path / "heldout", [(f"held {number}", "1") for number in range(5)])
    given = ["policy=p", "prepare.source=s", "prepare.heldout=5", *settings]
    foretell_calls(load_config(None, given), heldout, heldout)
    told = "makes at most {} calls at a time, and {} in the whole run"  # of the first policy and the result
    # one greedy response and eight sampled ones
    assert "gsm8k: each policy gives 9 responses of at most 1,024 tokens, and 2 are asked" in caplog.messages
    assert [message for message in caplog.messages if "each policy gives" not in message] == [
        f"alpaca_eval: best {told.format(6, 12)}",
        "alpaca_eval may need 6 judge calls, but max_calls is 5: if it does, it stops before the first one",
        f"reward_eval: big {told.format(4, 8)}",
    ]
    caplog.clear()
    foretell_calls(load_config(None, [*given, "loop.promote=every_iteration"]), heldout, heldout)
    assert f"alpaca_eval: best {told.format(6, 24)}" in caplog.messages
    caplog.clear()
    foretell_calls(load_config(None, [*given, 'loop.benchmarks=["reward_eval"]']), heldout, heldout)
    every = f"reward_eval: big {told.format(4, 16)}"  # of each iteration's policy
    assert {every, f"alpaca_eval: best {told.format(6, 12)}"} < set(caplog.messages)
    (tmp_path / "reference.json").write_text("[]")
    with pytest.raises(DataError, match=r"reference\.json"):
        foretell_calls(load_config(None, given), heldout, heldout)


@pytest.mark.parametrize("metric", ["accuracy", "greedy_accuracy"])
def test_accuracy_is_asked_for_only_where_something_says_what_is_right(metric: str) -> None:
    stop = {"loop": {"early_stop": {"metric": "accuracy"}}}
    gate = {"promote": {"must_improve": [{"metric": f"evaluate.{metric}"}]}}
    for tables in (stop, gate, {"promote": {"metric": metric}}):
        config = _config({"type": "listmle"}, **tables)
        with pytest.raises(
            ConfigError, match=r"accuracy', but evaluate\.judge, which decides what is right, is not set"
        ):
            check_settings(config)
