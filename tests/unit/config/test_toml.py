import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from larpo_lib.config import LarpoConfig, load_config
from larpo_lib.config.load import check
from larpo_lib.config.toml import document, inline
from larpo_lib.presets import preset_file, preset_names

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
scalars = st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False) | texts
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3), max_leaves=8
)


@given(st.dictionaries(texts, values, max_size=4))
def test_a_reader_of_toml_finds_what_was_written(tree):
    assert tomllib.loads(document(tree)) == tree
    assert tomllib.loads(f"value = {inline(tree)}")["value"] == tree


def test_nested_tables_have_headings_and_what_is_null_is_left_out():
    text = document({"a": {"b": {"c": 1e-05}, "d": None, "e": [{"f": 'x\n"y'}]}, "g": True})
    assert text == 'g = true\n\n[a]\ne = [{f = "x\\n\\"y"}]\n\n[a.b]\nc = 1e-05\n'


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_is_read_back_as_the_same_settings(name):
    config = load_config(
        preset_file(name), ["model.chat_template='{{ \"<|im_end|>\\n\" }}'", "policy=models/ä", "prepare.source=ö"]
    )
    assert check(LarpoConfig, tomllib.loads(document(config.model_dump(mode="json")))) == config
