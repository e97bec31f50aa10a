"""What unit tests of several modules share."""

import random
from pathlib import Path

import pytest
from small_models import make_classifier, write_prompts

from larpo_lib.playground.problems import make_problems


@pytest.fixture(scope="session")
def tiny_prompts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten word problems with their solutions; not to be written to."""
    problems = make_problems(10, random.Random(0))
    questions = [(problem.question, problem.solution) for problem in problems]
    return write_prompts(tmp_path_factory.mktemp("tiny") / "prompts", questions)


@pytest.fixture(scope="session")
def tiny_classifier(tiny_policy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A reward model that reads the tokens of `tiny_policy`; not to be written to."""
    directory = tmp_path_factory.mktemp("tiny") / "classifier"
    make_classifier(directory, tiny_policy)
    return directory
