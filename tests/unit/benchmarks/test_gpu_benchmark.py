"""The benchmark for GPUs: its arithmetic, and that no part can end the others."""

import json
import math
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from only_these import hide_all_but
from torch.nn.functional import logsigmoid

from benchmarks.gpu import guard
from benchmarks.gpu.guard import finish, run_parts, start
from benchmarks.gpu.parts import PARTS, Bench, Part, read_rows
from benchmarks.gpu.shapes import LLAMA_1B, LLAMA_8B, QWEN_1_5B, QWEN_8B, SMOL, make
from benchmarks.gpu.table import markdown
from benchmarks.gpu.training import WORKLOADS, figures_of, pairwise
from benchmarks.workloads import even_lists

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize(
    ("shape", "parameters"),  # as their makers publish them
    [
        (LLAMA_1B, 1_235_814_400),
        (QWEN_1_5B, 1_543_714_304),
        (LLAMA_8B, 8_030_261_248),
        (QWEN_8B, 8_190_735_360),
        (SMOL, 134_515_008),
    ],
)
def test_shapes_are_those_of_the_published_models(shape, parameters) -> None:
    assert sum(p.numel() for p in make(shape, "meta").parameters()) == parameters


def test_mfu_by_hand(monkeypatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _device: "NVIDIA H200")
    lists = even_lists(4, 4, prompt=512, response=256, vocabulary=128_256, seed=0)
    figures = figures_of(make(LLAMA_8B, "meta"), lists, 2.0, "cuda")
    # 218,112,000 weights a layer, 32 layers, and a norm; a token sees 512.5 on average
    body = 6 * (32 * 218_112_000 + 4_096) + 12 * 32 * 32 * 128 * 512.5
    flops = 4 * 1_536 * body + 4 * 1_024 * 6 * 525_336_576
    assert figures == pytest.approx({"seconds": 2.0, "tokens_per_s": 3_072.0, "mfu": flops / 2.0 / 989e12})
    assert figures["mfu"] == pytest.approx(0.13911, abs=1e-5)


def test_a_gpu_that_is_not_listed_has_no_mfu(monkeypatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _device: "NVIDIA A1000")
    lists = even_lists(1, 4, prompt=8, response=4, vocabulary=100, seed=0)
    assert "mfu" not in figures_of(make(SMOL, "meta"), lists, 1.0, "cuda")


def test_the_loss_of_pairs_is_that_of_dpo_and_of_lists_its_mean() -> None:
    logps = torch.tensor([[-3.0, -5.0, -4.0]])
    by_hand = -sum(logsigmoid(torch.tensor(0.1 * gap)) for gap in (2.0, 1.0, -1.0)) / 3
    assert float(pairwise(logps)) == pytest.approx(float(by_hand))
    assert float(pairwise(torch.zeros(1, 8))) == pytest.approx(math.log(2))


def test_workloads_have_the_size_that_they_state() -> None:
    for workload in WORKLOADS.values():
        for responses in (4, 8):
            tokens = sum(len(i.prompt) + sum(map(len, i.responses)) for i in workload.even(responses, 1_000))
            assert 0.8 * workload.step_tokens <= tokens <= workload.step_tokens


def test_a_measurement_that_fails_is_a_row_and_the_next_one_is_made(tmp_path) -> None:
    bench = Bench("cpu", tmp_path / "rows")
    with bench.about("Llama"), bench.about("lists of 8"):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB\nmore")
    with bench.about("Llama"):
        bench.tell("rate", 2.0, "tokens/s", ok=True, peak_gib=1.5)
    failed, row = read_rows(tmp_path / "rows")
    assert (failed["what"], failed["ok"]) == ("Llama: lists of 8: failed", False)
    assert failed["value"] == "OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB"
    assert row == {"what": "Llama: rate", "value": 2.0, "unit": "tokens/s", "peak_gib": 1.5, "ok": True}


def test_an_error_of_the_gpu_ends_the_part(tmp_path) -> None:
    bench = Bench("cpu", tmp_path / "rows")
    with pytest.raises(RuntimeError, match="illegal memory access"), bench.about("Llama"):
        raise RuntimeError("CUDA error: an illegal memory access was encountered")


def test_a_part_that_hangs_is_stopped_with_what_it_started(tmp_path) -> None:
    child = "import subprocess as s, sys; print(s.Popen(['sleep', '60']).pid, flush=True); s.os.wait()"
    assert finish(start([sys.executable, "-S", "-c", child], tmp_path / "log"), 0.5) is None
    pid = int((tmp_path / "log").read_text())
    for _ in range(100):  # until init has taken it
        if not Path(f"/proc/{pid}").exists() or "Z" in Path(f"/proc/{pid}/stat").read_text().split()[2]:
            break
        time.sleep(0.02)
    else:
        pytest.fail("the child goes on")


def test_what_a_part_has_measured_stays_whatever_ends_it(tmp_path, monkeypatch) -> None:
    def measures_then_aborts(part, _device, folder):
        (folder / f"{part.name}.jsonl").write_text('{"what": "rate", "value": 1, "unit": ""}\n{"what": "cut o')
        code = "import os; print('bad kernel', flush=True); os.abort()"
        return start([sys.executable, "-S", "-c", code], folder / f"{part.name}.log")

    monkeypatch.setattr(guard, "start_part", measures_then_aborts)
    loss = Part("loss", "what it shows", "loss", 5)
    (report,) = run_parts([loss], "cpu", tmp_path, time.monotonic() + 60)
    assert report["rows"] == [{"what": "rate", "value": 1, "unit": ""}]
    assert report["state"] == "failed"
    assert report["why"] == "signal SIGABRT: bad kernel (see loss.log)"


def test_parts_that_cannot_run_say_why(tmp_path) -> None:
    lacking = Part("trl", "", "peers", 5, needs=("json", "no_such_package"))
    reports = run_parts([lacking, Part("loss", "", "loss", 5)], "cpu", tmp_path, time.monotonic() + 3)
    assert [report["why"] for report in reports] == ["not installed: no_such_package", "no time was left"]


def test_the_next_part_loads_while_one_runs_and_begins_when_that_is_done(tmp_path, monkeypatch) -> None:
    def begins_when_told(part, _device, folder):
        code = (
            "import sys, time, pathlib; pathlib.Path(sys.argv[1]).write_text('loaded'); assert sys.stdin.readline()\n"
            "print('begins', time.monotonic()); time.sleep(1); print('ends', time.monotonic())"
        )
        command = [sys.executable, "-S", "-c", code, str(folder / f"{part.name}.loaded")]
        return start(command, folder / f"{part.name}.log")

    monkeypatch.setattr(guard, "start_part", begins_when_told)
    parts = [Part(name, "", "loss", 30) for name in ("one", "two")]
    reports = run_parts(parts, "cpu", tmp_path, time.monotonic() + 60)
    assert next(reports)["state"] == "done"
    assert (tmp_path / "two.loaded").exists()
    assert (tmp_path / "two.log").read_text() == ""
    assert next(reports)["state"] == "done"
    ends = float((tmp_path / "one.log").read_text().split()[-1])
    assert float((tmp_path / "two.log").read_text().split()[1]) > ends


def test_a_part_that_waits_ends_with_whoever_started_it(tmp_path) -> None:
    command = [sys.executable, "-m", "benchmarks.gpu.part", "machine", "--device", "cpu", "--rows", str(tmp_path / "r")]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.splitlines()[-1].endswith("libraries are loaded")
    assert not (tmp_path / "r").exists()


def test_the_table_has_every_part_and_row() -> None:
    machine = {"name": "machine", "shows": "it", "state": "done", "seconds": 1.0}
    rows = [{"what": "driver", "value": "580.1", "unit": ""}, {"what": "product", "value": 788.25, "unit": "TFLOP/s"}]
    loss = {"name": "loss", "shows": "a|b", "state": "stopped", "why": "it took longer than 9 s", "seconds": 9.0}
    wrong = [{"what": "values", "value": 0.1234, "unit": "", "ok": False, "peak_gib": 2}]
    parts = [{**machine, "rows": rows}, {**loss, "rows": wrong}]
    found = {"date": "2026-11-29", "command": "python -m benchmarks.gpu", "dry_run": False, "parts": parts}
    assert markdown(found).splitlines() == [
        "| part | what | value | right |",
        "|---|---|---|---|",
        "| **machine** | it | done (1 s) |  |",
        "|  | driver | 580.1 |  |",
        "|  | product | 788 TFLOP/s |  |",
        "| **loss** | a\\|b | stopped: it took longer than 9 s (9 s) |  |",
        "|  | values | 0.123; peak gib 2 | **no** |",
        "",
        "2026-11-29, `python -m benchmarks.gpu`: driver 580.1.",
    ]


def test_what_proves_most_needs_torch_and_transformers_alone(tmp_path) -> None:
    """In a process that sees nothing else, and not even pydantic, which some versions of their needs bring along."""
    brought = ["pydantic", "pydantic-core", "annotated-types", "typing-inspection"]
    hide_all_but(["torch", "transformers", "accelerate"], tmp_path, but_not=brought)
    alone = [part for part in PARTS if not part.needs]
    assert [part.name for part in alone] == ["machine", "attention", "loss", "training-1.5b", "training-8b"]
    code = (
        "import importlib, json, sys, pathlib\n"
        "from benchmarks.gpu import parts, training\n"
        "missing = [name for name in ('pydantic', 'trl', 'mlflow', 'pyarrow') if importlib.util.find_spec(name)]\n"
        "assert not missing, missing\n"
        f"for name in {[part.module for part in alone]!r}: importlib.import_module(f'benchmarks.gpu.{{name}}')\n"
        "training.run(parts.Bench('cpu', pathlib.Path(sys.argv[1])), '8b')\n"
        "print(json.dumps({part.name: part.missing for part in parts.PARTS}))\n"
    )
    environment = {"PYTHONPATH": f"{tmp_path}:{ROOT}", "OMP_NUM_THREADS": "1", "PATH": "/usr/bin:/bin"}
    command = [sys.executable, "-c", code, str(tmp_path / "rows")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    missing = json.loads(done.stdout.splitlines()[-1])
    assert missing["trl"] == ["trl", "datasets", "pydantic", "pyarrow"]
    assert missing["sampling"] == ["pydantic", "pyarrow"]
    rows = read_rows(tmp_path / "rows")
    steps = [row for row in rows if "peak_gib" in row]
    assert [row["ok"] for row in steps] == [True] * 12
    assert {row["mfu"] for row in steps} == {"left out, peak not known"}
