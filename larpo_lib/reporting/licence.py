"""The licence of a model, as far as its own files say."""

from dataclasses import dataclass
from pathlib import Path

import yaml

from larpo_lib.errors import LarpoError
from larpo_lib.models.hub import HubModel
from larpo_lib.models.hub_requests import download
from larpo_lib.parsing import parse_json
from larpo_lib.storage import cache_dir, fetch, is_remote

UNKNOWN = "unknown"


@dataclass(frozen=True)
class Licence:
    """A licence as model cards name it.

    Attributes:
        identity: such as `apache-2.0`; `unknown` where nothing is said.
        name, link: of one that is `other`; "" where they are not given.
    """

    identity: str = UNKNOWN
    name: str = ""
    link: str = ""


def licence_of(model: str) -> Licence:
    """The licence that a model's own README.md states in its front matter, else its config.json.

    Args:
        model: a directory, an s3:// URI, or a name on the hub.
    """
    return _of_card(_file(model, "README.md")) or _of_config(_file(model, "config.json")) or Licence()


def _file(model: str, name: str) -> Path | None:
    if Path(model).is_dir():
        return Path(model) / name
    if is_remote(model):
        try:
            return fetch(f"{model.rstrip('/')}/{name}", cache_dir())
        except LarpoError:  # there is none, or the store is away: the licence is not worth a run
            return None
    found = HubModel.parse(model)
    try:
        return None if found is None else download(found.name, found.revision, [name]) / name
    except LarpoError:  # as above
        return None


def _of_card(card: Path | None) -> Licence | None:
    if card is None or not card.is_file():
        return None
    text = card.read_text("utf-8", errors="replace")
    if not text.startswith("---"):
        return None
    try:
        found = yaml.safe_load(text.split("---", 2)[1])
        return _licence(found.get("license"), found.get("license_name"), found.get("license_link"))
    except (yaml.YAMLError, AttributeError, IndexError, RecursionError):  # a card that is no card says nothing
        return None


def _of_config(config: Path | None) -> Licence | None:
    if config is None or not config.is_file():
        return None
    try:
        return _licence(parse_json(config.read_text("utf-8")).get("license"), None, None)
    except (ValueError, AttributeError):
        return None


def _licence(identity: object, name: object, link: object) -> Licence | None:
    if not isinstance(identity, str) or not identity.strip():
        return None
    return Licence(identity.strip(), *(text.strip() if isinstance(text, str) else "" for text in (name, link)))
