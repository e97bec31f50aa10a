"""A user's own function as a judge."""

from pathlib import Path
from typing import Any

import pytest

from larpo_lib.artifacts import produce
from larpo_lib.config import EvaluateConfig
from larpo_lib.errors import ConfigError, LarpoError
from larpo_lib.provenance import judge_name
from larpo_lib.rewards.answers import Scorable
from larpo_lib.rewards.judges import Judge, make_judge
from larpo_lib.rewards.judges.function import FunctionJudgeConfig
from larpo_lib.rewards.judges.verifier import VerifierJudgeConfig


def judge(tmp_path: Path, source: str, **settings: Any) -> Judge:
    (tmp_path / "mine.py").write_text(source)
    made = make_judge(FunctionJudgeConfig(target=f"{tmp_path}/mine.py:f", **settings))
    assert made is not None
    return made


def item(response: str, reference: str | None = None) -> Scorable:
    return Scorable("p", [], response, reference, {"level": 3})


def test_it_says_true_false_or_none(tmp_path: Path) -> None:
    source = "def f(responses, references, level): return [r and t == r for t, r in zip(responses, references)]"
    given = [item("<think>no</think>a", "a"), item("b", "a"), item("c")]
    assert judge(tmp_path, source).judge(given) == [True, False, None]
    assert judge(tmp_path, source, thinking="keep").judge(given) == [False, False, None]


def test_numbers_and_what_numpy_has_for_true_and_false_are_taken(tmp_path: Path) -> None:
    values = "[1, 0, np.True_, np.bool_(False), np.int64(1), torch.tensor(False), None]"
    found = judge(tmp_path, f"import numpy as np, torch\ndef f(responses): return {values}").judge([item("a")] * 7)
    assert [repr(each) for each in found] == ["True", "False", "True", "False", "True", "False", "None"]


@pytest.mark.parametrize("value", ["2", "-1", "0.0", "'True'", "'1'", "float('nan')", "[True]"])
def test_other_values_are_refused(tmp_path: Path, value: str) -> None:
    with pytest.raises(LarpoError, match=r"mine\.py:f gave .* for 'a'; a judge says True, False or None; prompt p"):
        judge(tmp_path, f"def f(responses): return [{value}]").judge([item("a")])


def test_a_list_relative_one_is_refused(tmp_path: Path) -> None:
    source = "from larpo_lib.rewards import list_relative\n@list_relative\ndef f(responses): return [True]"
    (tmp_path / "mine.py").write_text(source)
    with pytest.raises(ConfigError, match="is list-relative, but a judge says of each response"):
        FunctionJudgeConfig(target=f"{tmp_path}/mine.py:f").check()


def test_accuracies_of_different_functions_are_told_apart(tmp_path: Path) -> None:
    """By all that decides a verdict: the file's content, the name, the settings; not by where the file is."""
    names = []
    for number, (place, source, settings) in enumerate(
        [("a", "1", {}), ("b", "1", {}), ("a", "2", {}), ("a", "1", {"x": 1}), ("a", "1", {"thinking": "keep"})]
    ):
        (tmp_path / place).mkdir(exist_ok=True)
        (tmp_path / place / "mine.py").write_text(f"def f(responses, x=0): return {source}")
        thinking = settings.pop("thinking", "strip")
        config = FunctionJudgeConfig(target=f"{tmp_path}/{place}/mine.py:f", settings=settings, thinking=thinking)
        output = tmp_path / f"evaluation-{number}"
        produce("evaluate", EvaluateConfig(judge=config), {}, output, lambda _: {})
        names.append(judge_name(output))
    assert names[0] == names[1]
    assert len(set(names)) == 4
    produce("evaluate", EvaluateConfig(judge=VerifierJudgeConfig(mode="math")), {}, tmp_path / "v", lambda _: {})
    assert judge_name(tmp_path / "v") == "verifier-math"
