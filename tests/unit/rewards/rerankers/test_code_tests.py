import os
import socket
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from small_models import user

from larpo_lib.errors import ColumnError, ConfigError
from larpo_lib.rewards.rerankers import Scorable, make_reranker
from larpo_lib.rewards.rerankers.code_tests import CodeTestsConfig, code_of
from larpo_lib.rewards.rules import sandbox
from larpo_lib.rewards.rules.sandbox import Limits, check_sandbox, run_tests

QUICK = Limits(timeout_s=10.0, memory_mb=512)
REACH = """
import os, socket, ctypes
libc = ctypes.CDLL(None, use_errno=True)
def refused(action):
    try:
        return action() == -1
    except OSError:
        return True
"""


@pytest.fixture(scope="module")
def cut_off():
    try:
        check_sandbox()
    except ConfigError as error:
        pytest.skip(f"code cannot be cut off on this machine; {error.remedy}")


def _config(**settings):
    return CodeTestsConfig(allow_code_execution=True, **settings)


def _scored(config, *responses, tests):
    items = [Scorable("p", user("?"), response, None, {"tests": tests}) for response in responses]
    reranker = make_reranker(config)
    return reranker.score(items), reranker.cut(items)


def test_the_score_is_the_share_of_tests_that_are_passed_or_all(cut_off):
    right = "So:\n```python\ndef double(x):\n    return 2 * x\n```\nThat is it."
    wrong = "def double(x):\n    return x ** 2"
    tests = ["assert double(2) == 4", "assert double(3) == 6"]
    counted = {"code_unread": 1, "code_out_of_time": 0}
    assert _scored(_config(at_once=2), right, wrong, "I cannot", tests=tests) == ([1.0, 0.5, 0.0], counted)
    assert _scored(_config(score="all"), right, wrong, tests=tests)[0] == [1.0, 0.0]


def test_a_program_is_judged_by_what_it_prints(cut_off):
    program = "import sys\nn = int(input())\nprint(n * 2, ' ')\nprint()\nsys.exit(0)"
    tests = [{"stdin": "4\n", "stdout": "8"}, {"stdin": "4", "stdout": "9"}, {"stdin": "x", "stdout": ""}]
    assert _scored(_config(), program, tests=tests)[0] == [1 / 3]


def test_code_cannot_end_its_test_early_or_go_on_for_ever(cut_off):
    limits = Limits(timeout_s=0.5, memory_mb=128)
    assert run_tests("import os; os._exit(0)", [{"code": "assert False"}], limits) == ["failed"]
    assert run_tests("raise SystemExit(0)", [{"code": "assert False"}], limits) == ["failed"]
    assert run_tests("while True: pass", [{"code": ""}], limits) == ["out_of_time"]
    assert run_tests("x = 'x' * 2**28", [{"code": ""}], limits) == ["failed"]
    assert run_tests("print('x' * 2**23, flush=True)", [{"code": ""}], limits) == ["failed"]
    assert run_tests("def f(:", [{"code": ""}], limits) == ["unread"]
    many = "import os\nwhile True:\n    try: os.fork()\n    except OSError: pass"
    assert run_tests(many, [{"code": ""}], limits)[0] in ("out_of_time", "failed")
    sleepers = "import os, time\nfor _ in range(40):\n    if os.fork() == 0: time.sleep(1); os._exit(0)\ntime.sleep(.2)"
    assert run_tests(sleepers, [{"code": ""}], limits) == ["failed"]  # also for root, whom no limit of Linux holds


@pytest.mark.parametrize(
    ("code", "wanted"),
    [
        ("os.mkdir('../1')", "failed"),  # where the next test would be
        ("os.remove('stdout'); print('1')", "passed"),
        ("os.remove('stdout'); os.mkfifo('stdout')", "failed"),  # nobody would ever write
        ("os.remove('stdout'); os.symlink('/dev/zero', 'stdout')", "failed"),  # reading it would not end
        ("os.chmod('..', 0); os.chmod('.', 0)", "failed"),
        ("print('1')\nfor n in range(99): open(f'../{n}', 'wb').write(bytes(2**20))", "failed"),
        ("import asyncio\nasyncio.run(asyncio.sleep(0)); print('1')", "passed"),
    ],
)
def test_code_does_not_stop_the_run_or_the_next_test(code, wanted, cut_off):
    tests = [{"stdin": "", "stdout": "1"}] * 2
    assert run_tests(f"import os\n{code}", tests, QUICK) == [wanted, wanted]


def test_code_does_not_reach_servers_by_their_paths(tmp_path, cut_off):
    stream, datagrams = str(tmp_path / "stream"), str(tmp_path / "datagrams")
    with socket.socket(socket.AF_UNIX) as first, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as second:
        first.bind(stream)
        first.listen()
        second.bind(datagrams)
        tests = [
            f"socket.socket(socket.AF_UNIX).connect({stream!r})",
            f"socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)[0].sendto(b'x', {datagrams!r})",
        ]
        for open_to_others in tests:
            exec(f"import socket\n{open_to_others}", {})  # noqa: S102 - shows that it could
        assert run_tests("import socket", [{"code": test} for test in tests], QUICK) == ["failed"] * 2


def test_code_reaches_neither_network_nor_files_nor_processes(tmp_path, monkeypatch, cut_off):
    served = HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)
    served.timeout = 5
    threading.Thread(target=served.handle_request, daemon=True).start()
    monkeypatch.setenv("LARPO_SECRET", "secret")
    tests = [
        f"assert refused(lambda: socket.create_connection(('127.0.0.1', {served.server_port}), timeout=2))",
        f"assert refused(lambda: open({str(tmp_path / 'file')!r}, 'w'))",
        f"assert refused(lambda: os.kill({os.getpid()}, 0))",
        "assert 'secret' not in os.environ.values()",
        "assert refused(lambda: open('/proc/1/environ', 'rb').read())",
        "assert refused(lambda: libc.mount(b'none', b'/', None, 32 | 4096, None))",  # writable again
        "assert refused(lambda: libc.unshare(0x10000000 | 0x20000))",
        "open('file', 'w').write('x'); assert open('file').read() == 'x'",
        "assert os.listdir('.') and 'file' not in os.listdir('.')",  # what another test wrote is gone
    ]
    for open_to_others in tests[:2]:
        with pytest.raises(AssertionError):
            exec(REACH + open_to_others, {})  # noqa: S102 - shows that it could
    (tmp_path / "file").unlink()
    outcomes = run_tests(REACH, [{"code": test} for test in tests], QUICK)
    served.server_close()
    assert dict(zip(tests, outcomes, strict=True)) == dict.fromkeys(tests, "passed")
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_run_unless_it_is_asked_for_by_name(monkeypatch):
    monkeypatch.setattr(sandbox, "_asked", lambda *_: pytest.fail("code was run"))
    for refused in (CodeTestsConfig().check, CodeTestsConfig().make):
        with pytest.raises(ConfigError, match="set the reranker's allow_code_execution to true"):
            refused()


def test_a_machine_that_cannot_cut_code_off_is_refused(monkeypatch):
    monkeypatch.setattr(sandbox, "_asked", lambda *_: {"refused": "Operation not permitted (unshare)"})
    with pytest.raises(
        ConfigError, match=r"cannot be cut off .*: Operation not permitted \(unshare\)\. It needs Linux"
    ):
        _config().check()


@pytest.mark.parametrize(
    ("tests", "told"),
    [
        ([], "they are no list with at least one"),
        ("assert f(1)", "Expecting value"),
        ([3], "3 is neither code nor a table"),
        ([{"stdin": "4"}], "is neither code nor a table"),
        ([{"stdin": "4", "stdout": "8", "timeout": 3}], "is neither code nor a table"),
    ],
)
def test_tests_that_cannot_be_read_are_refused_before_any_response(tests, told):
    with pytest.raises(ColumnError) as refused:
        _config().check_columns({"tests": tests})
    assert told in str(refused.value)
    assert refused.value.field == "tests"


def test_tests_may_be_json_and_columns_of_other_tests_null():
    assert _config().tests({"tests": '["assert f(1)"]'}) == [{"code": "assert f(1)"}]
    assert _config().tests({"tests": [{"stdin": None, "stdout": "8"}]}) == [{"stdout": "8"}]


def test_the_code_is_the_last_block_of_python():
    assert code_of("```python\na\n```\nthen\n```\nb\nc\n```\nDone. ```bash\nd\n```") == "a\n"
    assert code_of("```\na\n```\nthen\n```\nb\nc\n```\nDone.\n```bash\nd\n```") == "b\nc\n"
    assert code_of("``` \t Py \t\na\n```") == "a\n"
    assert code_of("a = 1") == "a = 1"
    assert code_of("```bash\nd\n```") == "```bash\nd\n```"


RIGHT = "def f(x):\n    return 2 * x\n"
PYTHON = f"```python\n{RIGHT}```"


@pytest.mark.parametrize(
    "response",
    [
        f"It is asked:\n```text\nf(2) is 4\n```\nHere is the code:\n{PYTHON}",
        f"{PYTHON}\nRun it:\n```bash\npython f.py\n```\nIt prints\n```text\n4\n```",
        f"{PYTHON}\nOutput:\n```\n4\n```",
        f'{PYTHON}\n```json\n{{"x": 2}}\n```\nIt is right.',
        f"~~~py\n{RIGHT}~~~",
        f"````python\n{RIGHT}````",
        f"1. The code:\n\n   ```python\n   {RIGHT.replace(chr(10), chr(10) + '   ')}\n   ```",
        f"```\n{RIGHT}```",
        *(f"```{info}\n{RIGHT}```\n```\n4\n```" for info in ("python3.11", "{python}", "{.python .x}", "python:f.py")),
        f"{PYTHON}\n```pycon\n>>> f(2)\n4\n```\n```python-repl\n>>> f(2)\n```",
    ],
)
def test_right_code_is_found_beside_other_blocks(response):
    names = {}
    exec(code_of(response), names)  # noqa: S102 - written above
    assert names["f"](2) == 4


MAIN = """
from __future__ import annotations
import argparse, dataclasses, pickle, sys, typing, unittest
@dataclasses.dataclass
class Point:
    x: int
    kind: typing.ClassVar[str] = "point"
def f(x):
    return 2 * x
if __name__ == "__main__":
    {0}
"""


@pytest.mark.parametrize(
    "ending",
    ["print(f(int(input())))", "sys.exit(0)", "unittest.main()", "argparse.ArgumentParser().parse_args()"],
)
def test_a_main_block_is_run_where_its_output_is_the_test_alone(ending, cut_off):
    """As by HumanEval, whose program is run by `exec(program, {})`: __name__ is no "__main__" there."""
    code, test = MAIN.format(ending), "assert f(2) == 4 and pickle.loads(pickle.dumps(Point(1))) == Point(1)"
    exec(code, {})  # noqa: S102 - written above
    assert run_tests(code, [{"code": test}, {"code": ""}], QUICK) == ["passed", "passed"]
    if "input" in ending:
        assert run_tests(code, [{"stdin": "2", "stdout": "4"}], QUICK) == ["passed"]
