"""Packages that register entries of their own by entry points, as they are when installed."""

import importlib
import logging
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from larpo_lib import doctor
from larpo_lib.config import LarpoConfig, ObjectiveConfig, RerankerConfig, load_config
from larpo_lib.config.kinds import KINDS, ChatRerankerConfig, SingleRerankerConfig
from larpo_lib.config.registry import forget_entries
from larpo_lib.errors import ConfigError

Install = Callable[..., None]

CODE = '''
from __future__ import annotations
from typing import ClassVar, Literal
from larpo_lib.config.kinds import SelectionConfig, SingleRerankerConfig
from larpo_lib.objectives import ListBatch, objective
from larpo_lib.rewards.rerankers import Reranker

@objective(does="nothing much", when="never", needs_reference=False)
def nothing(batch: ListBatch, *, weight: float = 1.0):
    """Nothing."""
    return weight * batch.policy_logps.sum(dim=1)

class LengthConfig(SingleRerankerConfig):
    """Longer is better."""
    type: Literal["letters"] = "letters"
    def make(self) -> Reranker:
        return Length()

class Length(Reranker):
    name = "length"
    def score(self, items):
        return [float(len(item.response)) for item in items]

class Misnamed(SingleRerankerConfig):
    type: Literal["other"] = "other"

class Verifier(SingleRerankerConfig):
    type: Literal["verifier"] = "verifier"

class Unread(SingleRerankerConfig):
    type: Literal["unread"] = "unread"
    path: Nowhere

class Chosen(SelectionConfig):
    type: Literal["chosen"] = "chosen"

def plain(batch):
    return batch
'''


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Puts a distribution into a folder on the path, as pip would, and takes it away after the test."""
    before = set(sys.modules)
    monkeypatch.syspath_prepend(str(tmp_path))

    def put(name: str, points: dict[str, list[str]], *, version: str = "1.2", code: str = CODE) -> None:
        module = f"{name.replace('-', '_')}_module"
        info = tmp_path / f"{name.replace('-', '_')}-{version}.dist-info"
        for old in tmp_path.glob(f"{name.replace('-', '_')}-*.dist-info"):
            old.rename(tmp_path / "gone")
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        lines = [
            f"[{group}]\n" + "\n".join(f"{each.replace('=', f' = {module}:')}" for each in points[group])
            for group in points
        ]
        (info / "entry_points.txt").write_text("\n".join(lines) + "\n")
        (tmp_path / f"{module}.py").write_text(code)
        importlib.invalidate_caches()
        forget_entries()

    yield put
    monkeypatch.undo()
    forget_entries()
    for module in set(sys.modules) - before:
        if str(tmp_path) in str(getattr(sys.modules[module], "__file__", "")):
            del sys.modules[module]


def config(*settings: str) -> LarpoConfig:
    return load_config(None, ["policy=p", "prepare.source=s", "prepare.heldout=1", *settings])


def found(name: str) -> doctor.Finding:
    """What `larpo doctor` says of a package."""
    return next(finding for finding in doctor._registered() if finding.name == name)


def test_what_a_package_registers_is_as_our_own(install: Install) -> None:
    untouched = config().train.objective.identity()
    install("larpo-extra", {"larpo.objectives": ["nothing=nothing"], "larpo.rerankers": ["letters=LengthConfig"]})
    chosen = config("train.objective.type=nothing", "train.objective.weight=2", "rerank.reranker.type=letters")
    assert chosen.train.objective.identity() == {"type": "nothing", "weight": 2.0, "package": "larpo-extra 1.2"}
    assert not chosen.train.objective.needs_reference
    assert chosen.rerank.reranker.make().name == "length"
    assert "letters" in SingleRerankerConfig.entries()
    assert "letters" not in ChatRerankerConfig.entries()
    assert config().train.objective.identity() == untouched  # the fingerprints of others stay
    assert LarpoConfig.model_validate(chosen.model_dump(mode="json")) == chosen
    told = found("larpo-extra")
    assert (told.ok, told.detail) == (True, "1.2, registers larpo.rerankers letters; larpo.objectives nothing")
    assert any(finding.name == "larpo-extra" for finding in doctor.diagnose())
    with pytest.raises(ConfigError, match=r"train\.objective\.weight': Input should be a valid number"):
        config("train.objective.type=nothing", "train.objective.weight=a")


def test_another_version_makes_another_fingerprint(install: Install) -> None:
    points = {"larpo.objectives": ["nothing=nothing"]}
    install("larpo-extra", points)
    before = config("train.objective.type=nothing").train.objective.identity()
    install("larpo-extra", points, version="1.3")
    after = config("train.objective.type=nothing").train.objective.identity()
    assert (before["package"], after["package"]) == ("larpo-extra 1.2", "larpo-extra 1.3")


@pytest.mark.parametrize(
    ("point", "told"),
    [
        (
            "letters=Nowhere",
            "cannot be loaded (AttributeError: module 'larpo_extra_module' has no attribute 'Nowhere')",
        ),
        ("letters=plain", "is no RerankerConfig"),
        ("chosen=Chosen", "is no RerankerConfig"),
        ("letters=Misnamed", "does not have its name as the default of `type`"),
        ("unread=Unread", "has settings that cannot be read ("),
    ],
)
def test_what_cannot_be_used_is_told_with_its_package_and_stops_nothing_else(
    install: Install, caplog: pytest.LogCaptureFixture, point: str, told: str
) -> None:
    install("larpo-extra", {"larpo.rerankers": [point], "larpo.objectives": ["nothing=nothing"]})
    name = point.partition("=")[0]
    with caplog.at_level(logging.WARNING):
        assert config("train.objective.type=nothing").rerank.reranker.type == "verifier"
    assert caplog.messages == [message for message in caplog.messages if told in message][:1]
    assert caplog.messages[0].startswith(f"larpo-extra 1.2 registers '{name}' in larpo.rerankers, which {told}")
    assert name not in RerankerConfig.entries()
    with pytest.raises(ConfigError, match=rf"setting 'rerank\.reranker': larpo-extra 1\.2 registers '{name}', which"):
        config(f"rerank.reranker.type={name}")
    finding = found("larpo-extra")
    assert not finding.ok
    assert not finding.needed
    assert told in finding.detail
    assert finding.remedy == "Fix or uninstall larpo-extra"


@pytest.mark.parametrize("code", ["1 / 0", "import nowhere_to_be_found", "raise SystemExit(3)"])
def test_a_package_that_breaks_as_it_is_imported_breaks_nothing(install: Install, code: str) -> None:
    install("larpo-extra", {"larpo.rerankers": ["letters=LengthConfig"]}, code=code)
    assert config().rerank.reranker.type == "verifier"
    with pytest.raises(ConfigError, match=r"larpo-extra 1\.2 registers 'letters', which cannot be loaded \(\w+"):
        config("rerank.reranker.type=letters")


def test_nobody_takes_the_name_of_another(install: Install) -> None:
    install("larpo-extra", {"larpo.rerankers": ["verifier=Verifier", "letters=LengthConfig"]})
    install("larpo-more", {"larpo.rerankers": ["letters=LengthConfig"]})
    assert RerankerConfig.entries()["verifier"].__module__ == "larpo_lib.rewards.rerankers.verifier"
    assert config().rerank.reranker.type == "verifier"
    assert "larpo.rerankers verifier: larpo has itself" in found("larpo-extra").detail
    with pytest.raises(ConfigError, match=r"larpo-extra 1\.2 registers 'letters', which another package registers too"):
        config("rerank.reranker.type=letters")


def test_every_kind_has_a_group_of_its_own() -> None:
    groups = [f"larpo.{kind.room.rpartition('.')[2]}" for kind in KINDS]
    assert groups == [
        f"larpo.{name}" for name in ("samplers", "rerankers", "judges", "selections", "retrievers", "objectives")
    ]
    assert ObjectiveConfig.of_packages() == ()
