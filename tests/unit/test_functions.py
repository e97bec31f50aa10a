"""A user's own function as a setting: where its code comes from, and how it is called."""

import asyncio
import hashlib
import time
from pathlib import Path
from typing import Any

import pytest

from larpo_lib.artifacts import digest
from larpo_lib.cli.commands import Request
from larpo_lib.config import RerankConfig, apply_settings
from larpo_lib.errors import ConfigError, StorageError
from larpo_lib.functions import CallError, OutOfTimeError, call, functions_of, with_functions
from larpo_lib.rewards.answers import Scorable
from larpo_lib.rewards.functions import FunctionSettings
from larpo_lib.rewards.rerankers import make_reranker
from larpo_lib.rewards.rerankers.function import FunctionRerankerConfig
from larpo_lib.steps.declarations import STEPS
from larpo_lib.storage import with_code
from larpo_lib.targets import load_target, package_of

CODE = "def f(responses): return [len(text) for text in responses]\n"


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LARPO_CACHE", str(tmp_path / "cache"))


def scores(config: FunctionRerankerConfig, *responses: str) -> list[float | None]:
    return make_reranker(config).score([Scorable("p", [], text) for text in responses])


def test_code_in_the_settings_is_the_file_in_all_that_counts(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(CODE)
    local = FunctionRerankerConfig(target=f"{tmp_path}/mine.py:f")
    sent = FunctionRerankerConfig(target="somewhere/mine.py:f", code=CODE)
    assert scores(local, "ab") == scores(sent, "ab") == [2.0]
    assert local.identity() == sent.identity()
    assert make_reranker(local).name == make_reranker(sent).name
    assert digest(local.source()) == digest(sent.source())
    kept = sent.source()
    assert kept == tmp_path / "cache" / "targets" / hashlib.sha256(CODE.encode()).hexdigest() / "mine.py"
    assert [path.name for path in kept.parent.iterdir()] == ["mine.py"]
    assert kept.stat().st_mode & 0o777 == 0o644  # other users of a shared volume read it too


def test_of_a_module_the_version_of_its_package_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its file may stay as it is while those change that it imports."""
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "larpo_test_mine.py").write_text(CODE)
    function = FunctionSettings(target="larpo_test_mine:f")
    digest = hashlib.sha256(CODE.encode()).hexdigest()
    assert function.content() == digest  # it is of no package
    info = tmp_path / "larpo_mine-1.2.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: larpo-mine\nVersion: 1.2\n")
    (info / "RECORD").write_text("larpo_test_mine.py,,\n")
    package_of.cache_clear()
    assert function.content() == f"{digest} of larpo-mine 1.2"
    package_of.cache_clear()


def test_code_belongs_to_a_file() -> None:
    with pytest.raises(ValueError, match="code is what a file holds, but target names a module"):
        FunctionSettings(target="package.module:f", code=CODE)


@pytest.mark.parametrize("settings", [{"goal": None}, {"goals": [1, None]}, {"goals": {"a": {"b": None}}}])
def test_a_setting_that_a_run_could_not_keep_is_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="a setting of a function cannot be null; leave it out"):
        FunctionSettings(target="mine.py:f", settings=settings)
    assert FunctionSettings(target="mine.py:f", settings={"null": 'a "null" \\'}).settings["null"] == 'a "null" \\'


def test_another_target_does_not_take_over_the_code_of_the_one_before() -> None:
    sent = {"type": "function", "target": "a.py:f", "code": CODE, "settings": {"goal": 1}}
    assert apply_settings(sent, {"target": "b.py:f"}) == {**sent, "target": "b.py:f", "code": None}
    assert apply_settings(sent, {"settings": {"goal": 2}}) == {**sent, "settings": {"goal": 2}}
    assert apply_settings(sent, {"target": "b.py:f", "code": "x"})["code"] == "x"
    top = {"rerank": {"reranker": sent}, "policy": "p", "prepare": {"source": "s", "heldout": 1}}
    config = apply_settings(top, {"rerank": {"reranker": {"target": "b.py:f"}}})
    assert config["rerank"]["reranker"]["code"] is None


@pytest.mark.usefixtures("s3")
def test_a_file_in_a_store_is_read_once(s3: Any) -> None:
    s3.put_object(Bucket="larpo-bucket", Key="code/mine.py", Body=CODE.encode())
    member: Any = {"type": "function", "target": "s3://larpo-bucket/code/mine.py:f"}
    other = {"type": "verifier"}
    members = [{"reranker": each, "mean": 0.0, "std": 1.0} for each in (other, member)]
    given = RerankConfig.model_validate({"reranker": {"type": "ensemble", "members": members}})
    (before,) = functions_of(given).values()
    with pytest.raises(ConfigError, match=r"s3://larpo-bucket/code/mine\.py: has not been fetched"):
        before.source()
    config = with_code(given)
    asked = ["rerank.reranker.type=function", f"rerank.reranker.target={member['target']}"]
    read, _ = Request(STEPS["rerank"], {}, {}, {}, None, asked).load()  # as the step's command reads its settings
    assert read.reranker.code == CODE
    s3.put_object(Bucket="larpo-bucket", Key="code/mine.py", Body=b"def f(responses): raise KeyError")
    assert with_code(config) == config  # what a run began with is what it goes on with
    ((place, function),) = functions_of(config).items()
    assert place == "reranker.members.1.reranker"
    assert (function.target, function.code) == ("s3://larpo-bucket/code/mine.py:f", CODE)
    assert function.identity() == before.identity()
    assert make_reranker(config.reranker).score([Scorable("p", [], "abc", "3")]) == [3.0]
    s3.put_object(Bucket="larpo-bucket", Key="code/bytes.py", Body=b"\xff\xfe")
    for key, told in (("bytes", "is no Python file"), ("none", "no such object")):
        with pytest.raises(StorageError, match=rf"code/{key}\.py: {told}"):
            with_code(FunctionRerankerConfig(target=f"s3://larpo-bucket/code/{key}.py:f"))


def test_settings_without_a_function_stay_the_very_same() -> None:
    config = RerankConfig()
    assert with_functions(config, lambda function: function) is config
    assert functions_of(config) == {}


def loaded(tmp_path: Path, source: str) -> Any:
    (tmp_path / "mine.py").write_text(source)
    return load_target(f"{tmp_path}/mine.py", "f")


def test_an_async_function_can_be_called_where_a_loop_is_running(tmp_path: Path) -> None:
    """As in a notebook, whose cells run within a loop."""
    slow = loaded(
        tmp_path,
        "import asyncio, threading\n"
        "async def f(seconds):\n"
        "    await asyncio.sleep(seconds)\n"
        "    if seconds == 0: raise KeyError('x')\n"
        "    return threading.current_thread() is threading.main_thread()\n",
    )

    async def cell() -> None:
        assert call(slow, {"seconds": 0.01}) is False  # in a loop of its own
        with pytest.raises(CallError, match=r"raised KeyError: 'x' \(.*mine\.py, line 4\)"):
            call(slow, {"seconds": 0})
        with pytest.raises(OutOfTimeError):
            call(slow, {"seconds": 9}, timeout_s=0.05)
        assert asyncio.get_running_loop().is_running()

    asyncio.run(cell())
    assert call(slow, {"seconds": 0.01}) is True


ONE_LOOP = """
import asyncio
limit = asyncio.Semaphore(2)
loops, left = set(), []
async def f(count, wait=0.0):
    async def one(i):
        async with limit:
            loops.add(id(asyncio.get_running_loop()))
            await asyncio.sleep(0.001 + wait)
            left.append(i)
            return i
    if count == 0: raise SystemExit(3)
    await asyncio.gather(*map(one, range(count)))
    return len(loops), len(left)
"""


@pytest.mark.parametrize("running", [False, True], ids=["script", "notebook"])
def test_all_calls_share_a_loop_so_that_a_limit_of_the_file_holds_for_all(tmp_path: Path, running: bool) -> None:
    function = loaded(tmp_path, ONE_LOOP)

    def calls() -> None:
        assert call(function, {"count": 5}) == (1, 5)
        assert call(function, {"count": 5}) == (1, 10)
        with pytest.raises(OutOfTimeError):
            call(function, {"count": 5, "wait": 9.0}, timeout_s=0.2)
        with pytest.raises(CallError, match="raised SystemExit: 3"):
            call(function, {"count": 0})
        time.sleep(0.2 if running else 0)  # what is beside the notebook's loop ends by itself
        assert call(function, {"count": 5}) == (1, 15)  # and nothing of the call that was ended goes on

    async def cell() -> None:
        calls()

    asyncio.run(cell()) if running else calls()


def test_files_of_one_name_do_not_get_in_each_others_way(tmp_path: Path) -> None:
    """Nor in that of an installed package: a file is a module of its own, which nothing can import by its name."""
    import json

    for folder, value in (("one", 1), ("two", 2)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "json.py").write_text(f"import json\ndef f(): return json.dumps([{value}])")
    one, two = (load_target(f"{tmp_path}/{folder}/json.py", "f") for folder in ("one", "two"))
    assert (one.function(), two.function()) == ("[1]", "[2]")
    import json as again

    assert again is json
    assert not hasattr(json, "f")
    assert (one.shown, two.shown) == ("json.py:f", "json.py:f")
    assert one.digest != two.digest  # which is in a reranker's name, so their rewards are never mixed
