import json

import pytest

from larpo_lib.errors import ConfigError, DataError
from larpo_lib.evaluation.alpaca_eval.files import read_length_control, read_outputs, read_preferences, require_whole

HEADER = "model,row,preference,len_ref,len_model\n"
GAMED = "preference,index,std_delta_len,instruction_difficulty,not_gamed_baseline,model\n"


def _gamed(path, rows=805, change=""):
    lines = [f"0.5,{i % 805},0.1,{-(i % 805)},False,{'verbose' if i < 805 else 'concise'}\n" for i in range(2 * rows)]
    path.write_text(GAMED + "".join(lines) + change)
    return path


def _difficulty(path, change=None):
    rows = {i: -float(i) for i in range(805)} | (change or {})
    path.write_text("index,instruction_difficulty\n" + "".join(f"{i},{value}\n" for i, value in rows.items()))
    return path


def test_preferences_are_read_by_model(tmp_path):
    file = tmp_path / "preferences.csv"
    file.write_text(HEADER + "a,3,1.25,10,20\nb,0,0,5,6\na,,2,7,8\na,4,,1,2\nb,1,NaN,3,4\n")
    found = read_preferences(file)
    assert [(c.row, c.preference, c.len_ref, c.len_model) for c in found["a"]] == [
        (3, 1.25, 10, 20), (None, 2.0, 7, 8), (4, None, 1, 2)]  # fmt: skip
    assert [c.preference for c in found["b"]] == [1.5, None]


def test_published_annotations_are_the_published_preferences(shared_data):
    """The file of preferences was made from the same annotations, by others."""
    (found,) = read_preferences(shared_data("alpaca_eval/gemma-7b-it.annotations.json.gz")).values()
    published = read_preferences(shared_data("alpaca_eval/preferences_6_models.csv.gz"))["gemma-7b-it"]
    assert len(found) == 805
    assert sorted(found, key=lambda one: one.row) == sorted(published, key=lambda one: one.row)


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("a,0,2.5,1,2", r"row 2, field 'preference': is 2.5, not 0 or from 1 to 2"),
        ("a,0,much,1,2", r"field 'preference': is 'much', not a number"),
        ("a,805,1,1,2", r"field 'row': is 805; AlpacaEval's instructions are 0 to 804"),
        ("a,0.5,1,1,2", r"field 'row': is 0.5, not a whole number"),
        ("a,0,1,-1,2", r"field 'len_ref': is -1, not a whole number"),
        ("a,0,1,1,", r"field 'len_model': is missing"),
        (",0,1,1,2", r"field 'model': is missing"),
        ("a,0,1,1,2\na,0,2,1,2", r"row 3, field 'row': appears twice for this model"),
    ],
)
def test_preferences_that_are_none_are_told(tmp_path, line, problem):
    file = tmp_path / "preferences.csv"
    file.write_text(f"{HEADER}{line}\n")
    with pytest.raises(DataError, match=problem):
        read_preferences(file)


def test_difficulties_come_from_their_own_file_or_from_the_gamed_rows(tmp_path):
    gamed, difficulty = _gamed(tmp_path / "gamed.csv"), _difficulty(tmp_path / "difficulty.csv", {7: -7.0000001})
    own, both = read_length_control(gamed, None), read_length_control(gamed, difficulty)
    assert len(own.gamed.preference) == 1610
    assert own.difficulty[7] == -7
    assert both.difficulty[7] == -7.0000001
    assert read_length_control(None, None) is None


def test_files_that_do_not_fit_are_told(tmp_path):
    gamed = _gamed(tmp_path / "gamed.csv")
    with pytest.raises(DataError, match=r"row 9, field 'instruction_difficulty': is -6, but the gamed rows have -7"):
        read_length_control(gamed, _difficulty(tmp_path / "difficulty.csv", {7: -6.0}))
    with pytest.raises(DataError, match="has 300 of the 805 instructions"):
        read_length_control(_gamed(tmp_path / "short.csv", rows=150), None)
    with pytest.raises(DataError, match="differs from the value in another row"):
        read_length_control(_gamed(tmp_path / "two.csv", change="0.5,3,0,9,False,verbose\n"), None)
    with pytest.raises(ConfigError, match=r"needs gamed in addition.*df_gamed.csv"):
        read_length_control(None, tmp_path / "difficulty.csv")


def test_a_missing_file_is_told_with_where_to_get_it(tmp_path):
    with pytest.raises(DataError, match=r"no such file.*huggingface.co/datasets/tatsu-lab/alpaca_eval.*df_gamed.csv"):
        read_length_control(tmp_path / "gamed.csv", None)
    with pytest.raises(DataError, match=r"no such file.*instruction_difficulty.csv"):
        read_length_control(_gamed(tmp_path / "gamed.csv"), tmp_path / "difficulty.csv")
    with pytest.raises(DataError, match=r"no such file.*alpaca_eval_gpt4_baseline.json"):
        read_outputs(tmp_path / "reference.json", kind="reference")


def _outputs(path, *rows):
    path.write_text(json.dumps(list(rows)))
    return path


def test_outputs_are_read_in_order_with_their_generator(tmp_path):
    rows = [{"instruction": "b", "output": "", "generator": "m"}, {"instruction": "a", "output": "x", "generator": "m"}]
    found = read_outputs(_outputs(tmp_path / "some.outputs.json", *rows))
    assert (found.generator, list(found.by_instruction.items())) == ("m", [("b", ""), ("a", "x")])
    assert (
        read_outputs(_outputs(tmp_path / "some.outputs.json", {"instruction": "a", "output": "x"})).generator == "some"
    )


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ({"instruction": "a", "output": "y"}, "row 2, field 'instruction': appears in an earlier row too"),
        ({"instruction": "b", "output": None}, "row 2, field 'output': is not text"),
        ({"output": "y"}, "row 2, field 'instruction': is missing"),
        ({"instruction": "b", "output": "y", "generator": "n"}, "row 2, field 'generator': differs"),
    ],
)
def test_outputs_that_are_none_are_told(tmp_path, row, problem):
    first = {"instruction": "a", "output": "x", "generator": "m"}
    with pytest.raises(DataError, match=problem):
        read_outputs(_outputs(tmp_path / "outputs.json", first, row))


def test_a_part_is_refused_unless_it_is_meant():
    require_whole(805, "file", partial=False)
    require_whole(3, "file", partial=True)
    with pytest.raises(ConfigError, match=r"file: 3 instructions, but AlpacaEval has 805.*partial"):
        require_whole(3, "file", partial=False)
