"""Requests of a pipeline for tests: what its first component is given."""

import json
from typing import Any

Given = dict[str, Any]


def changed(given: Given, **settings: Any) -> Given:
    """The request with other settings beside it."""
    return {**given, "settings": json.dumps({**json.loads(given["settings"]), **settings})}
