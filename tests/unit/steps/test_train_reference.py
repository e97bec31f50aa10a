"""What a policy is compared with while it is trained: a reference, its log-probabilities, or none."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file
from small_models import break_token
from trainings import PLAIN, SETTINGS, fail, ten_lists, training

from larpo_lib.config import LoraConfig, ModelConfig, TrainConfig
from larpo_lib.errors import ArtifactError, ConfigError, ModelError
from larpo_lib.models.layout import padded_layout
from larpo_lib.models.model_dir import ModelDir
from larpo_lib.models.scoring import attach_scorer
from larpo_lib.models.turns import turn_end
from larpo_lib.objectives.listwise import listmle
from larpo_lib.objectives.pairwise import simpo
from larpo_lib.objectives.pointwise import kto
from larpo_lib.playground.policy import make_policy
from larpo_lib.steps import train
from larpo_lib.training.encode import encode_lists
from larpo_lib.training.history import read_history
from larpo_lib.training.ranks import Ranks
from larpo_lib.training.reference import reference_logps


@pytest.fixture(scope="module")
def rows():
    return ten_lists()


@pytest.fixture
def run(tiny_policy, tmp_path, rows):
    return training(tiny_policy, tmp_path, rows)


@pytest.fixture(scope="module")
def other_policy(tiny_policy, tmp_path_factory):
    """The same tokens, but surer of what it says."""
    directory = tmp_path_factory.mktemp("other") / "policy"
    model = ModelDir(tiny_policy, PLAIN).load_policy()
    torch.nn.init.normal_(model.lm_head.weight, std=0.2, generator=torch.Generator().manual_seed(0))
    model.save_pretrained(directory)
    ModelDir(tiny_policy, PLAIN).tokenizer.save_pretrained(directory)
    return directory


def _own_logps(artifact):
    return load_file(artifact / "reference.logps")["own"].tolist()


def test_a_fixed_reference_is_what_drift_is_measured_from(run, tmp_path, tiny_policy, other_policy, rows):
    """One step of all ten lists: kl is the mean over lists of what their responses' log(reference / policy) are."""
    run(max_steps=1, batch_size=10, reference=other_policy)
    tokenizer = ModelDir(tiny_policy, PLAIN).tokenizer
    encoded, _ = encode_lists(rows, tokenizer, TrainConfig(**SETTINGS), turn_end(tokenizer))
    lists = [item.tokens for item in encoded]
    policy, reference = (
        reference_logps(
            attach_scorer(ModelDir(path, PLAIN).load_policy(), 64),
            lists,
            padded_layout(0),
            [range(len(lists))],
            Ranks(),
        )
        for path in (tiny_policy, other_policy)
    )
    assert _own_logps(tmp_path / "trained") == pytest.approx(reference, abs=1e-3)
    (row,) = read_history(tmp_path / "trained")
    drift = [q - p for q, p in zip(reference, policy, strict=True)]
    assert row["kl"] == pytest.approx(sum(drift) / 30, abs=1e-3)
    assert row["chosen_logp_drift"] == pytest.approx(-sum(drift[::3]) / 10, abs=1e-3)
    assert abs(row["kl"]) > 0.1


def test_reference_log_probabilities_of_another_artifact_are_taken(run, tmp_path, monkeypatch):
    run("first", max_steps=2)
    monkeypatch.setattr(train, "reference_logps", fail)
    run("second", max_steps=2, learning_rate=2e-3, reference_logps=tmp_path / "first")
    assert _own_logps(tmp_path / "second") == _own_logps(tmp_path / "first")
    first, second = (read_history(tmp_path / name) for name in ("first", "second"))
    assert first[0]["loss"] == second[0]["loss"]
    assert first[1]["loss"] != second[1]["loss"]
    manifest = json.loads((tmp_path / "second" / "artifact.json").read_text())
    assert manifest["inputs"].keys() == {"policy", "lists", "reference_logps"}


def test_stale_reference_log_probabilities_are_refused(run, tmp_path, rows, other_policy):
    run("first", max_steps=1)
    stale = {
        "another reference": {"reference": other_policy},
        "other lists": {"rows": rows[1:]},
        "other needs": {"objective": kto.settings()},
        "another precision": {"model": ModelConfig(device="cpu", dtype="bfloat16")},
    }
    for name, changes in stale.items():
        with pytest.raises(ArtifactError, match=r"first/reference\.logps: .* are stale.*Omit it"):
            run(name, max_steps=1, reference_logps=tmp_path / "first", **changes)
        assert not (tmp_path / name).exists()


def test_another_policy_is_scored_as_the_one_that_trains_is(run, tmp_path, tiny_policy):
    """In bfloat16 the same weights gave others: rounded beforehand, and not by autocast in each product."""
    copied = shutil.copytree(tiny_policy, tmp_path / "copied")
    settings = {"max_steps": 1, "batch_size": 10, "model": ModelConfig(device="cpu", dtype="bfloat16")}
    for name, lora in {"whole": None, "adapted": LoraConfig(r=2, alpha=4)}.items():
        run(name, **settings, lora=lora)
        run(f"{name} from another", **settings, lora=lora, reference=copied)
        assert _own_logps(tmp_path / f"{name} from another") == _own_logps(tmp_path / name)
        assert read_history(tmp_path / f"{name} from another")[0]["start_log_ratio_max_abs"] == 0.0
    with pytest.raises(ArtifactError, match="are stale"):  # their weights are rounded beforehand
        run("refused", **settings, reference_logps=tmp_path / "adapted")


def test_an_objective_without_a_reference_has_no_reference_pass(run, tmp_path, monkeypatch):
    monkeypatch.setattr(train, "reference_logps", fail)
    metrics = run(objective=simpo.settings(), max_steps=2)
    assert not (tmp_path / "trained" / "reference.logps").exists()
    assert "final_margin" in metrics
    for row in (*read_history(tmp_path / "trained"), metrics):
        assert not any(name in key for name in ("kl", "chosen_logp_drift") for key in row)


def test_a_reference_that_reads_other_tokens_is_refused(run, tmp_path):
    make_policy(tmp_path / "other", ["one", "two"], 0, hidden=16, layers=1, heads=2)
    with pytest.raises(ModelError, match="the vocabulary of the reference differs from that of the policy"):
        run(reference=tmp_path / "other")


def test_a_reference_of_fewer_positions_is_refused_before_it_is_loaded(run, tmp_path, tiny_policy):
    shutil.copytree(tiny_policy, tmp_path / "short")
    settings = json.loads((tmp_path / "short" / "config.json").read_text())
    (tmp_path / "short" / "config.json").write_text(json.dumps({**settings, "max_position_embeddings": 20}))
    (tmp_path / "short" / "model.safetensors").unlink()
    with pytest.raises(ConfigError, match=r"max_tokens = \d+: .* but \S+/short supports at most 20"):
        run(reference=tmp_path / "short")


@pytest.mark.parametrize("name", ["reference", "reference_logps"])
def test_a_reference_for_an_objective_that_reads_none_is_refused(run, tiny_policy, name):
    with pytest.raises(ConfigError, match="simpo does not use a reference, but one is passed"):
        run(objective=simpo.settings(), **{name: tiny_policy})


@pytest.mark.parametrize("own", [True, False])
@pytest.mark.parametrize("objective", [listmle.settings(), kto.settings()])
def test_reference_log_probabilities_that_are_not_finite_are_refused_by_policy_and_prompt(
    run, tiny_policy, tmp_path, rows, objective, own
):
    asked = [row["messages"][0]["content"].split() for row in rows]
    word = next(word for word in asked[3] if word.isalpha() and not any(word in words for words in asked[:3]))
    break_token(tmp_path / "broken", tiny_policy, word, float("nan"))
    told = f"broken: the reference log-probability of a response to prompt {rows[3]['prompt_id']} is nan"
    with pytest.raises(ModelError, match=told):
        run(objective=objective, **{"policy" if own else "reference": tmp_path / "broken"})
    assert not (tmp_path / "trained").exists()
