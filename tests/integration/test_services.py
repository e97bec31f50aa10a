"""The servers that tests start end with the test, however it ends."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

KILLED = """
import os, signal, sys
from pathlib import Path
from services.processes import process_group
with process_group() as group:
    print(group.start(["sleep", "600"], Path(sys.argv[1])).pid, flush=True)
    if sys.argv[2] == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
"""


def is_alive(pid: int) -> bool:
    state = Path(f"/proc/{pid}/stat")
    return state.exists() and state.read_text().rpartition(") ")[2][0] != "Z"


def test_no_process_outlives_the_test_that_started_it(tmp_path: Path) -> None:
    tests = str(Path(__file__).parents[1])
    for end, code in (("regular", 0), ("killed", -signal.SIGKILL)):
        done = subprocess.run(
            [sys.executable, "-c", KILLED, str(tmp_path / "log"), end],
            check=False,
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHONPATH": tests},
        )
        assert done.returncode == code, done.stderr
        deadline = time.monotonic() + 20
        while is_alive(int(done.stdout)) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not is_alive(int(done.stdout))
