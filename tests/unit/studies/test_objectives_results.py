"""Verdicts of the study `objectives`, from values made by hand."""

from pretended_place import LEVELS, Pretended

from larpo_lib.presets import FOLDER
from larpo_lib.studies.objectives.output import overview, sentences, table
from larpo_lib.studies.objectives.run import measure
from larpo_lib.studies.objectives.study import ObjectivesStudy, load

STUDY = FOLDER / "studies" / "objectives.toml"


def study(*only: str) -> ObjectivesStudy:
    return load(STUDY, {"prepare": {"source": "lists.jsonl"}, "only": [*only]})


def test_objectives_are_told_apart_only_beyond_noise() -> None:
    place = Pretended()
    found = measure(study(*LEVELS, "kto"), place)
    assert {one.setting.objective for one in found.rows[:2]} == {"dpo", "listmle"}
    assert len(found.named("the best")) == len(found.named("not distinguishable")) == 1
    assert found.named("below the best") == ["ipo", "simpo"]
    assert found.named("broke down") == ["kto"]
    assert [row.setting.objective for row in found.rows if row.fell] == ["simpo", "kto"]
    assert {row.setting.learning_rate for row in found.rows if row.setting.objective != "kto"} == {1e-3}
    searched = [one for one, seed in place.asked if seed == 9]
    counts = [sum(one.objective == name for one in {*searched}) for name in (*LEVELS, "kto")]
    assert len({*counts}) == 1
    assert sentences(found)[1:] == [
        f"Not distinguishable from it: {found.rows[1].setting.objective}.",
        "Below it beyond noise: ipo, simpo.",
        "Training broke down: kto.",
        "Below nothing for a seed: simpo, kto.",
    ]
    head, start, *rows = table(found)
    assert start[0] == "nothing"
    assert {len(row) for row in (head, start, *rows)} == {8}
    assert [row[0] for row in overview([found])[-3:]] == ["ipo", "simpo", "kto"]
