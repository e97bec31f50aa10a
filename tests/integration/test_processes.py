"""Several processes train what one does, however they share the model; and go on from one another's checkpoints."""

import fcntl
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from forked import forked, forked_as_torchrun, run_as_torchrun
from safetensors.torch import load_file
from services.processes import free_port
from table_rows import preferences, with_table

from larpo_lib import heartbeat
from larpo_lib.config import LaunchConfig, LoraConfig, ModelConfig, TrainConfig
from larpo_lib.errors import LarpoError
from larpo_lib.heartbeat import CELLS, shared_cells
from larpo_lib.objectives.pointwise import kto
from larpo_lib.playground.policy import make_policy
from larpo_lib.playground.problems import vocabulary
from larpo_lib.steps import train
from larpo_lib.training.history import read_history

SETTINGS: dict[str, Any] = {
    "model": ModelConfig(device="cpu"),
    "learning_rate": 1e-3,
    "warmup_ratio": 0.0,
    "weight_decay": 0.01,
    "batch_size": 4,
    "micro_batch_tokens": 60,
    "max_prompt_tokens": 64,
    "max_tokens": 96,
    "epochs": 1,
}
WAYS = [
    LaunchConfig(launcher="torchrun", nproc=2),
    *(LaunchConfig(launcher="deepspeed", nproc=2, zero_stage=stage) for stage in (0, 1, 2, 3)),
]


def _row(number: int, rng: random.Random) -> dict[str, Any]:
    """A list of two to five responses of one to twelve tokens each."""
    messages = [{"role": "user", "content": "Ann " * rng.randint(1, 9) + f"has {number}"}]
    responses = [f"{number} {i}" for i in range(rng.randint(2, 5))]
    tokens = [[rng.randint(5, 30) for _ in range(rng.randint(0, 11))] + [4] for _ in responses]
    return preferences(messages, responses, [float(-i) for i in range(len(responses))], token_ids=tokens)


@pytest.fixture(scope="module")
def lists(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eleven lists: with four a step, the last step has three, one of which a process trains alone."""
    rng = random.Random(0)
    return with_table(tmp_path_factory.mktemp("lists"), "lists", [_row(i, rng) for i in range(11)])


Run = Callable[..., tuple[dict[str, torch.Tensor], list[dict[str, float]]]]


@pytest.fixture(scope="module")
def run(tiny_policy: Path, lists: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Train; returns the published weights and the history."""

    def run(
        out: Path | None = None, reference: Path | None = None, **changes: Any
    ) -> tuple[dict[str, torch.Tensor], list[dict[str, float]]]:
        trained = (out or tmp_path_factory.mktemp("run")) / "trained"
        _train(TrainConfig(**SETTINGS | changes).model_dump_json(), tiny_policy, lists, trained, reference)
        return load_file(trained / "model.safetensors"), read_history(trained)

    return run


@pytest.fixture(scope="module")
def run_two(tiny_policy: Path, lists: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """As `run`, by two processes that are started as torchrun starts them, and without the seconds that it takes."""

    def run_two(
        out: Path | None = None, reference: Path | None = None, **changes: Any
    ) -> tuple[dict[str, torch.Tensor], list[dict[str, float]]]:
        folder = out or tmp_path_factory.mktemp("two")
        config = TrainConfig(**SETTINGS | changes).model_dump_json()
        run_as_torchrun(_train, config, tiny_policy, lists, folder / "trained", reference, folder=folder)
        return load_file(folder / "trained" / "model.safetensors"), read_history(folder / "trained")

    return run_two


def _train(config: str, policy: Path, lists: Path, trained: Path, reference: Path | None = None) -> None:
    def log(_row: Any, step: int) -> None:
        with (trained.parent / "steps").open("a") as steps:
            steps.write(f"{step}\n")

    settings = TrainConfig.model_validate_json(config)
    train.run(settings, policy=policy, lists=lists, trained=trained, reference=reference, log=log)


def _steps(out: Path) -> list[int]:
    """The optimiser steps that were taken in a folder, in turn."""
    return [int(step) for step in (out / "steps").read_text().split()]


@pytest.fixture(scope="module")
def alone(run: Run) -> Any:
    """What one process makes."""
    return run()


def _assert_same(found: Any, expected: Any) -> None:
    weights, history = found
    assert weights.keys() == expected[0].keys()
    for name, value in expected[0].items():
        torch.testing.assert_close(
            weights[name], value, atol=2e-6, rtol=1e-4, msg=lambda text, name=name: f"{name}: {text}"
        )
    for one, other in zip(history, expected[1], strict=True):
        assert other.keys() - one.keys() <= {"grad_norm"}  # DeepSpeed's stage 0 tells none
        assert one == pytest.approx({name: other[name] for name in one}, rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("launch", WAYS, ids=lambda way: f"{way.launcher}-{way.zero_stage}")
def test_two_processes_train_what_one_does(run: Run, run_two: Run, alone: Any, launch: LaunchConfig) -> None:
    together = run if launch.launcher == "torchrun" else run_two
    _assert_same(together(launch=launch), alone)


def test_the_kl_estimate_is_over_all_processes(run: Run, run_two: Run) -> None:
    launch = LaunchConfig(launcher="deepspeed", nproc=2, zero_stage=3)
    _assert_same(run_two(objective=kto.settings(), launch=launch), run(objective=kto.settings()))


LONG = {"epochs": 15, "save_steps": 7, "learning_rate": 1e-4, "schedule": "linear"}


@pytest.fixture(scope="module")
def long_run(run: Run) -> Any:
    """Forty-five steps that nobody interrupted, in one process."""
    return run(**LONG)


@pytest.mark.parametrize(
    ("before", "end", "after"),
    [
        (LaunchConfig(launcher="deepspeed", nproc=2, zero_stage=3), "kill", LaunchConfig()),
        (
            LaunchConfig(launcher="deepspeed", nproc=2, zero_stage=3),
            "terminate",
            LaunchConfig(launcher="deepspeed", nproc=2, zero_stage=2),
        ),
        (LaunchConfig(launcher="torchrun", nproc=2), "hang", LaunchConfig(launcher="deepspeed", nproc=1, zero_stage=1)),
    ],
    ids=["two-killed-then-one", "two-stopped-then-two", "one-hung-then-deepspeed"],
)
def test_another_number_of_processes_goes_on_from_the_exact_step(
    run: Run,
    run_two: Run,
    long_run: Any,
    lists: Path,
    tiny_policy: Path,
    tmp_path: Path,
    before: LaunchConfig,
    end: str,
    after: LaunchConfig,
) -> None:
    step = _ended_after_a_checkpoint(before, end, lists, tiny_policy, tmp_path)
    assert 0 < step < 45
    assert (step % LONG["save_steps"] == 0) == (end != "terminate")
    (tmp_path / "steps").unlink(missing_ok=True)
    found = (run_two if after.nproc == 2 else run)(tmp_path, launch=after, **LONG)
    assert _steps(tmp_path) == list(range(step + 1, 46))
    _assert_same(found, long_run)


def _ended_after_a_checkpoint(launch: LaunchConfig, end: str, lists: Path, policy: Path, out: Path) -> int:
    """Start a training, and end it once there is a checkpoint: kill the process that started it, stop one of those that
    train for good, or ask them to end. Wait for all to end.

    Returns:
        The step of the newest whole checkpoint.
    """
    config = TrainConfig(**SETTINGS | LONG | {"launch": launch})
    paths = (policy, lists, out / "trained")
    if end == "terminate":
        processes = forked_as_torchrun(_train, config.model_dump_json(), *paths, folder=out)
    else:
        (out / "temporary").mkdir()
        variables = {**os.environ, "TMPDIR": str(out / "temporary")}
        starter = forked(_start, config.model_dump_json(), *paths, output=out / "0.log", environment=variables)
        processes = [starter]
    while not list(out.glob(".trained.partial/*/scratch/checkpoints/step-*")):
        assert [process.poll() for process in processes] == [None] * len(processes)
        time.sleep(0.01)
    if end == "hang":
        (cells,) = out.glob("temporary/larpo-*/heartbeats")
        pid = shared_cells(cells, 2)[CELLS]
        os.kill(pid, signal.SIGSTOP)
    else:
        for process in processes:
            getattr(process, end)()
    assert [process.wait(60) for process in processes] == {"terminate": [143, 143], "kill": [-9], "hang": [1]}[end]
    while _locked(out / ".trained.lock"):
        time.sleep(0.05)
    assert not (out / "trained").exists()
    whole = sorted(out.glob(".trained.partial/*/scratch/checkpoints/step-*"))
    step = int(whole[-1].name.removeprefix("step-"))
    told = "".join(log.read_text() for log in out.glob("*.log"))
    if end == "terminate":
        assert f"train: stopped. Kept up to step {step}; the same command goes on from there\n" in told
        assert "Traceback" not in told
    if end == "hang":
        assert f"HangError: training process 1 (process id {pid}) showed no sign of life for " in told
        assert list((out / "temporary").iterdir()) == []
    return step


def _start(*arguments: Any) -> None:
    """Train, with little patience for processes that hang, and with temporary files where the environment says."""
    heartbeat._SILENCE_S = 5.0
    tempfile.tempdir = None
    _train(*arguments)


def _locked(path: Path) -> bool:
    """Whether a process is left that makes the artifact: the others die with the one that started them."""
    with path.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


@pytest.mark.parametrize(
    ("launch", "changes"),
    [
        (LaunchConfig(launcher="deepspeed", nproc=2, zero_stage=2, offload=True), {"gradient_checkpointing": True}),
        (LaunchConfig(launcher="deepspeed", nproc=2, zero_stage=3), {"gradient_checkpointing": True}),
        (LaunchConfig(launcher="torchrun", nproc=2), {"lora": LoraConfig(r=2)}),
        (LaunchConfig(launcher="deepspeed", nproc=2, zero_stage=3), {"lora": LoraConfig(r=2)}),
    ],
    ids=["offload-checkpointing", "stage-3-checkpointing", "torchrun-lora", "stage-3-lora"],
)
def test_what_saves_memory_changes_nothing(
    run: Run, run_two: Run, launch: LaunchConfig, changes: dict[str, Any]
) -> None:
    lora = {name: value for name, value in changes.items() if name == "lora"}
    _assert_same(run_two(launch=launch, **changes), run(**lora))


def test_a_fixed_reference_is_scored_by_all_processes(run: Run, run_two: Run, tmp_path: Path) -> None:
    """It is whole on each of them, though stage 3 will share out the policy."""
    make_policy(tmp_path, vocabulary(), 1, hidden=32, layers=2, heads=2)
    launch = LaunchConfig(launcher="deepspeed", nproc=2, zero_stage=3)
    found = run_two(reference=tmp_path, launch=launch, max_steps=1)
    _assert_same(found, run(reference=tmp_path, max_steps=1))
    assert abs(found[1][0]["kl"]) > 0.01


@pytest.mark.parametrize("stage", [2, 3])
def test_bfloat16_differs_by_its_rounding(run_two: Run, alone: Any, stage: int) -> None:
    model = ModelConfig(device="cpu", dtype="bfloat16")
    launch = LaunchConfig(launcher="deepspeed", nproc=2, zero_stage=stage)
    weights, history = run_two(launch=launch, model=model)
    expected, exact = alone
    assert history[0]["kl"] == 0  # the reference was scored as the policy is, in the same rows
    assert history[0]["start_log_ratio_max_abs"] == 0
    assert [row["loss"] for row in history] == pytest.approx([row["loss"] for row in exact], rel=0.02)
    for name, value in expected.items():
        torch.testing.assert_close(weights[name].float(), value, atol=4e-3, rtol=2**-8)


def test_several_machines_meet_by_torchruns_variables(
    alone: Any, lists: Path, tiny_policy: Path, tmp_path: Path
) -> None:
    """Two machines of one process each, both of them this one; the second has an output of its own, and leaves it."""
    config = TrainConfig(**SETTINGS, launch=LaunchConfig(launcher="torchrun", nproc=1))
    meeting = {"PET_NNODES": "2", "PET_MASTER_ADDR": "127.0.0.1", "PET_MASTER_PORT": str(free_port())}
    machines = [
        forked(
            _train,
            *(config.model_dump_json(), tiny_policy, lists, tmp_path / str(rank) / "trained"),
            output=tmp_path / f"{rank}.log",
            environment={**os.environ, **meeting, "PET_NODE_RANK": str(rank)},
        )
        for rank in range(2)
    ]
    assert [machine.wait() for machine in machines] == [0, 0]
    trained = tmp_path / "0" / "trained"
    _assert_same((load_file(trained / "model.safetensors"), read_history(trained)), alone)
    assert not (tmp_path / "1").exists()


def test_a_forked_program_begins_with_its_imports(tmp_path: Path) -> None:
    """Without them every start takes seconds longer, and nothing else tells."""
    assert forked(_look_for_imports, output=tmp_path / "output").wait() == 0


def _look_for_imports() -> None:
    assert {"deepspeed", "matplotlib.pyplot", "mlflow"} <= sys.modules.keys()


def test_a_users_mistake_in_a_process_is_told_in_one_line(run: Run, capfd: pytest.CaptureFixture[str]) -> None:
    launch = LaunchConfig(launcher="torchrun", nproc=2)
    with pytest.raises(
        LarpoError, match=r"^.*lists\d*: no list is left to train on: .*\. Increase train.max_tokens\.$"
    ):
        run(launch=launch, max_prompt_tokens=3, max_tokens=4)
    assert "Traceback" not in capfd.readouterr().err


def test_what_is_there_already_is_not_made_again(run: Run, run_two: Run, tmp_path: Path) -> None:
    first = run(tmp_path)
    again = run_two(tmp_path, launch=LaunchConfig(launcher="torchrun", nproc=2))
    _assert_same(again, first)
    assert _steps(tmp_path) == [1, 2, 3]
