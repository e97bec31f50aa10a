"""Which benchmarks the task `evaluate` takes for the gate, and when."""

from pathlib import Path
from typing import Any

import pytest
from pipeline_requests import Given, changed

from larpo_lib.errors import ConfigError
from larpo_lib.pipeline import rounds
from larpo_lib.pipeline.begin import begin
from larpo_lib.pipeline.execute import StepResult
from larpo_lib.pipeline.journal import Journal
from larpo_lib.pipeline.run_context import RunContext
from larpo_lib.plan import StepCall

REWARDS = (0.1, 0.3, 0.2, 0.2)


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[tuple[str, int | None]]:
    """What is executed: its name and iteration. Evaluations are there at once."""
    found: list[tuple[str, int | None]] = []

    def execute(_context: RunContext, call: StepCall) -> StepResult:
        found.append((call.name, call.iteration))
        if call.name == "evaluate":
            folder = Path(call.output)
            folder.mkdir(parents=True)
            (folder / "artifact.json").write_text("{}")
            (folder / "metrics.json").write_text(f'{{"mean_reward": {REWARDS[call.iteration or 0]}}}')
        return StepResult(call.output, {}, {}, None)

    monkeypatch.setattr(rounds, "execute", execute)
    monkeypatch.setattr(RunContext, "log", lambda *_: None)
    return found


def guarded(given: Given, problems: Path, **settings: Any) -> Given:
    metric = {"metric": "gsm8k.accuracy", "margin": 1}
    gate = {"must_improve": [{"metric": "evaluate.reward"}], "must_not_lose": [metric]}
    loop = {"benchmark_files": {"gsm8k": {"problems": str(problems)}}, **settings.pop("loop", {})}
    return changed(given, promote=gate, loop=loop, **settings)


@pytest.mark.parametrize(
    ("loop", "measured"),
    [
        ({}, {0: [0], 3: [3]}),
        ({"promote": "every_iteration"}, {0: [0], 1: [1], 2: [2], 3: [3]}),
        ({"early_stop": {"patience": 1}}, {0: [0], 2: [1]}),  # stalled: the best policy is the result
        ({"early_stop": {"patience": 2}}, {0: [0], 3: [1]}),
        ({"benchmarks": ["gsm8k"], "early_stop": {"patience": 2}}, {0: [0], 1: [1], 2: [2], 3: [3]}),
        ({"benchmarks": ["gsm8k"], "evaluate": "last_iteration"}, {0: [0], 3: [3]}),
    ],
)
def test_benchmarks_are_taken_of_what_goes_through_the_gate_and_those_of_the_loop_of_each_evaluated_policy(
    loop: Given, measured: dict[int, list[int]], given: Given, tiny_world: Path, taken: list[tuple[str, int | None]]
) -> None:
    run = begin(guarded(given, tiny_world / "heldout.jsonl", loop=loop), "/kfp/checked").run
    for iteration in [i for i in range(max(measured) + 1) if RunContext.at(run).plan.measures(i, 3)]:
        taken.clear()
        rounds.evaluate(run, str(iteration))
        expected = [("gsm8k", i) for i in measured.get(iteration, [])]
        assert taken == [("evaluate", iteration), *expected]


@pytest.mark.parametrize("loop", [{"promote": "every_iteration"}, {"benchmarks": ["gsm8k"]}])
def test_the_next_round_waits_for_the_benchmarks_of_the_one_before(
    loop: Given, given: Given, tiny_world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from larpo_lib.pipeline.gate import gate

    run = begin(guarded(given, tiny_world / "heldout.jsonl", loop=loop), "/kfp/checked").run
    for step in ("train-1", "evaluate-1", "promote-1"):
        with Journal(str(tmp_path / "one"), "job").step(step):
            pass
    assert gate(run, "2") == "skip"
    assert "no gsm8k-1" in capsys.readouterr().err


def test_a_file_that_no_pod_finds_is_refused_by_the_first_task(given: Given) -> None:
    with pytest.raises(ConfigError, match=r"loop\.benchmark_files\.gsm8k\.problems: /nowhere: no such file"):
        begin(guarded(given, Path("/nowhere")), "/kfp/checked")
