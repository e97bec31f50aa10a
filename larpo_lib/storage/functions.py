"""Functions whose files are in a store: their code is read once, and stands in the settings from then on."""

from larpo_lib.caches import cache_dir
from larpo_lib.errors import StorageError
from larpo_lib.functions import FunctionTarget, SectionT, with_functions
from larpo_lib.storage.fetching import fetch
from larpo_lib.storage.locations import is_remote


def with_code(section: SectionT) -> SectionT:
    """The settings with the code of each function whose target is an `s3://` URI, as it is now.

    Raises:
        StorageError: there is no such file, it is no text, or the store refuses the read.
    """
    return with_functions(section, _fetched)


def _fetched(function: FunctionTarget) -> FunctionTarget:
    if function.code is not None or not is_remote(function.place):
        return function
    file = fetch(function.place, cache_dir())
    try:
        return function.model_copy(update={"code": file.read_text("utf-8")})
    except (UnicodeDecodeError, IsADirectoryError):
        raise StorageError(f"{function.place}: is no Python file", remedy="Give the URI of a file with UTF-8") from None
