"""Held-out prompts that are trained on, as prompts or in demonstrations: on them an evaluation says too much."""

import logging
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path

from larpo_lib.schemas import Messages
from larpo_lib.tables import iterate_table

_LOG = logging.getLogger(__name__)
_TRAINED_ON = ("prompts", "demonstrations")


def asks(messages: Messages) -> Hashable:
    """What two prompts have in common that a chat template may render alike: white space around a message is not it."""
    return tuple((message["role"], message["content"].strip()) for message in messages)


def trained_on(heldout: Path, preparations: Sequence[Path]) -> list[set[Hashable]]:
    """The held-out prompts that each of some artifacts has too, as `asks` has them; none of one without prompts.

    Raises:
        ArtifactError: a table is damaged.
    """
    held = {asks(row["messages"]) for row in iterate_table(heldout, "prompts", ["messages"])}

    def common(path: Path) -> set[Hashable]:
        schemas = [schema for schema in _TRAINED_ON if (path / f"{schema}.parquet").is_file()]
        rows = (row for schema in schemas for row in iterate_table(path, schema, ["messages"]))
        return {found for row in rows if (found := asks(row["messages"])) in held}

    return [common(path) for path in preparations]


def tell_trained_on(heldout: Path, trained: Mapping[str, Path]) -> None:
    """Warn if held-out prompts are trained on, before anything is.

    Args:
        heldout: artifact of held-out prompts.
        trained: artifacts of what is trained on, by name.
    """
    common = zip(trained, trained_on(heldout, [*trained.values()]), strict=True)
    found = ", ".join(f"{len(some)} are in {name}" for name, some in common if some)
    if found:
        _LOG.warning(
            "some of the held-out prompts are trained on (%s), so an evaluation on them says too much: leave them out "
            "there, or hold out others",
            found,
        )
