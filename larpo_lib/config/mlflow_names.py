"""Names of runs, experiments and registered models: MLflow, its databases and `models:/NAME@alias` take them all."""

import re
from collections.abc import Callable
from typing import Annotated

from pydantic import AfterValidator
from pydantic_core import PydanticCustomError

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def _name(most: int, without: str = "", *, may_be_empty: bool = False) -> Callable[[str], str]:
    """Checks a name.

    Args:
        most: characters that a column of MLflow's database has for it.
        without: characters that it must not have.
        may_be_empty: whether it may have none.
    """

    def check(name: str) -> str:
        found = next((character for character in without if character in name), None)
        if not may_be_empty and name.strip(" .") == "":
            problem = "is empty" if name.strip() == "" else f"is only {name!r}"
        elif found is not None:
            problem = f"contains {found!r}, which a name of MLflow must not"
        elif _CONTROL.search(name):
            problem = "contains a control character, such as a new line"
        elif len(name) > most:
            problem = f"has {len(name)} characters, but MLflow takes at most {most}"
        else:
            return name
        raise PydanticCustomError("mlflow_name", "{problem}", {"problem": f"{problem}. Choose another name"})

    return check


RunName = Annotated[str, AfterValidator(_name(250, may_be_empty=True))]
ExperimentName = Annotated[str, AfterValidator(_name(256))]
ModelName = Annotated[str, AfterValidator(_name(256, "/:@'"))]
