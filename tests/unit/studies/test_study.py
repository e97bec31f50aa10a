import json

import pytest
from small_study import STUDY, write_study

from larpo_lib.artifacts import recorded_digest
from larpo_lib.errors import ConfigError
from larpo_lib.evaluation.retrieval.settings import RetrievalConfig
from larpo_lib.plan import Plan
from larpo_lib.playground.world import world_sources
from larpo_lib.presets import FOLDER
from larpo_lib.run_files import pin_models, read_models
from larpo_lib.studies.instruments import Instruments
from larpo_lib.studies.run import Request, run_cells
from larpo_lib.studies.study import candidates, cells, kind_of, load_study
from larpo_lib.studies.worlds import placed

STUDIES = [path for path in sorted((FOLDER / "studies").glob("*.toml")) if kind_of(path) == "grid"]


def test_cells_are_the_product_of_the_axes_and_the_seeds(tmp_path):
    study = load_study(write_study(tmp_path))
    assert [cell.key for cell in cells(study, "tiny")] == [
        "pairwise-seed0",
        "pairwise-seed1",
        "listmle-seed0",
        "listmle-seed1",
    ]
    paper = cells(study, "paper")
    assert [cell.labels for cell in paper] == [("A", "pairwise"), ("A", "ListMLE"), ("B", "pairwise"), ("B", "ListMLE")]
    assert [cell.settings["policy"] for cell in paper] == ["a", "a", "b", "b"]


def test_settings_of_a_variant_lie_over_those_of_the_scale_and_the_preset(tmp_path):
    study = load_study(write_study(tmp_path))
    pairwise, _, listmle, _ = [placed(cell, "tiny", tmp_path).config() for cell in cells(study, "tiny")]
    assert (pairwise.train.objective.type, listmle.train.objective.type) == ("dpo", "listmle")
    assert (pairwise.lists.selection.type, listmle.lists.selection.type) == ("best_worst", "top_bottom")
    assert pairwise.sample.k == listmle.sample.k == 4
    assert pairwise.train.micro_batch_tokens == 16384  # the preset's
    assert listmle.prepare.source == world_sources(tmp_path / "worlds" / "seed0")["prepare"]["source"]


def test_an_axis_in_braces_names_a_part_of_the_preset(tmp_path):
    text = STUDY.replace('"mistral-7b-instruct-fsfairx"', '"{model}-fsfairx.toml"')
    for label, model in (("A", "mistral-7b-base"), ("B", "mistral-7b-instruct")):
        text = text.replace(f'label = "{label}"', f'label = "{label}", preset = "{model}"')
    paper = cells(load_study(write_study(tmp_path, text)), "paper")
    assert [cell.settings["name"] for cell in paper] == [
        "mistral-7b-base-fsfairx",
        "mistral-7b-base-fsfairx",
        "mistral-7b-instruct-fsfairx",
        "mistral-7b-instruct-fsfairx",
    ]
    with pytest.raises(ConfigError, match=r"preset '{size}-fsfairx.toml' does not contain an axis.*model, objective"):
        cells(load_study(write_study(tmp_path, text.replace("{model}", "{size}"))), "paper")


def test_given_settings_lie_over_every_cell_but_for_those_of_benchmarks(tmp_path):
    study = load_study(write_study(tmp_path))
    over = {"launch": {"nproc": 4}, "mixeval": {"judge": {"model": "mine"}}}
    for cell in cells(study, "paper", over=over):
        assert cell.config().train.launch.nproc == 4
        assert cell.config().mixeval is None


def test_the_seed_of_a_cell_is_the_seed_of_every_section(tmp_path):
    study = load_study(write_study(tmp_path))
    config = placed(cells(study, "tiny", seeds=3)[2], "tiny", tmp_path).config()
    assert {config.seed, config.sample.seed, config.train.seed, config.evaluate.seed, config.lists.seed} == {2}


def test_as_published_takes_the_settings_of_the_authors_scripts(tmp_path):
    study = load_study(write_study(tmp_path))
    types = [cell.settings["train"]["objective"]["type"] for cell in cells(study, "tiny", 1, "as_published")]
    assert types == ["dpo", "contrastive"]


def test_every_cell_is_searched_among_the_same_values(tmp_path):
    study = load_study(write_study(tmp_path))
    assert study.tiny.search is not None
    tried = [list(candidates(cell, study.tiny.search)) for cell in cells(study, "tiny", seeds=1)]
    assert [[value for value, _ in group] for group in tried] == [[1e-5, 1e-4], [1e-5, 1e-4]]
    assert {cell.seed for group in tried for _, cell in group} == {1000}
    assert [cell.settings["train"]["learning_rate"] for _, cell in tried[1]] == [1e-5, 1e-4]
    assert len({cell.key for group in tried for _, cell in group}) == 4


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('baseline = "pairwise"', 'baseline = "pairwize"', "'pairwize' is not on the axis 'objective'"),
        ('measures = ["accuracy", "reward"]', "", "'tiny.measures' is missing"),
        ('title = "Small"', 'titel = "Small"', "unknown setting 'titel'"),
        ('name = "small"', "name = ", "cannot be read as TOML"),
    ],
)
def test_a_mistake_is_named(tmp_path, old, new, message):
    with pytest.raises(ConfigError, match=message):
        load_study(write_study(tmp_path, STUDY.replace(old, new)))


def test_a_setting_that_does_not_exist_is_named_with_its_cell(tmp_path):
    study = load_study(write_study(tmp_path, STUDY.replace("sample = { k = 4,", "sample = { kk = 4,")))
    with pytest.raises(ConfigError, match=r"cell pairwise-seed0: unknown setting 'sample.kk'"):
        placed(cells(study, "tiny")[0], "tiny", tmp_path).config()


def test_a_run_with_other_settings_is_not_taken_for_this_one(tmp_path):
    study = load_study(write_study(tmp_path))
    (first, *_) = cells(study, "tiny", seeds=1, faithful="paper")
    (*_, other) = cells(study, "tiny", seeds=1, faithful="as_published")
    assert first.key != other.key
    home = tmp_path / "runs" / other.key
    home.mkdir(parents=True)
    (*_, before) = cells(study, "tiny", seeds=1)
    (home / "settings.json").write_text(json.dumps(placed(before, "tiny", tmp_path).settings))
    (home / "summary.json").write_text("{}")
    with pytest.raises(ConfigError, match="listmle-seed0: was run with other settings"):
        run_cells([other], Request("tiny"), tmp_path)


def test_all_runs_have_the_commits_that_the_study_began_with(hub, tmp_path, monkeypatch):
    policies = []

    def stop(config, *_):
        policies.append(config.policy)
        raise KeyboardInterrupt

    monkeypatch.setattr("larpo_lib.studies.run.run_loop", stop)
    over = {"policy": "org/tiny", "rerank": {"reranker": {"type": "verifier"}}}
    made = cells(load_study(write_study(tmp_path)), "paper", 1, "paper", over)
    commit = hub.push("org/tiny", {"config.json": b"{}", "model.safetensors": b""})
    for cell in made[:2]:  # the second one begins when the branch has moved
        with pytest.raises(KeyboardInterrupt):
            run_cells([cell], Request("paper"), tmp_path)
        hub.push("org/tiny", {"config.json": b'{"moved": true}'})
    assert policies == [f"org/tiny@{commit}"] * 2
    plan = Plan(pin_models(made[0].config(), read_models(tmp_path))[0], "run")
    (measurement,) = Instruments(retrieval=RetrievalConfig(), documents={0: {}}).of_policy(made[0], plan, 0)
    assert recorded_digest(measurement.inputs["policy"]) == policies[0]


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
@pytest.mark.parametrize("scale", ["tiny", "paper"])
@pytest.mark.parametrize("faithful", ["paper", "as_published"])
def test_every_cell_of_a_shipped_study_is_a_valid_run(tmp_path, path, scale, faithful):
    study = load_study(path)
    assert study.name == path.stem
    made = cells(study, scale, faithful=faithful)
    assert len({cell.key for cell in made}) == len(made)
    for cell in made:
        placed(cell, scale, tmp_path).config()


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_published_numbers_belong_to_cells_of_the_paper_scale(path):
    study = load_study(path)
    labels = {cell.labels for cell in cells(study, "paper")}
    starts = {(*one[:-1], "start") for one in labels}
    assert {one.cell for one in study.published} <= labels | starts


def test_a_study_has_a_pool_of_its_own_unless_it_is_given_one(tmp_path):
    assert Request("tiny").pool_of(tmp_path / "out") == tmp_path / "out" / "pool"
    assert Request("tiny", pool=tmp_path / "pool").pool_of(tmp_path / "out") == tmp_path / "pool"
