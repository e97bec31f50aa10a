import re
import time
from pathlib import Path
from typing import Any

import pytest
from fuzzing import few
from hypothesis import assume, example, given
from hypothesis import strategies as st

from larpo_lib.errors import ColumnError, ConfigError
from larpo_lib.presets import preset_file, preset_names
from larpo_lib.redaction import names_variable, presentable, redact, secret_places, visible

ROOT = Path(__file__).parents[2]
HOSTS = ["db/mlflow", "host:5000", "[::1]:80/a", "host/?x=1"]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("at http://me:hunter2@host:80/a?b=1", "at http://***@host:80/a?b=1"),
        ("postgresql://me:hun/ter2@x@db/mlflow", "postgresql://***@db/mlflow"),
        ("https://hunter2@host", "https://***@host"),
        ("postgresql://me:hun ter2 hunter2@db/x", "postgresql://***@db/x"),
        ("at postgresql://me:hun ter2@db/x: refused", "at postgresql://***@db/x: refused"),
        ("""at http://me:a'b"hunter2@host""", "at http://***@host"),
        ("http://me:\x01hunter2\x1f\t\n@host/x", "http://***@host/x"),
        ("http://me:%20hunter2%40@host", "http://***@host"),
        ("http://h/?next=http%3A%2F%2Fme%3Ahunter2%40host&x=1", "http://h/?next=http%3A%2F%2F***%40host&x=1"),
        ("http://h/a?user=me&password=hunter2&x=1", "http://h/a?user=***&password=***&x=1"),
        ("http://h/a?x=1&access_token=hunter2", "http://h/a?x=1&access_token=***"),
        (
            "s3://b/a?X-Amz-Credential=hunter2&X-Amz-Signature=hunter2",
            "s3://b/a?X-Amz-Credential=***&X-Amz-Signature=***",
        ),
        ("http://h/?key=hunter2&sig=hunter2", "http://h/?key=***&sig=***"),
        ("Authorization: Bearer hunter2hunter2", "Authorization: Bearer ***"),
        ("key sk-proj-hunter2hunter2_hunter2 ends", "key *** ends"),
        ("sk_live_hunter2hunter2hunter2", "***"),
        ("'hf_hunter2hunter2hunter2'", "'***'"),
        ("AKIAIOSFODNN7EXAMPLE", "***"),  # of Amazon's own documentation
        ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.hunter2", "***"),
    ],
)
def test_secrets_are_hidden(text: str, shown: str) -> None:
    assert redact(text) == shown
    assert list(secret_places({"a": {"b": ["x", text]}})) == ["a.b.1"]
    assert redact(shown) == shown, "again it changes nothing"
    assert "hunter2" not in str(ConfigError(f"cannot read {text}", remedy=f"Fix {text}"))


@pytest.mark.parametrize(
    "text",
    [
        "http://host:5000/api and models:/policy@champion and sqlite:////a/b.db",
        "s3://bucket/run@1/policy",
        "http://localhost:8000/v1/a@b",
        "http://[::1]:8000/a@b",
        "org/name@revision",
        "a@b.org",
        "http://host: answered 400, and http://other:80 is at me@here.org's",
        "http://me:<your password>@host",
        "max_new_tokens=5 and https://host/?tokens=5&monkey=2",
        "sk-learn and risk-assessment-of-2024-reports and hf_token and sk_metrics",
        "org/sk-whisper-large-v3-turbo and /data/sk_wikipedia_20240501.jsonl",  # Slovak
        "<|im_end|>",
        "f'http://host/?token={TOKEN}'",
        'url + "?key=" + key',
        "http://127.0.0.1:41123: answered 403: User 'user@example.com' is not authorized",
        """MLflow at http://127.0.0.1:41123: Invalid value "pass@8" for parameter 'name'""",
        "(see http://server:8080), or write to user@example.com",
    ],
)
def test_what_only_looks_a_little_like_secrets_stays(text: str) -> None:
    assert redact(text) == text
    assert list(secret_places({"a": text})) == []


@pytest.mark.parametrize(
    ("settings", "found"),
    [
        ({"api_key": "x", "apiKey": "x", "HF_TOKEN": "x", "db-password": "x", "token": "x", "client_secret": "x"}, 6),
        ({"password": 12345, "secret": 1.5, "access_key_id": "x", "bearer": "x"}, 4),
        ({"password": ["x", {"a": "x"}], "api_key": {"a": {"b": "x"}}}, 3),
        ({"token": 5, "auth": {"token": "<eos>"}, "api_key": "<your key>"}, 0),
        ({"pad_token": "x", "stop_tokens": ["x"], "max_tokens": 5, "keys": "x", "monkey": "x", "key": "x"}, 0),
        ({"api_key": "", "password": "***", "secret": None, "credentials": True}, 0),
        ({"code": "URL = 'http://server:80/v1'  # ask me@here.org\n@cache\ndef f(): ..."}, 0),
        ({"code": "URL = 'http://me:hunter2@server/v1'\ndef f(): ..."}, 1),
        ({"code": "URL = 'http://server/v1?token=hunter2'\ndef f(): ..."}, 1),
        ({"code": "KEY = 'sk-hunter2hunter2hunter2'\ndef f(): ..."}, 1),
    ],
)
def test_secrets_in_tables_of_a_users_own(settings: dict[str, Any], found: int) -> None:
    assert len(list(secret_places(settings))) == found


@pytest.mark.parametrize(
    "name", ["OPENAI_API_KEY", "key", "_X9", "OPENAI_API_KEY_2", "COMPANY1OPENAIAPIKEY", "hf_token"]
)
def test_names_of_variables(name: str) -> None:
    assert names_variable(name)
    assert list(secret_places({"api_key_env": name})) == []


@pytest.mark.parametrize(
    "key",
    ["sk-abc", "hf_hunter2", "ghp_hunter2", "a b", "", "é", "AKIAIOSFODNN7EXAMPLE", "9f86d081884c7d659a2f", "b" * 200,
     "x_deadbeef01234567890"],
)  # fmt: skip
def test_keys_in_the_place_of_a_variables_name(key: str) -> None:
    assert not names_variable(key)
    assert list(secret_places({"api_key_env": key})) == ["api_key_env"]


@pytest.mark.parametrize("preset", preset_names())
def test_no_preset_holds_what_looks_like_a_secret(preset: str) -> None:
    text = preset_file(preset).read_text("utf-8")
    assert redact(text) == text


def test_characters_that_a_terminal_obeys_are_escaped() -> None:
    obeyed = [
        chr(code) for code in [*range(0x20), *range(0x7F, 0xA0), 0x202E, 0x2066, 0x2028, 0xDC80] if code not in (9, 10)
    ]
    for character in obeyed:
        shown = visible(f"a{character}b")
        assert re.fullmatch(r"a\\(x[0-9a-f]{2}|u[0-9a-f]{4}|r)b", shown), shown
        assert shown.encode()
    kept = "tab\tline\nnaïve 漢字 🙂‍↕️ \\x1b[0m"
    assert visible(kept) == kept
    assert str(ConfigError("\x1b[31mred\n\x1b[0m", remedy="\x9b2J")) == "\\x1b[31mred \\x1b[0m. \\x9b2J."
    assert ColumnError("\x07", field="a").problem == "\\x07"


@few
@given(user=st.text(max_size=8), before=st.text(max_size=8), after=st.text(max_size=8), host=st.sampled_from(HOSTS))
@example(user="me", before="a@b ", after="", host="host")
def test_no_sign_in_a_password_shows_it(user: str, before: str, after: str, host: str) -> None:
    """But for those that end a URL before its user, and a port with a path behind it, which is none."""
    assume(not set("/?#:@[") & set(user))
    assume("://" not in f"{before}hunter2{after}@{host}")
    assume(not re.match(r"\d{1,5}([/?#\s]|$)", f"{before}hunter2"))
    uri = f"postgresql://{user}:{before}hunter2{after}@{host}"
    assert [*secret_places({"a": [uri]})] == ["a.0"]
    assume(before[:1].strip() or not before)  # a sentence goes on behind a colon and a blank
    assert "hunter2" not in redact(uri)


@pytest.mark.parametrize(
    "part",
    [
        "://a:b ",
        "a://b:c@d ",
        "%3A%2F%2Fa%3A",
        "://a:b",
        "://a",
        "a://",
        "&token",
        "?key=a&",
        "Bearer ",
        "-sk-",
        "eyJaaaaaaaaaa.",
        "-eyJ",
        "-----BEGIN ",
        "A",
        "1a",
        "_",
    ],
)
def test_no_text_takes_long(part: str) -> None:
    text = part * (40_000 // len(part))
    start = time.process_time()
    presentable(text)
    names_variable(text)
    list(secret_places({"a": text, "b": text + "\n"}))
    assert time.process_time() - start < 1.0


def test_commands_print_by_what_escapes() -> None:
    files = [*(ROOT / "larpo_lib/cli").glob("*.py")]
    assert len(files) > 5
    assert [file.name for file in files if re.search(r"\becho\(|\bprint\(", file.read_text("utf-8"))] == ["app.py"]
