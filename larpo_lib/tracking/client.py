"""A client of MLflow that tells in one line what is wrong, within seconds and without credentials."""

import logging
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from larpo_lib.errors import LarpoError, TrackingError
from larpo_lib.redaction import redact
from larpo_lib.tracking.database import database_path, prepare_database

_PROBE_TIMEOUT_S = 5
_ERROR_LENGTH = 500
_SETTINGS = "tracking.uri or MLFLOW_TRACKING_URI"
_BUSY = frozenset({408, 429, 500, 502, 503, 504})
_NEVER = {  # BAD_REQUEST: of a damaged database, too
    "INVALID_PARAMETER_VALUE": "Change the name or value that it does not allow, or restore what was deleted there",
    "RESOURCE_DOES_NOT_EXIST": f"Restore what was deleted there, or check {_SETTINGS}, and MLFLOW_RUN_ID if it is set",
}
_ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # it would print the URI with its password
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}


class InvalidError(TrackingError):
    """MLflow can never do what it was asked for: a name or value is not allowed, or what it is about is gone."""


class TrackingClient:
    """`mlflow.MlflowClient` whose refusals are told as TrackingError, in one line and without credentials.

    Args:
        uri: of an MLflow server or of a database.

    Raises:
        TrackingError: nothing that MLflow can use answers at `uri`; told within seconds.
    """

    def __init__(self, uri: str) -> None:
        for name, value in _ENVIRONMENT.items():  # read when mlflow is imported
            os.environ.setdefault(name, value)
        self.uri = uri
        with mlflow_errors(uri):
            if (database := database_path(uri)) is not None:
                prepare_database(database)
            probe(uri)
            from mlflow import MlflowClient
            from mlflow.tracking._tracking_service import utils

            utils._artifact_repos_cache.clear()  # by run, so that in a copy of a store the places are the origin's
            logging.getLogger("mlflow.store.db.utils").addFilter(_without_traceback)
            self._client = MlflowClient(tracking_uri=uri)

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._client, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            with mlflow_errors(self.uri):
                return method(*args, **kwargs)

        return call


@contextmanager
def mlflow_errors(uri: str) -> Iterator[None]:
    """Turn what MLflow at `uri` raises into a TrackingError. The cause is cut off: it may hold the password."""
    try:
        yield
    except LarpoError:
        raise
    except Exception as error:
        if not isinstance(error, _refusals()):
            raise
        problem = f"MLflow at {redact(uri)}: {one_line(error)}"
        kind = InvalidError if getattr(error, "error_code", "") in _NEVER else TrackingError
        raise kind(problem, remedy=_remedy(error), transient=_is_transient(error)) from None


def _without_traceback(record: logging.LogRecord) -> bool:
    """What MLflow shows of an error that it also raises."""
    return record.exc_info is None


def probe(uri: str) -> None:
    """Ask once whether anything answers, for seconds: MLflow itself would go on asking for minutes."""
    scheme = uri.partition("://")[0].partition("+")[0]
    if scheme in ("http", "https"):
        from mlflow.utils.credentials import get_default_host_creds
        from mlflow.utils.rest_utils import http_request

        http_request(get_default_host_creds(uri), "/health", "GET", max_retries=0, timeout=_PROBE_TIMEOUT_S)
    elif scheme in ("sqlite", "postgresql", "mysql", "mssql"):
        import sqlalchemy

        sqlalchemy.inspect(sqlalchemy.create_engine(uri, poolclass=sqlalchemy.NullPool))
    elif scheme != "databricks":
        raise TrackingError(
            f"MLflow cannot store runs at '{redact(uri)}'",
            remedy=f"Set {_SETTINGS} to http(s)://..., sqlite:///... or postgresql://..., or remove both",
        )


def _refusals() -> tuple[type[Exception], ...]:
    """What MLflow, its databases and its artifact stores raise when they refuse."""
    from boto3.exceptions import Boto3Error
    from botocore.exceptions import BotoCoreError, ClientError
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    databases = (SQLAlchemyError, sqlite3.Error)
    # ValueError: a port that is no number
    return (MlflowException, *databases, OSError, ImportError, ValueError, Boto3Error, BotoCoreError, ClientError)


def _is_transient(error: Exception) -> bool:
    """Whether the server or what is behind it was away or busy."""
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import OperationalError

    if isinstance(error, MlflowException):
        return error.get_http_status_code() in _BUSY
    return isinstance(error, OperationalError | OSError)


def _remedy(error: Exception) -> str:
    if isinstance(error, ImportError):
        return f"Install the database driver that {_SETTINGS} names"
    code = getattr(error, "error_code", "")
    if code in _NEVER:
        return _NEVER[code]
    if code in ("UNAUTHENTICATED", "PERMISSION_DENIED", "CUSTOMER_UNAUTHORIZED"):
        return "Set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN"
    if "database schema" in str(error):
        return "Use the version of MLflow that wrote the database, or run `mlflow db upgrade` on a backup of it"
    return (
        f"Check {_SETTINGS}, and that the server is running; without both, runs are stored in the run's own directory"
    )


def one_line(error: BaseException) -> str:
    """An error in at most 500 characters, without credentials."""
    text = redact(" ".join(str(error).split())) or type(error).__name__
    if not isinstance(error, LarpoError) and str(error):
        text = f"{type(error).__name__}: {text}"
    return text if len(text) <= _ERROR_LENGTH else text[:_ERROR_LENGTH] + "..."
