"""What a person may be shown of a text: no credentials, and no characters that do something to a terminal.

What looks like a secret is told by where it stands (user and password of a URL, a query's `token=`), by its form (the
keys of well-known services) or, in tables of a user's own, by its name (`api_key`). A secret of another form under
another name cannot be told from other text.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

HIDDEN = "***"

# A password may hold any sign, '@' and '/' too, so the last '@' ends it. Digits behind a host are its port. Lengths are
# bounded so that no text takes long.
_PORT = r"\d{1,5}(?:[/?#]|[:;,.)'\"]{0,2}(?:\s|$))"
_USER = re.compile(rf"://(?:[^\s/?#:@\[]{{0,512}}:(?!{_PORT})[^\s<>]{{0,512}}|[^\s/?#'\"<>]{{0,512}})@")
_USER_WITH_BLANKS = re.compile(
    rf"://[^\s/?#:@\[]{{1,512}}:(?!{_PORT}|\s|<)(?:(?!://)[^@<>]){{1,512}}@(?=[\w.\[-])"  # in a sentence
)
_URL_ALONE = re.compile(
    rf"(\s*[A-Za-z][\w+.-]{{0,32}}://)[^/?#:@\[]{{0,512}}:(?!{_PORT}|\s|<[^<>]*>@)(?:(?!://).){{0,1024}}@(?=[^\s@]{{0,512}}\s*\Z)",
    re.DOTALL,
)
_SETTING = re.compile(
    rf"\s*[A-Za-z][\w+.-]{{0,32}}://(?:[^/?#:@\[]{{0,512}}:(?!{_PORT}|<[^<>]*>@)(?:(?!://).){{0,1024}}|[^/?#:@<]{{1,512}})@[^\s@]{{0,512}}\s*\Z",
    re.DOTALL,
)
_ENCODED = re.compile(
    r"(%3A%2F%2F)(?:(?!%40|%2F)[^\s&;'\"<>]){1,512}%3A(?:(?!%40)[^\s&;'\"<>]){1,512}(%40)", re.IGNORECASE
)
_PASSWORD_IN_CODE = re.compile(r"""://[^/?#\s:@'"]{1,512}:[^/?#\s@'"{]{1,512}@""")
_URL = re.compile(r"://[^\s'\"<>]+")
_NOT_FILLED_IN = r"(?![*{<$%'\"])"
_VALUE = rf"{_NOT_FILLED_IN}[^&;\s'\"]+"
_QUERY = re.compile(
    r"((?:^|[?&;])[\w.-]*(?:passw(?:or)?d|pwd|token|secret|api[_-]?key|access[_-]?key(?:id)?|signature|credential)=)"
    + _VALUE,
    re.IGNORECASE,
)
_QUERY_OF_URL = re.compile(rf"([?&;](?:key|sig|auth|user)=){_VALUE}", re.IGNORECASE)
_KEY = re.compile(
    r"(?<![A-Za-z0-9])(?:hf_[A-Za-z0-9]{16,}|sk[-_](?:[A-Za-z0-9]{1,64}[-_]){0,8}(?=[A-Za-z]{0,64}\d)(?=\d{0,64}[A-Za-z])[A-Za-z0-9]{14}[\w-]*|gh[opsur]_\w{16,}|github_pat_\w{16,}"
    r"|glpat-[\w-]{16,}|A[KS]IA[0-9A-Z]{16}(?![0-9A-Z])|AIza[\w-]{30,}|xox[abeprs]-[\w-]{10,}"
    r"|eyJ[\w-]{10,512}\.eyJ[\w-]{10,}\.[\w-]+|-----BEGIN [A-Z ]{0,32}PRIVATE KEY-----)"
)
_BEARER = re.compile(rf"\b(Bearer\s){_NOT_FILLED_IN}[\w.~+/-]{{8,}}=*", re.IGNORECASE)
_NAMES_SECRET = re.compile(
    r"(?:^|.*_)(?:(?:api|access|private|secret|auth|account)_?keys?(?:_?id)?|passw(?:or)?ds?|passphrases?|pwd|secrets?"
    r"|credentials?|bearer|authorization|(?:access|auth|api|hf|hub|bearer|refresh|session)_?tokens?)|token",
    re.IGNORECASE,
)
_CASES = re.compile(r"(?<=[a-z])(?=[A-Z])|-")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
_AS_KEY = re.compile(
    r"(?:hf|sk|gh[opsur]|github_pat)_(?:\w*\d|\w{16})|A[KS]IA[0-9A-Z]{16}$"
    r"|.*?(?<![A-Za-z0-9])(?=[A-Za-z0-9]*[0-9])(?=[A-Za-z0-9]*[a-z])[A-Za-z0-9]{16}"
)
_UNSEEN = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")
"""Control characters but tab and new line, what turns the direction of writing, and what UTF-8 does not have."""


def visible(text: str) -> str:
    """`text` with escapes, such as \\x1b, in the place of what a terminal would obey or could not write."""
    return _UNSEEN.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), text)


def redact(text: str) -> str:
    """`text` with what looks like a secret hidden."""
    text = _URL_ALONE.sub(rf"\1{HIDDEN}@", text) if _URL_ALONE.match(text) else text
    text = _ENCODED.sub(rf"\1{HIDDEN}\2", _USER_WITH_BLANKS.sub(f"://{HIDDEN}@", _USER.sub(f"://{HIDDEN}@", text)))
    text = _URL.sub(lambda url: _QUERY_OF_URL.sub(rf"\1{HIDDEN}", url[0]), text)
    return _KEY.sub(HIDDEN, _BEARER.sub(rf"\1{HIDDEN}", _QUERY.sub(rf"\1{HIDDEN}", text)))


def presentable(text: str) -> str:
    """`text` as an error or a log may show it: `redact` and `visible`."""
    return visible(redact(text))


def names_variable(text: str) -> bool:
    """Whether a text can be the name of an environment variable, and does not look like what such a one holds."""
    return _VARIABLE.fullmatch(text) is not None and _AS_KEY.match(text) is None


def secret_places(value: Any, place: str = "", named: str = "") -> Iterator[str]:
    """The places in some settings, such as `prepare.source`, at which a secret stands.

    Args:
        value: settings, as of TOML or JSON.
        place: where they stand.
        named: the name, if any, by which all of `value` is secret.
    """
    own = place.rpartition(".")[2]
    if _NAMES_SECRET.fullmatch(_CASES.sub("_", own)):
        named = own
    if isinstance(value, Mapping):
        for name, below in value.items():
            yield from secret_places(below, f"{place}.{name}".lstrip("."), named)
    elif isinstance(value, list | tuple):
        for number, below in enumerate(value):
            yield from secret_places(below, f"{place}.{number}".lstrip("."), named)
    elif _is_secret(own, named, value):
        yield place


def _is_secret(name: str, named: str, value: Any) -> bool:
    if isinstance(value, str):
        filled_in = value.strip(" *") != "" and not (value.startswith("<") and value.endswith(">"))
        return (named != "" and filled_in) or _holds_secret(name, value)
    # A number that is called `token` is the id of one.
    return named not in ("", "token") and type(value) in (int, float)


def _holds_secret(name: str, text: str) -> bool:
    if name.endswith("_env"):
        return not names_variable(text)
    if _KEY.search(text) or (_SETTING.match(text) and HIDDEN not in text):
        return True
    if "\n" in text:  # code, or a template
        urls = (url[0] for url in _URL.finditer(text))
        return _PASSWORD_IN_CODE.search(text) is not None or any(map(_QUERY.search, urls))
    return redact(text) != text
