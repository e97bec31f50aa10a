"""A check of rows against others."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from annotation_rows import written

from larpo_lib.artifacts import Metrics
from larpo_lib.evaluation.judge_check import step
from larpo_lib.evaluation.judge_check.settings import JudgeCheckConfig


@pytest.fixture
def check(tmp_path: Path) -> Callable[..., Metrics]:
    """Checks rows against others, each a list of annotations."""

    def check(
        reference: list[dict[str, Any]], judged: list[dict[str, Any]], name: str = "check", **settings: Any
    ) -> Metrics:
        given = {"reference": reference, "judged": judged}
        files = {role: [written(tmp_path / f"{role}.json", rows)] for role, rows in given.items()}
        config = JudgeCheckConfig(resamples=40).model_copy(update=settings)
        return step.run(config, **files, evaluation=tmp_path / name)

    return check
