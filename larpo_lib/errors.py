"""Errors that a user can mend. Everything else is a bug and keeps its traceback."""

from os import PathLike

from larpo_lib.redaction import presentable


class LarpoError(Exception):
    """A problem the user can mend, told in one line, without what looks like a secret and without control characters.

    Args:
        problem: what is wrong, naming the thing that is wrong.
        remedy: what to do about it; appended as a sentence of its own.

    Attributes:
        transient: whether the same may succeed at another time with nothing changed, such as where a server is away.
    """

    transient = False

    def __init__(self, problem: str, *, remedy: str = "") -> None:
        self.problem = presentable(problem)
        self.remedy = presentable(remedy)
        super().__init__(" ".join(_sentence(part) for part in (self.problem, self.remedy) if part))


class ConfigError(LarpoError):
    """A setting is unknown, of the wrong type, or contradicts another."""


class DataError(LarpoError):
    """Input data are missing or malformed; names the file, row and field."""

    def __init__(
        self,
        problem: str,
        *,
        path: str | PathLike[str],
        row: int | None = None,
        field: str | None = None,
        remedy: str = "",
    ) -> None:
        place = str(path)
        if row is not None:
            place += f", row {row}"
        if field is not None:
            place += f", field '{field}'"
        super().__init__(f"{place}: {problem}", remedy=remedy)
        self.path, self.row, self.field = str(path), row, field


class ColumnError(LarpoError):
    """A column of a prompt's row cannot be used for its reward; whoever knows the row makes it a DataError.

    Args:
        field: the column.
    """

    def __init__(self, problem: str, *, field: str, remedy: str = "") -> None:
        super().__init__(f"column '{field}': {problem}", remedy=remedy)
        self.problem, self.field = presentable(problem), field


class ArtifactError(LarpoError):
    """An artifact is incomplete, damaged, of another schema version, or made with other settings."""


class HeldError(ArtifactError):
    """Another process is at work on the same output or run; what it has made, and logged to MLflow, is left to it."""

    transient = True


class ModelError(LarpoError):
    """A model or tokenizer directory cannot be used."""


class StorageError(LarpoError):
    """A file system or object store refused a read or a write."""


class TrackingError(LarpoError):
    """The MLflow server or its registry refused a request.

    Args:
        transient: as of every LarpoError.
    """

    def __init__(self, problem: str, *, remedy: str = "", transient: bool = False) -> None:
        super().__init__(problem, remedy=remedy)
        self.transient = transient


class ClusterError(LarpoError):
    """The Kubernetes API refused a request, or a TrainJob failed."""


_TRANSIENT = frozenset({None, 408, 429, 500, 502, 503, 504})
"""HTTP statuses, None where there was no answer."""


class EndpointError(LarpoError):
    """A server gave no answer, or one that cannot be used.

    Args:
        status: the HTTP status it answered, if it answered.
    """

    def __init__(self, problem: str, *, remedy: str = "", status: int | None = None) -> None:
        super().__init__(problem, remedy=remedy)
        self.status = status
        self.transient = status in _TRANSIENT


class InputRefusedError(EndpointError):
    """A server refused an input for what it is; it takes others."""


class InputTooLongError(InputRefusedError):
    """A server refused an input because it is longer than its model can take."""


class FilteredError(InputRefusedError):
    """A server's content filter refused an input, or what its model made of it."""


def _sentence(text: str) -> str:
    one_line = " ".join(text.split())
    return one_line if one_line.endswith((".", "!", "?")) else one_line + "."
