"""Prepares what users bring: prompts, demonstrations, or responses that are ranked already."""

import functools
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from larpo_lib import storage
from larpo_lib.artifacts import Metrics, WorkDir, produce
from larpo_lib.config import PrepareConfig
from larpo_lib.contamination import asks
from larpo_lib.errors import ConfigError, DataError
from larpo_lib.files import write_json
from larpo_lib.metadata import column_types, write_metadata
from larpo_lib.progress import tell
from larpo_lib.samplers.base import stream_seed
from larpo_lib.sources import conversion, locating, reading
from larpo_lib.sources.conversion import Converted, Rows
from larpo_lib.steps import rendering
from larpo_lib.tables import write_table

RECORD = "columns.json"
"""In each artifact: what the source's columns were taken for, what was not used, and which rows were dropped."""

_TOLD = 20
"""Dropped prompts that the record names."""


def run(config: PrepareConfig, *, prompts: Path, heldout: Path | None = None) -> Metrics:
    """Publish the source's distinct prompts.

    `config.heldout` of them, chosen by `config.seed` and their content alone, are kept apart in `heldout`; of the rest
    the first `config.limit` in the source's order go to `prompts`. `heldout` is published first, so where `prompts` is
    there, both are.

    Args:
        config: the source and what to take of it.
        prompts: artifact to publish, with `prompts.parquet`.
        heldout: a second such artifact; needed if, and only if, `config.heldout` is not 0.

    Raises:
        DataError: the source is missing or malformed, or has too few prompts.
        ConfigError: `config.heldout` and `heldout` do not go together.
    """
    if (heldout is not None) != (config.heldout > 0):
        raise ConfigError(
            f"heldout = {config.heldout}, but {'no' if heldout is None else 'a'} path for held-out prompts is set",
            remedy="Set both or neither",
        )
    source = _Source.open(config, conversion.prompts)

    def split() -> tuple[Rows, Rows, Metrics]:
        found = source.convert()
        asked = found.tables["prompts"]
        apart, rest = (asked.only(keys) for keys in _hold_out(asked.keys, config))
        kept = rest.only(rest.keys[: config.limit])
        counts = {
            **_count(kept),
            "heldout": len(apart),
            "over_limit_dropped": len(rest) - len(kept),
            "prompts_that_ask_as_heldout": _asked_alike(kept, apart),
        }
        return kept, apart, found.counts | counts

    def make_heldout(work: WorkDir) -> Metrics:
        apart = split()[1]
        source.write_prompts(work, apart)
        return _count(apart)

    def make_prompts(work: WorkDir) -> Metrics:
        kept, _, counts = split()
        source.write_prompts(work, kept)
        return counts

    if heldout is not None:
        source.produce("prepare.heldout", heldout, make_heldout)
    return source.produce("prepare.prompts", prompts, make_prompts)


def demonstrations(config: PrepareConfig, *, demonstrations: Path) -> Metrics:
    """Publish the first `config.limit` of the source's distinct demonstrations as `demonstrations.parquet`.

    Raises:
        DataError: the source is missing or malformed.
        ConfigError: `config.heldout` is set.
    """
    _refuse_heldout(config)
    source = _Source.open(config, conversion.demonstrations)

    def make(work: WorkDir) -> Metrics:
        found = source.convert()
        rows = found.tables["demonstrations"]
        kept = rows.only(rows.keys[: config.limit])
        write_table(work.data / "demonstrations.parquet", "demonstrations", kept)
        counts = {
            "demonstrations": len(kept),
            "prompts": len({row["prompt_id"] for row in kept}),
            "over_limit_dropped": len(rows) - len(kept),
        }
        return found.counts | counts

    return source.produce("prepare.demonstrations", demonstrations, make)


def ranked(config: PrepareConfig, *, prompts: Path, ranked: Path) -> Metrics:
    """Publish responses that come with rewards as `ranked.parquet`, and their prompts as `prompts.parquet`.

    Of the prompts the first `config.limit` are taken, with all their responses. `prompts` is published first, so where
    `ranked` is there, both are.

    Raises:
        DataError: the source is missing or malformed.
        ConfigError: `config.heldout` is set.
    """
    _refuse_heldout(config)
    source = _Source.open(config, conversion.ranked)

    def make(schema: str, work: WorkDir) -> Metrics:
        found = source.convert()
        asked = found.tables["prompts"]
        kept = asked.only(asked.keys[: config.limit])
        given = found.tables["ranked"].only(kept.keys)
        if schema == "prompts":
            source.write_prompts(work, kept)
        else:
            write_table(work.data / f"{schema}.parquet", schema, _in_order(given))
        counts = {**_count(kept), "responses": len(given), "over_limit_dropped": len(asked) - len(kept)}
        return found.counts | counts

    source.produce("prepare.ranked.prompts", prompts, functools.partial(make, "prompts"))
    return source.produce("prepare.ranked", ranked, functools.partial(make, "ranked"))


@dataclass(frozen=True)
class _Source:
    """A source whose content is part of the fingerprint of everything made from it.

    Of files that is their digest, so they are read only where there is something to make. A data set's name has no file
    of its own: its rows are loaded at once, and what they convert to is the identity.
    """

    config: PrepareConfig
    inputs: dict[str, Path]
    arguments: dict[str, Any]
    convert: Callable[[], Converted]
    report: Callable[[], None]

    @classmethod
    def open(cls, config: PrepareConfig, convert: Callable[[reading.Raw, PrepareConfig], Converted]) -> Self:
        # The place of a local file is no part of its identity.
        identity = config.model_copy(update={"source": locating.source_name(config.source)})
        rendered = rendering.identities(config)
        arguments: dict[str, Any] = {"templates": rendered} if rendered else {}
        if not storage.is_remote(config.source) and locating.is_dataset(config.source):
            converted = _usable(convert(reading.read_dataset(config.source, config.split), config), config)
            arguments["rows"] = _identity(converted)
            return cls(identity, {}, arguments, lambda: converted, functools.cache(lambda: _report(converted)))
        located = locating.locate(config.source, storage.fetch(config.source, storage.cache_dir()), config.split)
        read = functools.cache(lambda: _usable(convert(located.read(), config), config))
        return cls(identity, located.inputs, arguments, read, functools.cache(lambda: _report(read())))

    def write_prompts(self, work: WorkDir, rows: Rows) -> None:
        """Write some of the source's prompts, and beside them the columns of their rows that are kept."""
        ordered = _in_order(rows)
        write_table(work.data / "prompts.parquet", "prompts", ordered)
        write_metadata(work.data, ordered, self.convert().columns)

    def produce(self, step: str, output: Path, make: Callable[[WorkDir], Metrics]) -> Metrics:
        def recorded(work: WorkDir) -> Metrics:
            metrics = make(work)
            write_json(work.data / RECORD, self.convert().record)
            self.report()
            return metrics

        return produce(step, self.config, self.inputs, output, recorded, arguments=self.arguments)


def _identity(converted: Converted) -> str:
    """A hash of all rows and counts."""
    found = hashlib.sha256()
    for part in _as_json(converted):
        found.update(part.encode())
    return found.hexdigest()


def _as_json(converted: Converted) -> Iterator[str]:
    """What `json.dumps([tables, counts], sort_keys=True)` gives, row by row."""

    def written(value: Any) -> str:
        return json.dumps(value, sort_keys=True, default=repr)

    yield "[{"
    for number, (name, rows) in enumerate(sorted(converted.tables.items())):
        yield f"{', ' if number else ''}{written(name)}: ["
        for place, row in enumerate(rows):
            yield f"{', ' if place else ''}{written(row)}"
        yield "]"
    yield f"}}, {written(converted.counts)}]"


def _usable(converted: Converted, config: PrepareConfig) -> Converted:
    """What is left without the prompts that a model of the run cannot be given, and columns that cannot be kept.

    Raises:
        DataError: there are such prompts, and they are not to be dropped; or such columns, and settings name them.
    """
    asked = next(iter(converted.tables.values()))
    number, refused = rendering.refusals(config, ((str(row["prompt_id"]), row["messages"]) for row in asked))
    if refused and config.invalid == "refuse":
        identity, why = next(iter(refused.items()))
        first = next(row["messages"] for row in asked if row["prompt_id"] == identity)
        raise DataError(
            f"{len(refused)} of {number} prompts cannot be rendered for the models of the run. The first "
            f"one is {identity} ({first[-1]['content'][:60]!r}): {why}",
            path=config.source,
            remedy="Change them, set another template (model.chat_template), or drop them with invalid = 'drop'",
        )
    counts = {**converted.counts, "unrenderable_prompts_dropped": len(refused)}
    record = {**converted.record, "prompts_dropped": dict(list(refused.items())[:_TOLD])}
    tables = {name: _without(refused, rows) for name, rows in converted.tables.items()} if refused else converted.tables
    named = () if config.columns.keep == "all" else config.columns.keep
    rows = next(iter(tables.values()))
    columns = column_types(rows, config.source, named)
    read = next(iter(rows), {}).get("columns", {})
    if lost := [name for name in read if columns.get_field_index(name) < 0]:
        kept = [field.name for field in columns]
        record |= {"kept": kept, "cannot_be_kept": lost}
        counts |= {"columns_kept": len(kept), "columns_that_cannot_be_kept": len(lost)}
    return Converted(tables, counts, record, columns)


def _without(refused: Mapping[str, str], rows: Rows) -> Rows:
    """The rows of other prompts."""
    return rows.only([key for key in rows.keys if rows.read(key)[0]["prompt_id"] not in refused])


def _report(converted: Converted) -> None:
    """Say what each column was taken for, what was not used, and what was dropped."""
    record, counts = converted.record, converted.counts
    taken = "; ".join(f"{use} from {', '.join(columns)}" for use, columns in record["taken"].items())
    kept = f"; kept: {', '.join(record['kept'])}" if record.get("kept") else ""
    unused = f"; not used: {', '.join(record['not_used'])}" if record["not_used"] else ""
    tell(f"{record['source']}: {taken}{kept}{unused}")
    if lost := record.get("cannot_be_kept"):
        why = "for values that cannot be kept as they are, neither typed nor as JSON"
        tell(f"{record['source']}: columns left out {why}: {', '.join(lost)}")
    if record["files_not_read"]:
        tell(f"{record['source']}: files of other splits are not read: {', '.join(record['files_not_read'])}")
    if counts["unrenderable_prompts_dropped"]:
        dropped = f"{counts['unrenderable_prompts_dropped']} prompts cannot be rendered for the models and are dropped"
        tell(f"{record['source']}: {dropped}. The first one: {next(iter(record['prompts_dropped'].values()))}")
    if counts["invalid_rows_dropped"]:
        dropped = f"{counts['invalid_rows_dropped']} of {counts['rows_read']} rows cannot be used and are dropped"
        tell(f"{record['source']}: {dropped}. The first one: {record['rows_dropped'][0]['why']}")


def _hold_out(prompts: Sequence[str], config: PrepareConfig) -> tuple[list[str], list[str]]:
    """The held-out prompts and the rest, each in the source's order. Their choice does not depend on that order."""
    if config.heldout >= len(prompts):
        raise DataError(
            f"contains {len(prompts)} distinct prompts, so heldout = {config.heldout} would leave none for training",
            path=config.source,
            remedy="Reduce heldout",
        )
    by_chance = sorted(prompts, key=lambda prompt: stream_seed("heldout", config.seed, prompt))
    chosen = set(by_chance[: config.heldout])
    apart = [prompt for prompt in prompts if prompt in chosen]
    return apart, [prompt for prompt in prompts if prompt not in chosen]


def _asked_alike(kept: Rows, apart: Rows) -> int:
    """Prompts that end with the message of a held-out one, behind another system prompt or other turns."""
    held = {asks(row["messages"][-1:]) for row in apart}
    return sum(asks(row["messages"][-1:]) in held for row in kept) if held else 0


def _in_order(rows: Rows) -> Rows:
    """By rising prompt_id: later steps go through prompts in this order, so they read a table from front to back."""
    return rows.only(sorted(rows.keys))


def _count(prompts: Rows) -> Metrics:
    return {"prompts": len(prompts), "references": sum(row["reference"] is not None for row in prompts)}


def _refuse_heldout(config: PrepareConfig) -> None:
    if config.heldout:
        raise ConfigError(
            f"heldout = {config.heldout}: only prompts can be held out", remedy="Remove heldout for this source"
        )
