"""Benchmarks are found by their folders, and what they declare holds."""

import re
import subprocess
import sys
from pathlib import Path

from larpo_lib import evaluation
from larpo_lib.config import LarpoConfig, section_class
from larpo_lib.evaluation import benchmarks
from larpo_lib.evaluation.benchmark import Number

FOLDERS = Path(evaluation.__file__).parent
NAMES = sorted(path.parent.name for path in FOLDERS.glob("*/settings.py"))


def test_folders_are_benchmarks_and_have_a_section_each() -> None:
    assert len(NAMES) > 5
    assert [*benchmarks()] == NAMES
    assert [one.name for one in benchmarks().values()] == NAMES
    assert [*LarpoConfig.model_fields][-len(NAMES) :] == NAMES
    for name, one in benchmarks().items():
        assert section_class(name) is one.settings()
    assert [LarpoConfig.model_fields[name].default for name in ("alpaca_eval", "mixeval")] == [None, None]


def test_declarations_are_read_without_what_benchmarks_need() -> None:
    """Else `larpo --help` would not answer at once."""
    program = "import sys; from larpo_lib.evaluation import benchmarks; print(len(benchmarks()), *sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    count, *loaded = done.stdout.split()
    assert count == str(len(NAMES))
    assert {"pydantic", "numpy", "torch", "transformers", "pyarrow"}.isdisjoint(loaded)


def test_no_benchmark_knows_of_another_one() -> None:
    for file in FOLDERS.glob("*/*.py"):
        named = set(re.findall(r"larpo_lib\.evaluation\.(\w+)", file.read_text("utf-8")))
        assert named.intersection(NAMES) <= {file.parent.name}, file


def test_a_family_of_numbers_is_filled_in_and_explained() -> None:
    assert benchmarks()["retrieval"].number("{key}_recall_at_{n}", key="embedding", retriever="MiniLM", n=5) == Number(
        "embedding_recall_at_5",
        "MiniLM, Recall@5",
        "",
        "Fraction of a query's relevant documents that are among the first N found by MiniLM. Not comparable across"
        " corpora; with the policy's Recall@N or Pass@N, only the shape is comparable.",
        by_responses=False,
    )
    explained = benchmarks()["gsm8k"].explanations()
    assert explained["pass_at_n"].startswith("In %: Probability that")
