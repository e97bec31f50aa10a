"""CONTRIBUTING's modules, as if they stood in their rooms: settings, doctor and documents know them by themselves."""

import re
import runpy
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch

from larpo_lib import doctor
from larpo_lib.config import LarpoConfig, load_config
from larpo_lib.config.kinds import JudgeConfig, ObjectiveConfig, RerankerConfig, SamplerConfig, SelectionConfig
from larpo_lib.config.registry import Kind, forget_entries
from larpo_lib.errors import ConfigError
from larpo_lib.objectives import ListBatch
from larpo_lib.rewards.answers import Scorable
from larpo_lib.rewards.judges import make_judge
from larpo_lib.rewards.rerankers import make_reranker
from larpo_lib.samplers import Request, SamplingLimits, make_sampler

ROOT = Path(__file__).parents[2]
Add = Callable[[type[Kind]], str]


@pytest.fixture
def add(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Add]:
    """Puts the module of CONTRIBUTING that is of a kind into its room; gives its type."""
    text = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    before = set(sys.modules)

    def put(kind: type[Kind]) -> str:
        path = kind.room.replace(".", "/")
        name, body = re.findall(rf"`{path}/(\w+)\.py`[^`]*```python\n(.*?)```", text, re.DOTALL)[0]
        (tmp_path / f"{name}.py").write_text(body)
        known = set(kind.entries())
        monkeypatch.setattr(import_module(kind.room), "__path__", [*import_module(kind.room).__path__, str(tmp_path)])
        forget_entries()
        (added,) = set(kind.entries()) - known
        return added

    yield put
    monkeypatch.undo()
    forget_entries()
    for name in {*sys.modules} - before:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


def _config(*settings: str) -> LarpoConfig:
    return load_config(None, ["policy=p", "prepare.source=s", "prepare.heldout=1", *settings])


def test_an_objective(add: Add) -> None:
    assert add(ObjectiveConfig) == "hinge"
    objective = _config("train.objective.type=hinge", "train.objective.beta=0.05").train.objective
    logps, ones = torch.tensor([[-10.0, -30.0]]), torch.ones(1, 2)
    batch = ListBatch(logps, torch.tensor([[-14.0, -20.0]]), ones, torch.tensor([[1.0, 0.0]]), ones.bool())
    assert objective.loss(batch).item() == pytest.approx(0.3)
    written = runpy.run_path(str(ROOT / "docs" / "generate_tables.py"))["guide"]()
    assert (
        "| `hinge` | ranks every better response before every worse one, by a margin | an example "
        "| `beta` (0.1)," in written
    )


def test_a_reranker(add: Add) -> None:
    assert add(RerankerConfig) == "words"
    config = _config("rerank.reranker.type=words", "rerank.reranker.words=3").rerank.reranker
    items = [Scorable("p", [], text) for text in ("one two three", "one", "<think>hm</think>one two three")]
    assert make_reranker(config).score(items) == [0.0, -2.0, 0.0]
    assert "words" in next(found for found in doctor.diagnose() if found.name == "rerankers").detail.split(", ")
    with pytest.raises(ConfigError, match=r"has the unknown type 'wrods'.* verifier, classifier, .*words"):
        _config("rerank.reranker.type=wrods")
    written = runpy.run_path(str(ROOT / "docs" / "generate_configuration.py"))["document"]()
    assert "| `words` | integer > 0 | `12` | Number of words of the best response. |" in written


def test_a_judge(add: Add) -> None:
    assert make_judge(_config("evaluate.judge.mode=math").evaluate.judge).name == "verifier-math"  # type: ignore[union-attr]
    assert add(JudgeConfig) == "same_text"
    judge = make_judge(_config("evaluate.judge.type=same_text").evaluate.judge)
    assert judge is not None
    items = [Scorable("p", [], "The  answer", reference) for reference in ("the answer", "answer", None)]
    assert judge.judge(items) == [True, False, None]
    assert make_judge(_config("evaluate.judge.mode=math").evaluate.judge).name == "verifier-math"  # type: ignore[union-attr]


def test_a_sampler(add: Add, tmp_path: Path) -> None:
    assert add(SamplerConfig) == "phrases"
    (tmp_path / "lines.txt").write_text("yes\nno\nmaybe\n")
    config = _config("sample.sampler.type=phrases", f"sample.sampler.path={tmp_path / 'lines.txt'}").sample.sampler
    sampler = make_sampler(config, tmp_path, SamplingLimits(8, 8, 1.0))
    one, other = Request("p", [], 1.0, seed=4), Request("q", [], 1.0, seed=5)
    assert [response.text for response in sampler.sample([one, other])] == ["no", "maybe"]
    assert sampler.sample([other, one])[1] == sampler.sample([one])[0]


def test_a_selection(add: Add) -> None:
    assert add(SelectionConfig) == "best_middle_worst"
    selection = _config("lists.selection.type=best_middle_worst").lists.selection
    rows: list[Any] = [{"reward": reward} for reward in (5.0, 4.0, 3.0, 2.0)]
    assert [row["reward"] for row in selection.select(rows)] == [5.0, 3.0, 2.0]
    assert selection.select(rows[:1]) == rows[:1]


def test_the_guides_own_parts(tmp_path: Path, tiny_world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of them is one file with a few lines, and does what the guide says of it."""
    text = (ROOT / "docs" / "guide.md").read_text("utf-8")
    section = text.partition("## Your own parts\n")[2].partition("\n## ")[0]
    losses, check, selection, sampler = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    (reward,) = re.findall(r"`my_rewards.py`:\n\n```python\n(.*?)```", text, re.DOTALL)
    assert max(len(code.strip().splitlines()) for code in (losses, reward, selection, sampler)) <= 9
    for name, code in {"losses": losses, "selection": selection, "sampler": sampler, "test": check}.items():
        (tmp_path / f"my_{name}.py").write_text(code)
    monkeypatch.syspath_prepend(str(tmp_path))
    runpy.run_path(str(tmp_path / "my_test.py"))["test_hinge"]()
    del sys.modules["my_losses"]

    chosen = _config(
        "lists.selection.type=function", f"lists.selection.target={tmp_path}/my_selection.py:best_and_shorter"
    )
    rows: Any = [
        {"candidate_id": str(i), "prompt_id": "p", "reward": 3.0 - i, "response": response}
        for i, response in enumerate(["four", "longer", "two"])
    ]
    assert [row["response"] for row in chosen.lists.selection.select(rows)] == ["four", "two"]

    (tmp_path / "lines.txt").write_text("yes\nno\n")
    target = f"sample.sampler.target={tmp_path}/my_sampler.py:Phrases"
    config = _config("sample.sampler.type=function", target, f"sample.sampler.settings.path={tmp_path}/lines.txt")
    made = make_sampler(config.sample.sampler, tiny_world / "policy", SamplingLimits(8, 8, 1.0))
    assert [response.text for response in made.sample([Request("p", [], 1.0, seed=i) for i in (4, 5)])] == ["yes", "no"]
