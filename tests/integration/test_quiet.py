"""A command in a fresh process says what larpo says; the libraries that it loads say nothing of their own."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

from larpo_lib.artifacts import read_metrics

SAID = (
    r"48 responses do not say how they ended: the policy is trained to end there \(unknown_end\)\ntrain: 3/3 in "
    r"[\d.]+ s\n"
)


def test_a_training_prints_its_metrics_and_larpos_own_lines_alone(here: Path) -> None:
    given = ["--policy", "policy", "--demonstrations", "shown", "--config", "larpo.toml", "--trained", "trained"]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-m", "larpo_lib", "sft", *given]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == read_metrics(here / "trained")
    assert re.fullmatch(SAID, done.stderr), done.stderr
