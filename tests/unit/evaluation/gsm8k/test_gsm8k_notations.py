"""All answers of GSM8K's test set in the notations that models give them in: every one is right."""

import gzip
import json
import re

import pytest

from larpo_lib.evaluation.gsm8k.scoring import accuracy

UNITS = ("dollars", "days", "miles per hour", "m", "cm^2", "percent", "years old")


def _apart(number, separator):
    """The number with a separator between its thousands."""
    sign, digits = ("-", number[1:]) if number.startswith("-") else ("", number)
    groups = [digits[max(0, end - 3) : end] for end in range(len(digits), 0, -3)]
    return sign + separator.join(reversed(groups))


NOTATIONS = {
    "box": r"So \boxed{<n>}",
    "braced comma": r"So $\boxed{<n{,}>}$.",
    "thin space": r"So \[\boxed{<n\,>}\]",
    "comma and negative space": r"\boxed{<n,\!>}",
    "dollar": r"\boxed{\$<n,>}",
    "text": r"\boxed{\text{<n>}} in 3 days",
    "unit in the box": r"\boxed{<n> \text{ <unit>}}",
    "unit behind the box": r"\boxed{<n>} <unit>",
    "sentence behind": r"So \boxed{<n>}. That is 3 more than <i> and 1/2 of the <n>0 before.",
    "mark and unit": "16 - 3 = 13\n#### <n > <unit>",
    "unicode": "#### <n\u202f>",
    "decimals": r"\boxed{<n,>.00}",
    "answer is": "There are <i> of 7. The answer is <n,> <unit>.\nI checked 2 times.",
    "bold": "**Answer:** **<n,>** <unit>",
}
"""`<n,>` is the number with that between its thousands."""


def _written(notation, number, i):
    text = re.sub(r"<n(.{0,3})>", lambda found: _apart(number, found[1]), NOTATIONS[notation])
    return text.replace("<i>", str(i)).replace("<unit>", UNITS[i % len(UNITS)])


@pytest.fixture(scope="module")
def references(shared_data):
    with gzip.open(shared_data("gsm8k/test.jsonl.gz"), "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def _number(reference):
    return reference["answer"].rpartition("####")[2].strip().replace(",", "")


@pytest.mark.parametrize("notation", NOTATIONS)
def test_every_answer_is_right_in_every_notation(notation, references):
    assert len(references) == 1319
    pairs = [(row["answer"], _written(notation, _number(row), i)) for i, row in enumerate(references)]
    wrong = [pair for pair in pairs if accuracy([pair]) != 100]
    assert wrong == []
    assert accuracy(pairs) == 100.0


def test_answers_that_differ_by_one_are_wrong(references):
    pairs = [
        (row["answer"], _written("braced comma", str(int(_number(row)) + 1), i)) for i, row in enumerate(references)
    ]
    assert accuracy(pairs) == 0.0


def test_the_command_scores_every_notation(larpo, references, tmp_path):
    rows = [
        {
            "question": row["question"],
            "ground_truth": row["answer"],
            **{name: {"solution": _written(name, _number(row), i)} for name in NOTATIONS},
        }
        for i, row in enumerate(references)
    ]
    file = tmp_path / "solutions.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    outcome = larpo("score", "gsm8k", "--solutions", file)
    assert json.loads(outcome.out) == dict.fromkeys(NOTATIONS, 100.0)
