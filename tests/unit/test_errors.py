import pytest

from larpo_lib import errors
from larpo_lib.errors import DataError, LarpoError


@pytest.mark.parametrize(
    ("problem", "remedy", "message"),
    [
        ("disk full", "Free space", "disk full. Free space."),
        ("disk full.", "", "disk full."),
        ("is it there?", "Look!", "is it there? Look!"),
        ("first line\n  second\tline", "a\nb", "first line second line. a b."),
    ],
)
def test_message_is_one_line_of_sentences(problem: str, remedy: str, message: str) -> None:
    error = LarpoError(problem, remedy=remedy)
    assert str(error) == message
    assert (error.problem, error.remedy) == (problem, remedy)


@pytest.mark.parametrize(
    ("row", "field", "message"),
    [
        (None, None, "a.jsonl: is empty. Fill it."),
        (3, None, "a.jsonl, row 3: is empty. Fill it."),
        (0, "prompt", "a.jsonl, row 0, field 'prompt': is empty. Fill it."),
        (None, "prompt", "a.jsonl, field 'prompt': is empty. Fill it."),
    ],
)
def test_place_of_bad_data_is_named(row: int | None, field: str | None, message: str) -> None:
    error = DataError("is empty", path="a.jsonl", row=row, field=field, remedy="Fill it")
    assert str(error) == message
    assert (error.path, error.row, error.field) == ("a.jsonl", row, field)


def test_one_handler_catches_whatever_a_user_can_mend() -> None:
    kinds = [value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, Exception)]
    assert len(kinds) == 14
    assert all(issubclass(kind, LarpoError) for kind in kinds)
