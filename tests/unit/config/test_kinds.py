import subprocess
import sys
from typing import Any, ClassVar, Literal

import pytest
from pydantic import TypeAdapter

from larpo_lib.config import Section
from larpo_lib.config.kinds import KINDS, ChatRerankerConfig, JudgeConfig, RerankerConfig, SingleRerankerConfig
from larpo_lib.config.registry import Kind
from larpo_lib.rewards.rerankers.verifier import VerifierConfig


def test_settings_of_every_kind_are_read_without_heavy_libraries() -> None:
    """In a process of its own: here they are loaded already."""
    program = """
import sys
from larpo_lib.config import load_config
from larpo_lib.config.kinds import KINDS
load_config(None, ["policy=p", "prepare.source=s", "prepare.heldout=1"])
assert all(entry.model_fields for kind in KINDS for entry in kind.entries().values())
heavy = {"torch", "transformers", "httpx2", "scipy", "sentence_transformers", "mlflow", "datasets", "boto3"}
print(sorted(heavy & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.stdout.strip(), done.returncode) == ("[]", 0), done.stderr


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_an_entry_is_known_by_its_type_and_the_usual_one_comes_first(kind: type[Kind]) -> None:
    entries = kind.entries()
    assert next(iter(entries)) == kind.usual
    assert type(kind.default()) is entries[kind.usual]
    assert {name: entry.model_fields["type"].default for name, entry in entries.items()} == {
        name: name for name in entries
    }
    assert kind.alternatives() == [*entries.values()]


def test_a_kind_within_a_kind_has_a_part_of_its_entries() -> None:
    assert {*RerankerConfig.entries()} - {*SingleRerankerConfig.entries()} == {"ensemble"}
    assert [*ChatRerankerConfig.entries()] == ["classifier"]


def test_a_value_is_an_entry_or_a_table_of_one() -> None:
    adapter: TypeAdapter[Any] = TypeAdapter(RerankerConfig)
    one = VerifierConfig(mode="exact")
    assert adapter.validate_python(one) is one
    assert adapter.validate_python({"type": "verifier", "mode": "exact"}) == one
    with pytest.raises(ValueError, match="Unable to extract tag"):
        adapter.validate_python({"mode": "exact"})
    with pytest.raises(ValueError, match="does not match any of the expected tags"):
        adapter.validate_python({"type": "unheard"})
    assert TypeAdapter(JudgeConfig).validate_python({"mode": "math"}).type == "verifier"


def test_settings_that_hold_a_kind_are_written_whole() -> None:
    class Holder(Section):
        reranker: RerankerConfig
        others: tuple[RerankerConfig, ...] = ()

    held = Holder.model_validate({"reranker": {"type": "verifier"}, "others": [{"type": "classifier", "path": "m"}]})
    again = Holder.model_validate(held.model_dump(mode="json"))
    assert again == held
    assert again.identity()["reranker"] == VerifierConfig().model_dump()


def test_an_entry_of_elsewhere_can_be_handed_in() -> None:
    class Constant(SingleRerankerConfig):
        does: ClassVar[str] = "nothing"
        type: Literal["constant"] = "constant"

        def make(self) -> None:
            """Nothing is made."""

    one = Constant()
    assert TypeAdapter(RerankerConfig).validate_python(one) is one
    assert (one.list_relative, one.thoughts, one.references, one.models()) == (False, "strip", frozenset(), {})
    assert one.beyond_one == "the scores of 'constant' are unbounded"


def test_an_entry_that_does_not_say_how_it_is_made_is_none() -> None:
    class Unmade(SingleRerankerConfig):
        type: Literal["unmade"] = "unmade"

    with pytest.raises(TypeError, match="abstract method make"):
        Unmade.model_validate({})
