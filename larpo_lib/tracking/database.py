"""A database of MLflow in a file: made whole, checked before it is used, and told where it is now."""

import os
import sqlite3
from contextlib import closing, suppress
from pathlib import Path
from urllib.parse import unquote

from larpo_lib.errors import TrackingError
from larpo_lib.tracking.relocation import follow_move

_SQLITE = "sqlite:///"
_QUOTED = "sqlite+pysqlite:///"  # of the other kind MLflow makes the folders, with their quoted names
_TABLES = frozenset({"experiments", "runs", "metrics", "registered_models", "logged_models"})
"""Of those that MLflow makes, some that nothing works without."""


def database_uri(path: Path) -> str:
    """What MLflow and SQLAlchemy call a SQLite database."""
    text = str(path.absolute())
    if "%" not in text and "?" not in text:
        return _SQLITE + text
    return _QUOTED + text.replace("%", "%25").replace("?", "%3F")


def database_path(uri: str) -> Path | None:
    """Where the SQLite database of a URI is; None of any other."""
    if not uri.startswith((_SQLITE, _QUOTED)):
        return None
    return Path(unquote(uri.partition(":///")[2].partition("?")[0]))


def prepare_database(path: Path) -> None:
    """Make a database if there is none; else check it, and follow it if it was moved or copied.

    Raises:
        TrackingError: it is damaged, is no database, or cannot be opened.
    """
    if not path.exists():
        _make(path)
        return
    _check(path)
    follow_move(path)


def _make(path: Path) -> None:
    """Make an empty database whole or not at all: MLflow does it in many steps, and cannot go on from half of them."""
    from mlflow.store.db.utils import _initialize_tables, create_sqlalchemy_engine

    partial = path.with_name(f".{path.name}.{os.getpid()}")
    partial.unlink(missing_ok=True)
    engine = create_sqlalchemy_engine(database_uri(partial))
    _initialize_tables(engine)
    engine.dispose()
    with suppress(FileExistsError):
        path.hardlink_to(partial)  # unlike a rename this spares what another process has made meanwhile
    partial.unlink()


def _check(path: Path) -> None:
    """Read all of it, which takes seconds for a gigabyte: MLflow would find damage in the middle of a run."""
    if not path.is_file():
        raise TrackingError(f"{path}: is not a file, but MLflow's database should be there", remedy="Move it away")
    try:
        with closing(sqlite3.connect(path, timeout=30)) as connection:
            found = str(connection.execute("PRAGMA quick_check(1)").fetchone()[0])
            tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    except sqlite3.OperationalError as error:
        raise TrackingError(
            f"{path}: MLflow's database cannot be read: {error}",
            remedy="Check that it can be read and written, and that no other program keeps it locked",
            transient=True,
        ) from None
    except sqlite3.DatabaseError as error:
        found = str(error)
    if found == "ok" and not path.stat().st_size:
        found = "it is empty"
    if found == "ok" and "alembic_version" in tables and not tables >= _TABLES:
        found = f"it has no table {min(_TABLES - tables)}"
    if found != "ok":
        raise TrackingError(
            f"{path}: MLflow's database is damaged: {' '.join(found.split())}",
            remedy="Put a backup in its place, or move it away: the same command then makes a new one, to which a run"
            " logs its steps again, but without registered models",
        )
