"""A step is tried again where time may mend it, and only there."""

from collections.abc import Callable

import pytest
from mlflow.exceptions import MlflowException, RestException

from larpo_lib.errors import ClusterError, ConfigError, EndpointError, InputTooLongError, LarpoError, TrackingError
from larpo_lib.pipeline.retries import PAUSES_S, is_transient, with_retries
from larpo_lib.storage.failures import NotFoundError, UnreachableError
from larpo_lib.tracking.client import mlflow_errors


def failing(*errors: Exception) -> Callable[[], str]:
    """Raises one after the other, then gives a word."""
    left = list(errors)

    def work() -> str:
        if left:
            raise left.pop(0)
        return "done"

    return work


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses, which take no time."""
    pauses: list[float] = []
    monkeypatch.setattr("larpo_lib.pipeline.retries.sleep", pauses.append)
    return pauses


def test_it_waits_longer_each_time_and_ends_with_what_the_work_gives(
    slept: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    away = [
        UnreachableError("s3://b/x: store cannot be reached"),
        EndpointError("answered 503", status=503),
        TimeoutError(),
    ]
    assert with_retries(failing(*away)) == "done"
    assert slept == [*PAUSES_S]
    assert "s3://b/x: store cannot be reached. Retrying in 30 s." in caplog.text


def test_at_the_end_the_error_is_the_works_own(slept: list[float]) -> None:
    errors = [UnreachableError(f"try {i}") for i in range(4)]
    with pytest.raises(UnreachableError, match="try 3"):
        with_retries(failing(*errors))
    assert len(slept) == 3


@pytest.mark.parametrize(
    ("error", "transient"),
    [
        (UnreachableError("x"), True),
        (NotFoundError("x"), False),
        (EndpointError("no answer"), True),
        (EndpointError("x", status=429), True),
        (EndpointError("x", status=401), False),
        (InputTooLongError("x", status=400), False),
        (TrackingError("x"), False),
        (ClusterError("x"), False),
        (ConfigError("x"), False),
        (ConnectionResetError("x"), True),
        (RuntimeError("CUDA out of memory"), False),
        (FileNotFoundError("x"), False),
    ],
)
def test_what_may_pass(error: Exception, transient: bool, slept: list[float]) -> None:
    assert is_transient(error) is transient
    if not transient:
        with pytest.raises(type(error)):
            with_retries(failing(error))
        assert slept == []


@pytest.mark.parametrize(
    ("error", "transient"),
    [
        (MlflowException("API request failed with HTTPConnectionPool"), True),  # an internal error to MLflow
        (RestException({"error_code": "TEMPORARILY_UNAVAILABLE", "message": "busy"}), True),
        (RestException({"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "no such run"}), False),
        (RestException({"error_code": "PERMISSION_DENIED", "message": "no"}), False),
        (ConnectionRefusedError("refused"), True),
        (ValueError("port"), False),
    ],
)
def test_what_may_pass_of_mlflow(error: Exception, transient: bool) -> None:
    with pytest.raises(TrackingError) as raised, mlflow_errors("http://mlflow"):
        raise error
    assert raised.value.transient is transient


def test_errors_do_not_pass_unless_they_say_so() -> None:
    assert LarpoError("x").transient is False
