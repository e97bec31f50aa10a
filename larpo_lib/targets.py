"""A user's own function, by where it stands: `my_rewards.py:brevity`, or `package.module:brevity`."""

import ast
import hashlib
import sys
import tempfile
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib import import_module, metadata
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

from larpo_lib.caches import cache_dir
from larpo_lib.errors import ConfigError

_FORM = "Give it as my_file.py:function, or as package.module:function"


@dataclass(frozen=True)
class Loaded:
    """A function that was found.

    Attributes:
        function: the function.
        shown: what messages call it.
        file: its source.
        digest: SHA-256 of that source.
    """

    function: Callable[..., Any]
    shown: str
    file: Path
    digest: str


def parse_target(text: str) -> tuple[str, str]:
    """The file or module, and the function's name.

    Raises:
        ValueError: the text is of another form.
    """
    place, _, name = text.rpartition(":")
    module = place.endswith(".py") or all(part.isidentifier() for part in place.split("."))
    if not module or not name.isidentifier():
        raise ValueError(f"'{text}' names no function. {_FORM}")
    return place, name


def source_file(place: str) -> Path:
    """The file that a target's function stands in.

    Raises:
        ConfigError: there is no such file or module.
    """
    if place.endswith(".py"):
        if "://" in place:
            raise ConfigError(f"{place}: has not been fetched", remedy="Give its text as `code`, or a local file")
        if not Path(place).is_file():
            raise ConfigError(
                f"{place}: no such file",
                remedy="Give a path from the folder that larpo is started in, or an absolute one",
            )
        return Path(place)
    try:
        found = find_spec(place)
    except Exception as error:  # of a package above it, whose code this runs
        raise ConfigError(
            f"module '{place}' cannot be imported: {_told(error)}", remedy="Install it where larpo runs"
        ) from error
    if found is None or found.origin is None or not found.origin.endswith(".py"):
        raise ConfigError(f"there is no Python module '{place}'", remedy=f"Install it where larpo runs. {_FORM}")
    return Path(found.origin)


def kept_file(place: str, code: str) -> Path:
    """A file with this code, of the name that `place` ends with, in the cache: by its content, so never another's."""
    source = code.encode()
    folder = cache_dir() / "targets" / hashlib.sha256(source).hexdigest()
    file = folder / place.rpartition("/")[2]
    if not file.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder, delete=False) as partial:
            partial.write(source)
        Path(partial.name).chmod(0o644)
        Path(partial.name).replace(file)  # of several processes that do this each leaves the same
    return file


def load_target(place: str, name: str, code: str | None = None) -> Loaded:
    """Run the code of a file or a module, and take a function from it.

    Args:
        place: the file or the module.
        name: of the function.
        code: what the file holds, where it is not here.

    Raises:
        ConfigError: there is no such file, module or function, or its code does not run; names the line.
    """
    file = source_file(place) if code is None else kept_file(place, code)
    shown = f"{file.name if place.endswith('.py') else place}:{name}"
    source = file.read_bytes()
    digest = hashlib.sha256(source).hexdigest()
    try:
        module = _run(file, source) if place.endswith(".py") else import_module(place)
    except (Exception, SystemExit) as error:
        at = error.lineno if isinstance(error, SyntaxError) else line_of(error, file)
        line = "" if at is None else f", line {at}"
        raise ConfigError(
            f"{file}{line}: {_told(error)}",
            remedy="Fix the file. It must run by itself, or import only installed packages",
        ) from error
    function = getattr(module, name, None)
    if not callable(function):
        raise ConfigError(f"{file}: has no function '{name}'", remedy=_FORM)
    return Loaded(function, shown, file, digest)


@cache
def package_of(module: str) -> str:
    """The installed package that a module is of, with its version; of several that share a name all; "" for none."""
    names = metadata.packages_distributions().get(module.partition(".")[0], ())
    return ", ".join(f"{name} {metadata.version(name)}" for name in sorted(set(names)))


def check_syntax(file: Path) -> None:
    """Raise ConfigError if a file is no Python, without running it: what it imports may be on another machine."""
    try:
        ast.parse(file.read_bytes(), str(file))
    except (SyntaxError, ValueError) as error:
        at = f", line {error.lineno}" if isinstance(error, SyntaxError) else ""
        raise ConfigError(f"{file}{at}: {_told(error)}", remedy="Fix the file") from error


def line_of(error: BaseException, file: Path) -> int | None:
    """The line of a file that an error came from, as far down as the file's own code goes; None: from none of it."""
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if frame.filename == str(file)]
    return lines[-1] if lines else None


@cache
def _run(file: Path, source: bytes) -> ModuleType:
    """The module of this very source: Python's own cache of compiled files may hold that of a moment before."""
    name = f"larpo_target_{hashlib.sha256(bytes(file) + source).hexdigest()[:16]}"
    module = ModuleType(name)
    module.__file__ = str(file)
    sys.modules[name] = module  # dataclasses look their module up
    try:
        exec(compile(source, str(file), "exec"), module.__dict__)  # noqa: S102 - the user's own code, named by the user
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _told(error: BaseException) -> str:
    message = error.msg if isinstance(error, SyntaxError) else str(error)
    return f"{type(error).__name__}: {message}" if message else type(error).__name__
