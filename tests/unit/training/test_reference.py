import hashlib
import json
import logging

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from small_models import make_model

from larpo_lib.artifacts import WorkDir
from larpo_lib.errors import ArtifactError
from larpo_lib.models.layout import packed_layout, padded_layout
from larpo_lib.models.scoring import attach_scorer, padded_rows
from larpo_lib.training.collator import Collator, OptimizerSteps, TrainingList
from larpo_lib.training.encode import EncodedList
from larpo_lib.training.plan import plan_steps
from larpo_lib.training.ranks import Ranks
from larpo_lib.training.reference import (
    REFERENCE,
    cached_logps,
    logps_identity,
    micro_batches,
    reference_logps,
    wanted_logps,
    with_logps,
)

LISTS = [([3, 4], [[5, 6, 7]]), ([8], [[9], [21, 22]]), ([10, 11, 12, 13], [[14, 15]]), ([16], [[17, 18, 19, 20]])]
LOGPS = {"own": [-1.5, -0.1, -123.456], "mismatched": []}


@pytest.fixture(scope="module")
def model():
    return attach_scorer(make_model("llama"), 64)


@pytest.mark.parametrize("budget", [1, 12, 1000])
@pytest.mark.parametrize("layout", [padded_layout(0), packed_layout(0)], ids=lambda layout: layout.name)
def test_responses_are_scored_in_their_own_order(model, layout, budget):
    expected = [
        model(**padded_rows([prompt], [response], 0)).item() for prompt, responses in LISTS for response in responses
    ]
    cut = micro_batches(LISTS, layout, [[0, 2], [3, 1]], budget, Ranks())
    assert reference_logps(model, LISTS, layout, cut, Ranks()) == pytest.approx(expected, abs=1e-5)


def test_lists_are_scored_in_the_passes_that_train_them():
    """The rows are the same tensors, so that rounding is the same whatever the precision."""
    encoded = [EncodedList(str(i), *item, [-1.0] * len(item[1])) for i, item in enumerate(LISTS)]
    batches = plan_steps(len(LISTS), batch_size=3, epochs=1, max_steps=None, seed=5)
    collate = Collator(padded_layout(0), 0)
    for ranks in (Ranks(), _One(0, 2), _One(1, 2)):
        steps = OptimizerSteps([TrainingList(item) for item in encoded], batches, collate, lambda _item: 1.0, ranks, 12)
        trained = [
            each
            for rank_batch in map(steps.__getitem__, range(len(steps)))
            for each, ours in zip(rank_batch.micro_batches, rank_batch.counted, strict=True)
            if ours
        ]
        cut = micro_batches(LISTS, padded_layout(0), batches, 12, ranks)
        scored = [padded_layout(0)([LISTS[i] for i in indices]) for indices in cut if indices]
        assert len(scored) == len(trained) > 0
        for one, other in zip(scored, trained, strict=True):
            assert all(torch.equal(value, other["rows"][name]) for name, value in one.items())


class _Gathering(Exception):  # noqa: N818 - it hands on what a process has to say
    pass


class _One(Ranks):
    """One process of several, up to where it meets the others."""

    def gather(self, value):
        raise _Gathering(value)


def test_processes_share_the_work(model):
    """Three of them for four lists, none of which is scored twice."""
    scored = []
    for rank in range(3):
        cut = micro_batches(LISTS, padded_layout(0), [range(4)], 12, _One(rank, 3))
        with pytest.raises(_Gathering) as told:
            reference_logps(model, LISTS, padded_layout(0), cut, _One(rank, 3))
        scored.append(told.value.args[0])
    assert sorted(i for part in scored for i in part) == [0, 1, 2, 3]
    together = {i: values for part in scored for i, values in part.items()}
    expected = reference_logps(model, LISTS, padded_layout(0), [range(4)], Ranks())
    assert [value for i in range(4) for value in together[i]] == pytest.approx(expected, abs=1e-5)


@pytest.fixture
def work(tmp_path):
    for name in ("data", "scratch"):
        (tmp_path / name).mkdir()
    return WorkDir(tmp_path / "data", tmp_path / "scratch", "0" * 64)


def _score():
    return LOGPS


def _uncalled():
    raise AssertionError("scored again")


def _as_kept(logps):
    """Precision is that of the model: float32."""
    return {name: torch.tensor(values, dtype=torch.float32).tolist() for name, values in logps.items()}


def test_what_was_scored_once_is_kept_in_scratch_and_in_the_artifact(work):
    assert cached_logps(_score, "these", Ranks(), work, None) == LOGPS
    for folder in (work.data, work.scratch):
        assert {name: tensor.tolist() for name, tensor in load_file(folder / REFERENCE).items()} == _as_kept(LOGPS)
        with safe_open(folder / REFERENCE, framework="pt") as file:
            assert file.metadata() == {"belongs_to": "these"}


def test_what_a_crashed_run_has_scored_is_not_scored_again_and_published_too(work):
    cached_logps(_score, "these", Ranks(), work, None)
    (work.data / REFERENCE).unlink()
    assert cached_logps(_uncalled, "these", Ranks(), work, None) == _as_kept(LOGPS)
    assert (work.data / REFERENCE).read_bytes() == (work.scratch / REFERENCE).read_bytes()


def test_another_artifacts_are_taken(work, tmp_path):
    cached_logps(_score, "these", Ranks(), work, None)
    other = WorkDir(tmp_path / "other", tmp_path / "scratch2", "1" * 64)
    for folder in (other.data, other.scratch):
        folder.mkdir()
    assert cached_logps(_uncalled, "these", Ranks(), other, work.data) == _as_kept(LOGPS)
    assert (other.data / REFERENCE).read_bytes() == (work.data / REFERENCE).read_bytes()


def test_stale_ones_are_refused(work):
    cached_logps(_score, "these", Ranks(), work, None)
    with pytest.raises(ArtifactError, match=rf"data/{REFERENCE}: the reference log-probabilities are stale.*Omit it"):
        cached_logps(_uncalled, "others", Ranks(), work, work.data)


@pytest.mark.parametrize(
    ("spoil", "message"), [("absent", "cannot be read"), ("torn", "cannot be read"), ("foreign", "are stale")]
)
def test_what_cannot_be_used_is_refused(work, spoil, message):
    if spoil == "torn":
        (work.data / REFERENCE).write_bytes(b"torn")
    if spoil == "foreign":  # a file of the name that says not what it belongs to
        save_file({"own": torch.zeros(3)}, work.data / REFERENCE)
    with pytest.raises(ArtifactError, match=message):
        cached_logps(_uncalled, "these", Ranks(), work, work.data)


def test_a_half_written_file_is_written_again(work):
    """A crash while writing leaves the temporary file, never a torn one under the final name."""
    (work.scratch / f".{REFERENCE}").write_bytes(b"torn")
    cached_logps(_score, "these", Ranks(), work, None)
    assert {path.name for path in work.scratch.iterdir()} == {REFERENCE, f".{REFERENCE}.sha256"}


def test_those_of_a_start_in_another_precision_are_scored_again(work, caplog):
    """Nobody could leave out what lies in the scratch folder of a step that goes on."""
    caplog.set_level(logging.INFO)
    cached_logps(_score, "these in float32", Ranks(), work, None)
    others = {name: [value / 2 for value in values] for name, values in LOGPS.items()}
    assert cached_logps(lambda: others, "these in bfloat16", Ranks(), work, None) == others
    assert cached_logps(_uncalled, "these in bfloat16", Ranks(), work, None) == _as_kept(others)
    told = "reference.logps: the reference log-probabilities are computed again, in the precision of this start"
    assert caplog.messages == [told]


def test_damaged_ones_are_scored_again(work, caplog):
    cached_logps(_score, "these", Ranks(), work, None)
    kept = work.scratch / REFERENCE
    whole = kept.read_bytes()
    kept.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))  # a number, of which safetensors has no checksum
    scored = []
    cached_logps(lambda: scored.append(True) or LOGPS, "these", Ranks(), work, None)
    assert scored
    assert kept.read_bytes() == (work.data / REFERENCE).read_bytes() == whole
    assert caplog.messages == [f"{kept}: differs from its checksum, and is made again"]


def test_processes_without_folders_get_what_the_leading_one_knows(monkeypatch):
    monkeypatch.setattr(Ranks, "broadcast", lambda _self, _value: LOGPS)
    assert cached_logps(_uncalled, "these", Ranks(1, 2), None, None) == LOGPS


def test_log_probabilities_belong_to_policy_token_ids_and_precision():
    own = {"own": LISTS}
    first = logps_identity("policy", own, "torch.float32")
    both = {"own": LISTS, "mismatched": LISTS[:2]}
    stated = json.dumps(["policy", both, "torch.float32"], sort_keys=True)
    assert logps_identity("policy", both, "torch.float32") == hashlib.sha256(stated.encode()).hexdigest()
    assert first == logps_identity("policy", {"own": list(LISTS)}, "torch.float32")
    others = [
        logps_identity("another", own, "torch.float32"),
        logps_identity("policy", {"own": LISTS[:3]}, "torch.float32"),
        logps_identity("policy", {"own": [([3, 4], [[5, 6, 8]]), *LISTS[1:]]}, "torch.float32"),
        logps_identity("policy", {"own": [([3], [[4, 5, 6, 7]]), *LISTS[1:]]}, "torch.float32"),
        logps_identity("policy", {**own, "mismatched": LISTS}, "torch.float32"),
        logps_identity("policy", own, "torch.bfloat16"),
    ]
    assert len({first, *others}) == 7


def test_another_lists_response_is_cut_to_what_the_prompt_leaves_of_the_longest_sequence():
    lists = [
        EncodedList("a", [1, 2, 3, 4], [[5], [6]], [1.0, 0.0]),
        EncodedList("b", [7], [[8, 9, 8], [5]], [1.0, 0.0]),
    ]
    wanted = wanted_logps(lists, needs_kl=True, max_tokens=6)
    assert wanted["mismatched"] == [([1, 2, 3, 4], [[8, 9]]), ([7], [[5]])]
    found = with_logps(lists, {"own": [-1.0, -2.0, -3.0, -4.0], "mismatched": [-5.0, -6.0]}, 6)
    assert [item.mismatched for item in found] == [[8, 9], [5]]
    assert [item.mismatched_reference_logp for item in found] == [-5.0, -6.0]
