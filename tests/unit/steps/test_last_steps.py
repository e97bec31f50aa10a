"""What a run does at its end, on artifacts of every sampler and reranker there is."""

import itertools

import pytest
from every_setting import every
from reporting.synthetic_run import make_run

from larpo_lib.artifacts import produce, read_metrics
from larpo_lib.config import EvaluateConfig, ReportConfig, RerankConfig, RerankerConfig, SampleConfig, SamplerConfig
from larpo_lib.errors import ArtifactError
from larpo_lib.provenance import RecordedEvaluation, RecordedSampling, read_settings
from larpo_lib.reporting import drawing
from larpo_lib.steps import merge_shards, report
from larpo_lib.studies.instruments import evaluated_by_prompt
from larpo_lib.tables import read_table, write_table

SAMPLERS, RERANKERS = every(SamplerConfig), every(RerankerConfig)
PAIRS = list(zip(itertools.cycle(SAMPLERS), RERANKERS, strict=False))
"""Every reranker once, every sampler at least once."""


@pytest.fixture(autouse=True)
def _functions(tmp_path, monkeypatch):
    """The file that examples of functions name; its content is part of every artifact."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_rewards.py").touch()


def name(settings):
    return "-".join(str(getattr(settings, key)) for key in ("type", "api", "served_model") if hasattr(settings, key))


def test_every_kind_is_among_the_pairs():
    assert {sampler.type for sampler, _ in PAIRS} >= {"hf", "vllm", "openai"}
    assert {reranker.type for _, reranker in PAIRS} >= {
        "verifier",
        "classifier",
        "pairrm",
        "http",
        "ensemble",
        "function",
    }
    named = {reranker.served_model for _, reranker in PAIRS if reranker.type == "http"}
    assert named == {None, "some-name"}  # with a name the manifest holds no address


@pytest.mark.parametrize(("sampler", "reranker"), PAIRS, ids=name)
def test_report_and_studies_read_evaluations_by_every_sampler_and_reranker(tmp_path, monkeypatch, sampler, reranker):
    monkeypatch.setattr(drawing, "png", lambda _panel: b"")  # whoever sampled, the figures are the same
    monkeypatch.setattr(drawing, "svg", lambda _panel: "")
    run = make_run(tmp_path, iterations=1, prompts=6, n=2, steps=2, sampler=sampler, reranker=reranker)
    report.run(ReportConfig(examples=1), report=tmp_path / "report", **run.arguments)
    assert reranker.type in (tmp_path / "report" / "report.html").read_text("utf-8")
    found = evaluated_by_prompt(tmp_path / "iteration-1" / "evaluation")
    rewards = {prompt: [] for prompt in found["reward"]}
    for row in run.evaluated[1]:
        if row["sample_index"]:
            rewards[row["prompt_id"]].append(row["reward"])
    assert found["reward"] == pytest.approx({prompt: sum(of) / len(of) for prompt, of in rewards.items()})
    assert "pass_at_2" in found


def test_evaluations_with_different_settings_make_no_report(tmp_path):
    run = make_run(tmp_path, iterations=1, prompts=6, n=2, steps=2)
    other = make_run(
        tmp_path / "other",
        iterations=1,
        prompts=6,
        n=2,
        steps=2,
        sampler=next(one for one in SAMPLERS if one.type == "vllm"),
    )
    mixed = [run.arguments["evaluations"][0], other.arguments["evaluations"][1]]
    with pytest.raises(ArtifactError, match=r"evaluation: its settings differ from those of .*sampler\.type"):
        report.run(ReportConfig(), report=tmp_path / "report", **run.arguments | {"evaluations": mixed})


def shards_of(tmp_path, step, config, schema, rows):
    """Two artifacts that say they are shards, each with the rows of half the prompts."""
    prompts = sorted({row["prompt_id"] for row in rows})
    paths = []
    for index in range(2):

        def make(work, index=index):
            share = [row for row in rows if prompts.index(row["prompt_id"]) % 2 == index]
            counts = {"prompts": 3, "prompts_too_long_dropped": 0, "candidates": len(share), "ranked": len(share)}
            write_table(work.data / f"{schema}.parquet", schema, share, counts)
            return {}

        paths.append(tmp_path / f"{schema}-{index}")
        produce(step, config, {}, paths[-1], make, arguments={"shard": f"{index}/2"})
    return paths


@pytest.mark.parametrize(("sampler", "reranker"), PAIRS, ids=name)
def test_shards_by_every_sampler_and_reranker_are_merged(tmp_path, sampler, reranker):
    run = make_run(tmp_path, iterations=1, prompts=6, n=2, steps=2)
    for step, config, schema in (
        ("sample", SampleConfig(sampler=sampler), "candidates"),
        ("rerank", RerankConfig(reranker=reranker), "ranked"),
    ):
        rows = read_table(run.arguments[schema][0], schema)
        shards = shards_of(tmp_path, step, config, schema, rows)
        merge_shards.run(shards=shards, merged=tmp_path / f"merged-{schema}")
        merged = read_table(tmp_path / f"merged-{schema}", schema)
        key = lambda row: (row["prompt_id"], row["sample_index"])  # noqa: E731
        assert sorted(merged, key=key) == sorted(rows, key=key)


@pytest.mark.parametrize(("sampler", "reranker"), PAIRS, ids=name)
def test_what_a_reader_needs_stands_in_every_manifest(tmp_path, sampler, reranker):
    evaluate = EvaluateConfig(sampler=sampler, reranker=reranker, temperature=0.5, confidence=0.9, resamples=7, seed=3)
    for step, config in (("evaluate", evaluate), ("sample", SampleConfig(sampler=sampler, max_prompt_tokens=9))):
        produce(step, config, {}, tmp_path / step, lambda _: {})
    found = read_settings(tmp_path / "evaluate", RecordedEvaluation)
    assert found.model_dump() == {
        "temperature": 0.5, "confidence": 0.9, "resamples": 7, "seed": 3, "judge": None,
    }  # fmt: skip
    assert read_settings(tmp_path / "sample", RecordedSampling).max_prompt_tokens == 9


def test_a_manifest_of_another_step_is_told_with_its_field(tmp_path):
    produce("rerank", RerankConfig(), {}, tmp_path / "ranked", lambda _: {})
    assert read_metrics(tmp_path / "ranked") == {}
    with pytest.raises(ArtifactError, match=r"config\.resamples: Field required; the step rerank wrote it"):
        read_settings(tmp_path / "ranked", RecordedEvaluation)
