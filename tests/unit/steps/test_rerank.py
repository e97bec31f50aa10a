import math
import shutil

import pyarrow.parquet as pq
import pytest
from safetensors.torch import load_file, save_file
from server_double import Reply, serve
from small_models import make_classifier, user, write_prompts
from table_rows import candidate, with_table
from tiny_pairrm import make_pairrm

from larpo_lib.config import ListsConfig, ModelConfig, RerankConfig
from larpo_lib.errors import ArtifactError, DataError, EndpointError, LarpoError
from larpo_lib.rewards.rerankers import make_reranker
from larpo_lib.rewards.rerankers.classifier import ClassifierConfig
from larpo_lib.rewards.rerankers.ensemble import EnsembleConfig, EnsembleMember
from larpo_lib.rewards.rerankers.function import FunctionRerankerConfig
from larpo_lib.rewards.rerankers.http import HttpRerankerConfig
from larpo_lib.rewards.rerankers.pairrm import PairRmConfig
from larpo_lib.rewards.rerankers.verifier import VerifierConfig
from larpo_lib.schemas import prompt_id
from larpo_lib.steps import build_lists, rerank
from larpo_lib.tables import read_table

QUESTIONS = [("Ann has 3", "#### 3"), ("Ben has 4", "#### 4")]
ANN, BEN = (prompt_id(user(text)) for text, _ in QUESTIONS)


def _candidate(prompt, sample_index, response):
    return candidate(prompt, response, sample_index, token_ids=[5, 6], num_tokens=2)


CANDIDATES = [
    _candidate(ANN, 0, "#### 4"),
    _candidate(BEN, 0, "#### 4"),
    _candidate(ANN, 1, "1 + 2 = 3. #### 3"),
    _candidate(ANN, 2, "#### 5"),
    _candidate(BEN, 1, "nothing"),
    _candidate(ANN, 3, "#### 3"),
]


@pytest.fixture
def prompts(tmp_path):
    return write_prompts(tmp_path / "prompts", QUESTIONS)


@pytest.fixture
def run(prompts, tmp_path):
    def run(name="ranked", rows=CANDIDATES, config=None):
        candidates = with_table(tmp_path / f"{name}-candidates", "candidates", rows)
        output = tmp_path / name
        metrics = rerank.run(config or RerankConfig(), prompts=prompts, candidates=[candidates], ranked=output)
        return read_table(output, "ranked"), metrics

    return run


def test_thoughts_are_no_part_of_what_is_scored_and_are_counted(run):
    responses = ["<think>#### 4</think>\n#### 3", "#### 4\n</think>\n#### 3", "<think>\n#### 3", "#### 3"]
    rows, metrics = run(rows=[_candidate(ANN, i, text) for i, text in enumerate(responses)])
    assert [row["reward"] for row in rows] == pytest.approx([0.7, 0.7, 0.0, 0.7])
    assert [row["response"] for row in rows] == responses  # a policy that thinks is trained to think
    assert (metrics["responses_with_thoughts"], metrics["thoughts_unfinished"]) == (3, 1)


def test_candidates_are_ranked_within_their_prompt(run):
    rows, metrics = run()
    ann, ben = ([row for row in rows if row["prompt_id"] == prompt] for prompt in (ANN, BEN))
    assert [row["reward"] for row in ann] == pytest.approx([0.1, 1.0, 0.1, 0.7])
    assert [row["rank"] for row in ann] == [3, 1, 3, 2]  # ties share a rank
    assert [row["reward"] for row in ben] == pytest.approx([0.7, 0.0])
    assert [row["rank"] for row in ben] == [1, 2]
    assert {row["reranker"] for row in rows} == {"verifier-graded"}
    rewards = [0.1, 1.0, 0.1, 0.7, 0.7, 0.0]
    mean = sum(rewards) / 6
    assert metrics == {
        "candidates": 6,
        "ranked": 6,
        "too_long_to_score_dropped": 0,
        "responses_with_thoughts": 0,
        "thoughts_unfinished": 0,
        "mean_reward": pytest.approx(mean),
        "reward_std": pytest.approx(math.sqrt(sum((reward - mean) ** 2 for reward in rewards) / 6)),
        # Ranks less their mean: of the rewards -1 and 1 twice each, 2.5, -2.5; of the lengths 4 of -1, 2.5, 1.5.
        "reward_length_correlation": pytest.approx((4 * 1 - 2 * 2 + 6.25 - 3.75) / math.sqrt(16.5 * 12.5)),
    }


def test_candidates_keep_all_their_columns(run):
    rows, _ = run()
    added = {"reranker", "list_relative", "reward", "rank"}
    kept = [{name: value for name, value in row.items() if name not in added} for row in rows]
    assert sorted(kept, key=str) == sorted(CANDIDATES, key=str)


def test_neither_shards_nor_order_change_a_rank(run):
    one, other = run("a"), run("b", rows=CANDIDATES[::-1], config=RerankConfig(part_prompts=1))
    assert sorted(one[0], key=str) == sorted(other[0], key=str)
    assert one[1] == pytest.approx(other[1])


GRADED = """
from larpo_lib.rewards.answers import Scorable, equations_share, is_right, states_answer

def graded(prompts, responses, references):
    return [
        0.6 * is_right(Scorable("", prompt, response, reference))
        + 0.3 * equations_share(response)
        + 0.1 * states_answer(response)
        for prompt, response, reference in zip(prompts, responses, references)
    ]
"""


def test_the_verifier_written_as_a_function_ranks_as_the_verifier(run, prompts, tmp_path):
    (tmp_path / "mine.py").write_text(GRADED)
    function = FunctionRerankerConfig(target=f"{tmp_path}/mine.py:graded")
    one, other = run("built-in"), run("function", config=RerankConfig(reranker=function))
    assert one[1] == other[1]
    tables = [pq.read_table(tmp_path / name / "ranked.parquet") for name in ("built-in", "function")]
    place = tables[0].schema.get_field_index("reranker")
    assert set(tables[1]["reranker"].to_pylist()) == {make_reranker(function).name}
    assert tables[1].set_column(place, tables[0].schema.field(place), tables[0]["reranker"]) == tables[0]
    assert tables[0].schema.equals(tables[1].schema, check_metadata=True)
    lists = [tmp_path / f"lists-of-{name}" for name in ("built-in", "function")]
    for name, made in zip(("built-in", "function"), lists, strict=True):
        build_lists.run(ListsConfig(), prompts=prompts, ranked=[tmp_path / name], lists=made)
    assert (lists[0] / "lists.parquet").read_bytes() == (lists[1] / "lists.parquet").read_bytes()


def test_a_changed_function_makes_another_artifact(prompts, run, tmp_path):
    file = tmp_path / "mine.py"
    file.write_text("def f(responses): return [len(text) for text in responses]")
    config = RerankConfig(reranker=FunctionRerankerConfig(target=f"{file}:f"))
    run(config=config)
    again = {"prompts": prompts, "candidates": [tmp_path / "ranked-candidates"], "ranked": tmp_path / "ranked"}
    rerank.run(config, **again)
    (tmp_path / "elsewhere").mkdir()
    moved = file.rename(tmp_path / "elsewhere" / "mine.py")
    rerank.run(RerankConfig(reranker=FunctionRerankerConfig(target=f"{moved}:f", timeout_s=5)), **again)
    file.write_text("def f(responses): return [-len(text) for text in responses]")
    with pytest.raises(ArtifactError, match=r"exists already, but was made with .*inputs\.reranker"):
        rerank.run(config, **again)


def test_processes_share_a_function(prompts, run, tmp_path):
    (tmp_path / "mine.py").write_text("def f(responses): return [len(text) for text in responses]")
    reranker = FunctionRerankerConfig(target=f"{tmp_path}/mine.py:f")
    one = run("one", config=RerankConfig(reranker=reranker))
    assert run("two", config=RerankConfig(reranker=reranker, part_prompts=1, processes=2)) == one


def test_the_mode_of_the_verifier_is_a_setting(run):
    rows, _ = run(config=RerankConfig(reranker=VerifierConfig(mode="exact")))
    assert [row["reward"] for row in rows if row["prompt_id"] == ANN] == [0, 1, 0, 1]


def test_a_classifier_drops_and_counts_what_is_too_long(run, tiny_classifier):
    config = ClassifierConfig(path=str(tiny_classifier), model=ModelConfig(device="cpu"), max_tokens=8)
    rows, metrics = run(config=RerankConfig(reranker=config))
    assert [row["response"] for row in rows if row["prompt_id"] == ANN] == ["#### 4", "#### 5", "#### 3"]
    assert (metrics["candidates"], metrics["ranked"], metrics["too_long_to_score_dropped"]) == (6, 5, 1)
    assert sorted(row["rank"] for row in rows if row["prompt_id"] == ANN) == [1, 2, 3]


def test_nothing_left_to_rank_is_refused(run, tiny_classifier):
    config = ClassifierConfig(path=str(tiny_classifier), model=ModelConfig(device="cpu"), max_tokens=2)
    with pytest.raises(LarpoError, match=r"no candidate could be scored\. Increase the reranker's max_tokens"):
        run(config=RerankConfig(reranker=config))


def test_a_changed_reward_model_is_noticed(run, prompts, tiny_policy, tmp_path):
    """Its weights are an input like any other: the same path with other weights is other work."""
    make_classifier(tmp_path / "rm", tiny_policy)
    config = RerankConfig(reranker=ClassifierConfig(path=str(tmp_path / "rm"), model=ModelConfig(device="cpu")))
    run(config=config)
    shutil.copyfile(tmp_path / "rm" / "config.json", tmp_path / "rm" / "another.json")
    with pytest.raises(ArtifactError, match=r"made with inputs.reranker"):
        rerank.run(config, prompts=prompts, candidates=[tmp_path / "ranked-candidates"], ranked=tmp_path / "ranked")


def test_a_candidate_of_an_unknown_prompt_is_named(run):
    with pytest.raises(DataError, match=r"row 1, field 'prompt_id': prompt stranger is not in the prompts"):
        run(rows=[CANDIDATES[0], _candidate("stranger", 0, "#### 1")])


def test_candidates_of_several_iterations_are_one_list(prompts, tmp_path):
    """A list-relative score is of the whole list: with more in it, the same response has another score."""
    later = [{**_candidate(ANN, 0, "nothing at all"), "iteration": 2}, {**CANDIDATES[0], "iteration": 2}]
    for name, rows in (("first", CANDIDATES), ("second", later)):
        with_table(tmp_path / name, "candidates", rows)
    member = EnsembleMember(reranker=VerifierConfig())
    config = RerankConfig(reranker=EnsembleConfig(members=(member, member)))
    rewards = {}
    for given in (["first"], ["first", "second"]):
        ranked = tmp_path / "-".join(["ranked", *given])
        metrics = rerank.run(config, prompts=prompts, candidates=[tmp_path / name for name in given], ranked=ranked)
        rows = read_table(ranked, "ranked")
        assert metrics["candidates"] == len(rows) == (6 if given == ["first"] else 8)
        assert {row["list_relative"] for row in rows} == {True}
        rewards[len(given)] = {row["response"]: row["reward"] for row in rows if row["prompt_id"] == ANN}
    before, after = rewards[1], rewards[2]
    # 0.1, 1.0, 0.1, 0.7 have the mean 0.475; with 0.0 beside them 0.38. Twice the z-score, for there are two members.
    assert before["#### 3"] == pytest.approx(2 * 0.225 / math.sqrt((2 * 0.375**2 + 0.525**2 + 0.225**2) / 4))
    assert after["#### 3"] == pytest.approx(2 * 0.32 / math.sqrt((2 * 0.28**2 + 0.62**2 + 0.32**2 + 0.38**2) / 5))


def test_no_candidates_are_refused(prompts, tmp_path):
    with pytest.raises(LarpoError, match="rerank: no candidates"):
        rerank.run(RerankConfig(), prompts=prompts, candidates=[], ranked=tmp_path / "ranked")


def test_length_has_the_price_that_is_set(run):
    plain, _ = run()
    rows, metrics = run("priced", config=RerankConfig(length_penalty=0.125))
    assert {row["reranker"] for row in rows} == {"verifier-graded - 0.125 a character"}
    by_id = {(row["prompt_id"], row["sample_index"]): row["reward"] for row in plain}
    for row in rows:
        expected = by_id[row["prompt_id"], row["sample_index"]] - 0.125 * len(row["response"])
        assert row["reward"] == pytest.approx(expected)
    assert metrics["reward_length_correlation"] < 0


@pytest.mark.parametrize("part_prompts", [1, 256])
def test_what_the_reranker_cut_is_counted(run, tmp_path, part_prompts):
    """Both prompts have more than 8 tokens, and one response has more than 12."""
    path = make_pairrm(tmp_path / "pairrm")
    pairrm = PairRmConfig(path=str(path), model=ModelConfig(device="cpu"), max_source_tokens=8, max_response_tokens=12)
    _, metrics = run(config=RerankConfig(reranker=pairrm, part_prompts=part_prompts))
    assert (metrics["prompts_cut_for_scoring"], metrics["responses_cut_for_scoring"]) == (2, 1)
    assert metrics["too_long_to_score_dropped"] == 0


def test_every_model_of_an_ensemble_is_an_input(run, prompts, tiny_classifier, tiny_policy, tmp_path):
    make_classifier(tmp_path / "rm", tiny_policy)
    paths = (tiny_classifier, tmp_path / "rm")
    members = (
        EnsembleMember(reranker=ClassifierConfig(path=str(path), model=ModelConfig(device="cpu"))) for path in paths
    )
    config = RerankConfig(reranker=EnsembleConfig(members=tuple(members)))
    run(config=config)
    shutil.copyfile(tmp_path / "rm" / "config.json", tmp_path / "rm" / "another.json")
    with pytest.raises(ArtifactError, match=r"made with inputs.reranker_1"):
        rerank.run(config, prompts=prompts, candidates=[tmp_path / "ranked-candidates"], ranked=tmp_path / "ranked")


def _reward_model(asked):
    """A server that likes short responses, and takes ten characters."""
    if asked.path == "/v1/models":
        return Reply({"data": [{"id": "rm"}]})
    response = asked.payload["messages"][-1]["content"]
    if len(response) > 10:
        return Reply({"error": {"message": "This model's maximum context length is 4 tokens."}}, status=400)
    return Reply({"data": [{"index": 0, "data": [-float(len(response))]}]})


def _http(server):
    reranker = HttpRerankerConfig(base_url=server.url, api="vllm_pooling", served_model="rm", concurrency=1)
    return RerankConfig(reranker=reranker, part_prompts=1)


def test_a_server_ranks_the_candidates_and_what_is_too_long_for_it_is_counted(run):
    with serve(_reward_model) as server:
        rows, metrics = run(config=_http(server))
    ranked = {(row["prompt_id"], row["response"]): (row["reward"], row["rank"]) for row in rows}
    assert ranked == {
        (BEN, "#### 4"): (-6.0, 1),
        (BEN, "nothing"): (-7.0, 2),
        (ANN, "#### 4"): (-6.0, 1),
        (ANN, "#### 5"): (-6.0, 1),
        (ANN, "#### 3"): (-6.0, 1),
    }
    assert {row["reranker"] for row in rows} == {"http-rm"}
    assert (metrics["candidates"], metrics["ranked"], metrics["too_long_to_score_dropped"]) == (6, 5, 1)


def test_a_stopped_step_asks_a_server_only_for_what_is_missing(run, prompts, tmp_path):
    first = []

    def failing(asked):
        if asked.payload is not None:
            first.append(asked.payload["messages"][0]["content"])
        last = asked.payload is not None and first[0] != first[-1]
        return Reply({"error": "gone"}, status=400) if last else _reward_model(asked)

    with serve(failing) as server:
        with pytest.raises(EndpointError, match="answered 400: gone"):
            run(config=_http(server))
        server.answer = _reward_model
        server.asked.clear()
        candidates, ranked = [tmp_path / "ranked-candidates"], tmp_path / "ranked"
        rerank.run(_http(server), prompts=prompts, candidates=candidates, ranked=ranked)
    assert {payload["messages"][0]["content"] for payload in server.payloads("/pooling")} == {first[-1]}
    assert len(read_table(tmp_path / "ranked", "ranked")) == 5


def test_ranked_candidates_are_ranked_anew(run, prompts, tmp_path):
    """By another reranker, with the same result as the candidates that they were."""
    first, _ = run("first")
    exact = RerankConfig(reranker=VerifierConfig(mode="exact"))
    expected, expected_metrics = run("plain", config=exact)
    metrics = rerank.run(exact, prompts=prompts, candidates=[tmp_path / "first"], ranked=tmp_path / "again")
    again = read_table(tmp_path / "again", "ranked")
    assert sorted(again, key=repr) == sorted(expected, key=repr)
    assert metrics == pytest.approx(expected_metrics)
    assert {row["reranker"] for row in again} == {"verifier-exact"} != {row["reranker"] for row in first}
    both = rerank.run(
        exact, prompts=prompts, candidates=[tmp_path / "first", tmp_path / "plain-candidates"], ranked=tmp_path / "both"
    )
    assert both["candidates"] == 12


def _nan_classifier(directory, tiny_policy):
    make_classifier(directory, tiny_policy)
    weights = load_file(directory / "model.safetensors")
    save_file({**weights, "score.weight": weights["score.weight"] * math.nan}, directory / "model.safetensors")
    return ClassifierConfig(path=str(directory), model=ModelConfig(device="cpu"))


def _nan_pairrm(directory, _tiny_policy):
    make_pairrm(directory)
    weights = load_file(directory / "model.safetensors")
    name = "head_layer.4.weight"
    save_file({**weights, name: weights[name] * math.nan}, directory / "model.safetensors", metadata={"format": "pt"})
    return PairRmConfig(path=str(directory), model=ModelConfig(device="cpu"))


@pytest.mark.parametrize("make", [_nan_classifier, _nan_pairrm])
def test_scores_of_a_broken_model_are_refused_by_candidate_and_model(run, tiny_policy, tmp_path, make):
    config = RerankConfig(reranker=make(tmp_path / "broken", tiny_policy))
    with pytest.raises(LarpoError, match=rf"-broken scored candidate \w+ of prompt ({ANN}|{BEN}) as nan.*float32"):
        run(config=config)


def test_a_servers_score_that_is_not_finite_is_refused(run):
    def answer(asked):
        if asked.path == "/info":
            return Reply({})
        return Reply([{"index": i, "score": math.nan} for i in range(len(asked.payload["texts"]))])

    with serve(answer) as server:
        config = RerankConfig(reranker=HttpRerankerConfig(base_url=server.url, api="tei_rerank", retries=0))
        with pytest.raises(LarpoError, match=r"/rerank: the answer cannot be read: 0.score: .* finite number"):
            run(config=config)
