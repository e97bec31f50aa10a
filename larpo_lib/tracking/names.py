"""Names that MLflow takes for metrics."""

import hashlib
import posixpath
import re
from collections import Counter
from collections.abc import Iterable, Mapping

_LONGEST = 250


def allowed(names: Iterable[str]) -> Mapping[str, str]:
    """For each of the names, one that MLflow takes: usually itself. No two of them become one.

    MLflow takes letters, digits, spaces and `_-.:/`, at most 250, that are no path with detours. Another character
    becomes `_`, as in `r@1`. Where that is the name of another one as well, a digest tells the two apart.
    """
    plain = {name: _plain(name) for name in names}
    uses = Counter(plain.values())
    return {name: new if new == name or uses[new] == 1 else _marked(new, name) for name, new in plain.items()}


def _plain(name: str) -> str:
    text = re.sub(r"^(\.$|\.\.|$)", "_", re.sub(r"[^/\w.\- :]", "_", name[:_LONGEST]))
    return text if posixpath.normpath(text) == text and text[0] != "/" else text.replace("/", "_")


def _marked(text: str, name: str) -> str:
    digest = hashlib.sha256(name.encode()).hexdigest()[:8]
    return f"{text[: _LONGEST - 1 - len(digest)]}-{digest}"
