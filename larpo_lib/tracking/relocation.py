"""A store that was moved or copied: MLflow's database has whole paths, which are changed to where the store is now.

Otherwise a moved store would be written to where it was, and a copy would write into its origin.
"""

import logging
import sqlite3
from contextlib import closing
from pathlib import Path

from larpo_lib.errors import TrackingError

_PLACES = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)
"""Tables and columns of MLflow's database with the place of files."""
_ARTIFACTS = "artifacts"


def artifacts_of(store: Path) -> str:
    """Where a store keeps its files, as MLflow's database has it."""
    return (store.absolute() / _ARTIFACTS).as_uri()


def follow_move(database: Path) -> None:
    """Make a database say where its files are, if its folder was moved or copied since it was last used.

    Args:
        database: of MLflow; its files are beside it in the folder `artifacts`, or elsewhere, which is left as it is.

    Raises:
        TrackingError: the database cannot be written.
    """
    store = database.absolute().parent
    if not (store / _ARTIFACTS).is_dir():
        return
    with closing(sqlite3.connect(database)) as connection:
        before = [place for place in _places(connection) if _was_here(place, database)]
        if not before:
            return
        try:
            with connection:
                for place in before:
                    _change(connection, place, artifacts_of(store))
        except sqlite3.OperationalError as error:
            if all(_local(place).exists() for place in before):  # of a copy: what may not be written is only read
                logging.getLogger(__name__).warning(
                    "%s: is a copy that cannot be written; the origin's files are read", database
                )
                return
            raise TrackingError(
                f"{database}: its folder was moved or copied, and it cannot be told so: {error}",
                remedy="Make it writable, or copy its folder to where it is",
            ) from None
    logging.getLogger(__name__).info("%s: was moved or copied; it now says where its files are", database)


def _places(connection: sqlite3.Connection) -> list[str]:
    """Where the experiments keep their files."""
    if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'experiments'").fetchall():
        return []  # MLflow makes the tables of an empty database
    found = connection.execute("SELECT DISTINCT artifact_location FROM experiments").fetchall()
    return [place for (place,) in found if place]


def _was_here(place: str, database: Path) -> bool:
    """Whether a place is that of the store's files before it was moved or copied."""
    path = _local(place) if place.startswith("file:") else None
    if path is None or path.name != _ARTIFACTS or path.parent == database.absolute().parent:
        return False
    other = path.parent / database.name
    return not other.samefile(database) if other.exists() else not path.exists()


def _local(place: str) -> Path:
    from mlflow.utils.file_utils import local_file_uri_to_path

    return Path(local_file_uri_to_path(place))


def _change(connection: sqlite3.Connection, before: str, now: str) -> None:
    for table, column in _PLACES:
        connection.execute(
            f"UPDATE {table} SET {column} = ? || substr({column}, ?) "  # noqa: S608, the names are those above
            f"WHERE {column} = ? OR substr({column}, 1, ?) = ?",
            (now, len(before) + 1, before, len(before) + 1, f"{before}/"),
        )
