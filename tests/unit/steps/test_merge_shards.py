import pytest

from larpo_lib.artifacts import digest, read_metrics, verify
from larpo_lib.config import ModelConfig, RerankConfig, SampleConfig
from larpo_lib.errors import ArtifactError
from larpo_lib.provenance import scored_by
from larpo_lib.samplers.hf import HfSamplerConfig
from larpo_lib.shards import UNSHARDED, Shard
from larpo_lib.steps import merge_shards, rerank, sample
from larpo_lib.tables import read_table

SAMPLING = SampleConfig(
    sampler=HfSamplerConfig(model=ModelConfig(device="cpu")),
    k=3,
    max_new_tokens=6,
    max_prompt_tokens=64,
    part_prompts=2,
)


@pytest.fixture
def sampled(tiny_policy, tiny_prompts, tmp_path):
    def sampled(name, shard=UNSHARDED, **changes):
        config = SAMPLING.model_copy(update=changes)
        sample.run(config, policy=tiny_policy, prompts=tiny_prompts, candidates=tmp_path / name, shard=shard)
        return tmp_path / name

    return sampled


@pytest.mark.parametrize("count", [3, 12])
def test_shards_of_candidates_make_the_same_bytes_as_none(sampled, tmp_path, count):
    whole = sampled("whole")
    shards = [sampled(f"shard-{i}", Shard(i, count)) for i in range(count)]
    sizes = [len({row["prompt_id"] for row in read_table(path, "candidates")}) for path in shards]
    assert sum(sizes) == 10
    metrics = merge_shards.run(shards=shards[::-1], merged=tmp_path / "merged")
    assert metrics == read_metrics(whole)
    assert (tmp_path / "merged" / "candidates.parquet").read_bytes() == (whole / "candidates.parquet").read_bytes()
    assert digest(tmp_path / "merged") == digest(whole)  # what follows finds its work done


def test_shards_of_ranked_candidates_make_the_same_bytes_as_none(sampled, tiny_prompts, tmp_path):
    candidates = [sampled("candidates")]
    paths = {shard: tmp_path / f"ranked-{shard.index}-{shard.count}" for shard in (UNSHARDED, Shard(0, 2), Shard(1, 2))}
    for shard, path in paths.items():
        rerank.run(RerankConfig(), prompts=tiny_prompts, candidates=candidates, ranked=path, shard=shard)
    metrics = merge_shards.run(shards=[paths[Shard(0, 2)], paths[Shard(1, 2)]], merged=tmp_path / "merged")
    assert metrics == read_metrics(paths[UNSHARDED])
    assert digest(tmp_path / "merged") == digest(paths[UNSHARDED])
    verify(tmp_path / "merged")
    assert scored_by(tmp_path / "merged") == scored_by(paths[UNSHARDED])
    assert scored_by(tmp_path / "merged")["reward"]["format_weight"] == 0.1


def test_a_missing_and_a_repeated_shard_are_refused(sampled, tmp_path):
    first, last = sampled("0", Shard(0, 3)), sampled("2", Shard(2, 3))
    with pytest.raises(ArtifactError, match=r"the shards 0/3, 2/3 are not complete\. Pass each of 0/3 to 2/3 once"):
        merge_shards.run(shards=[first, last], merged=tmp_path / "merged")
    with pytest.raises(ArtifactError, match="shards 0/3, 2/3, 0/3 are not complete"):
        merge_shards.run(shards=[first, last, first], merged=tmp_path / "merged")


def test_shards_of_different_work_are_refused(sampled, tmp_path):
    shards = [sampled("0", Shard(0, 2)), sampled("1", Shard(1, 2), seed=1)]
    with pytest.raises(ArtifactError, match="1: its config differs from that of"):
        merge_shards.run(shards=shards, merged=tmp_path / "merged")


def test_what_is_no_shard_is_refused(sampled, tmp_path):
    with pytest.raises(
        ArtifactError, match=r"whole: is not a shard\. Pass artifacts that sample or rerank made with --shard"
    ):
        merge_shards.run(shards=[sampled("whole")], merged=tmp_path / "merged")
