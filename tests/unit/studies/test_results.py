from dataclasses import replace

import numpy as np
import pytest
from small_study import STUDY, write_study

from larpo_lib.errors import ArtifactError
from larpo_lib.studies.output import write
from larpo_lib.studies.results import Outcome, summarize
from larpo_lib.studies.study import load_study

pytestmark = pytest.mark.usefixtures("saved_figures")


def _outcome(label, seed, accuracy, start=0.0):
    prompts = [f"p{i}" for i in range(len(accuracy))]
    after = dict(zip(prompts, accuracy, strict=True))
    return Outcome((label,), seed, {"accuracy": after}, {"accuracy": dict.fromkeys(prompts, start)})


@pytest.mark.parametrize(
    ("accuracy", "verdict"),
    [([0.9, 0.8, 0.9, 0.8], "holds"), ([0.0, 0.1, 0.0, 0.1], "reversed"), ([0.6, 0.4, 0.4, 0.6], "within noise")],
)
def test_an_ordering_holds_if_the_paired_difference_is_above_zero(tmp_path, accuracy, verdict):
    study = load_study(write_study(tmp_path))
    outcomes = [_outcome("pairwise", seed, [0.5] * 4) for seed in (0, 1)]
    outcomes += [_outcome("ListMLE", seed, accuracy) for seed in (0, 1)]
    results = summarize(study, ["accuracy"], outcomes)
    assert [(one.better, one.worse, one.verdict) for one in results.found] == [("ListMLE", "pairwise", verdict)]
    pairwise, listmle = results.rows
    assert not pairwise.differences
    assert listmle.differences["accuracy"].value == pytest.approx(np.mean(accuracy) - 0.5)
    assert listmle.by_seed["accuracy"] == {0: pytest.approx(np.mean(accuracy)), 1: pytest.approx(np.mean(accuracy))}
    assert listmle.published == {"win_rate": 1.5} or not study.published
    assert results.start["accuracy"].value == 0.0


def test_an_ordering_is_looked_for_by_every_measure_that_is_named(tmp_path):
    study = load_study(write_study(tmp_path))
    outcomes = []
    for label, values in (("pairwise", {"a": 0.0, "b": 1.0}), ("ListMLE", {"a": 1.0, "b": 0.0})):
        after = {name: {"p": value, "q": value} for name, value in values.items()}
        outcomes += [Outcome((label,), seed, after, after) for seed in (0, 1)]
    found = summarize(study, ["a", "b"], outcomes, ["a", "b"]).found
    assert [(one.measure, one.verdict) for one in found] == [("a", "holds"), ("b", "reversed")]
    assert [one.measure for one in summarize(study, ["a", "b"], outcomes).found] == ["a"]


def test_cells_that_begin_with_another_policy_have_a_start_of_their_own(tmp_path):
    published = '[[published]]\ncell = ["{model}", "start"]\nvalues = {{ win_rate = {rate} }}\n'
    text = STUDY.replace('cell = ["ListMLE"]', 'cell = ["A", "ListMLE"]')
    text = text.replace(
        "[tiny]", "".join(published.format(model=m, rate=r) for m, r in (("A", 7.0), ("B", 8.0))) + "[tiny]", 1
    )
    study = load_study(write_study(tmp_path, text))
    outcomes = []
    for model, start in (("A", 0.25), ("B", 0.5)):
        for label in ("pairwise", "ListMLE"):
            one = _outcome(label, 0, [1.0, 0.0], start)
            outcomes.append(replace(one, labels=(model, label)))
    results = summarize(study, ["accuracy"], outcomes)
    found = [(row.labels, row.estimates["accuracy"].value, dict(row.published)) for row in results.starts]
    assert found == [(("A", "start"), 0.25, {"win_rate": 7.0}), (("B", "start"), 0.5, {"win_rate": 8.0})]
    provenance = {"command": "c", "scale": "paper", "seeds": 1, "settings": {}, "search": None, "notes": []}
    write(study, results, provenance, tmp_path / "results")
    head, *rows = (tmp_path / "results" / "table.txt").read_text().splitlines()
    assert head.split("  ")[0] == "model"
    assert [row.split()[:2] for row in rows] == [
        ["A", "start"], ["A", "pairwise"], ["A", "ListMLE"], ["B", "start"], ["B", "pairwise"], ["B", "ListMLE"],
    ]  # fmt: skip
    assert [row.split()[-1] for row in rows] == ["7.000", "\N{EN DASH}", "1.500", "8.000", "\N{EN DASH}", "\N{EN DASH}"]


def test_runs_of_one_seed_that_were_evaluated_on_different_prompts_are_not_compared(tmp_path):
    study = load_study(write_study(tmp_path))
    half = replace(_outcome("ListMLE", 1, [0.5] * 4), prompts=frozenset({"p0", "p1", "q2", "q3"}))
    outcomes = [
        replace(_outcome("pairwise", seed, [0.5] * 4), prompts=frozenset({"p0", "p1", "p2"})) for seed in (0, 1)
    ]
    match = "with seed 1, pairwise was evaluated on 3 prompts and ListMLE on 4, of which 2 are in both"
    with pytest.raises(ArtifactError, match=match):
        summarize(study, ["accuracy"], [*outcomes, half])
    same = [replace(_outcome("ListMLE", seed, [0.5] * 4), prompts=outcomes[0].prompts) for seed in (0, 1)]
    assert [one.verdict for one in summarize(study, ["accuracy"], [*outcomes, *same]).found] == ["within noise"]
