"""Settings with tables of a user's own, whose names MLflow does not take, as parameters of a run."""

import json
from typing import Any

from mlflow.utils.validation import MAX_ENTITY_KEY_LENGTH
from tracked import KEY, reader

from larpo_lib.config import LarpoConfig
from larpo_lib.tracking import Tracker, flatten

SCHEMA: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "$defs": {"name": {"type": "string"}},
    "type": "object",
    "properties": {"a.b": {"$ref": "#/$defs/name"}, "a": {"type": "object", "properties": {"b": {"const": 1}}}},
    "patternProperties": {"^x.*$": {"type": "integer"}, "": {}, "../c": True},
}
BELOW = {"type": "object", "properties": {"user": {"$ref": "#/$defs/name"}}}


def test_tables_with_names_that_mlflow_refuses_are_one_parameter(tracker: Tracker, config: LarpoConfig) -> None:
    tree = config.model_dump(mode="json")
    function = {"type": "function", "target": "r.py:f", "settings": {"goal": 40, "weights": {"C++": 1.5, "Ada": 1}}}
    tree["rerank"]["reranker"] = {"type": "json_schema", "accepted": SCHEMA}
    tree["evaluate"]["reranker"] = function
    with tracker.run("demo", KEY, LarpoConfig.model_validate(tree)) as run:
        pass
    params = reader(tracker).get_run(run.run_id).data.params
    assert json.loads(params["rerank.reranker.accepted"]) == SCHEMA
    assert not [name for name in params if name.startswith("rerank.reranker.accepted.")]
    assert params["evaluate.reranker.settings.goal"] == "40"  # as before: comparable by itself
    assert json.loads(params["evaluate.reranker.settings.weights"]) == {"C++": 1.5, "Ada": 1}


def test_the_smallest_table_with_such_a_name_is_one_parameter() -> None:
    assert dict(flatten({"accepted": BELOW, "other": {"b": 1, "a": {}}})) == {
        "accepted.type": "object",
        "accepted.properties.user": '{"$ref": "#/$defs/name"}',
        "other.b": "1",
    }
    twice = {"a.b": 1, "a": {"b": 2}}  # both would be a.b
    assert dict(flatten({"settings": twice})) == {"settings": json.dumps(twice)}


def test_no_name_is_longer_than_mlflow_takes() -> None:
    deep: Any = {"type": "string"}
    for level in range(30):
        deep = {"properties": {f"level{level}": deep}}
    names = [name for name, _ in flatten({"accepted": deep})]
    assert len(names) == 1
    assert MAX_ENTITY_KEY_LENGTH - 20 < len(names[0]) <= MAX_ENTITY_KEY_LENGTH
