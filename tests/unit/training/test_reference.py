from __future__ import annotations

import numpy as np
import pytest
from small_models import make_model

from larpo_lib.policies.layout import packed, padded
from larpo_lib.policies.scoring import attach_scorer, padded_rows
from larpo_lib.training.reference import cached_logps, reference_logps

LISTS = [([3, 4], [[5, 6, 7]]), ([8], [[9], [21, 22]]), ([10, 11, 12, 13], [[14, 15]]), ([16], [[17, 18, 19, 20]])]
SETTINGS = {"batch_size": 2, "bf16": False}


@pytest.fixture(scope="module")
def model():
    return attach_scorer(make_model("llama"), 64)


@pytest.mark.parametrize("batch_size", [1, 3, 100])
@pytest.mark.parametrize("layout", [padded(0), packed(0)])
def test_responses_are_scored_in_their_own_order(model, layout, batch_size):
    expected = [
        model(**padded_rows([prompt], [response], 0)).item() for prompt, responses in LISTS for response in responses
    ]
    logps = reference_logps(model, LISTS, layout, batch_size=batch_size, bf16=False)
    assert logps.dtype == np.float32
    np.testing.assert_allclose(logps, expected, atol=1e-5)


def test_what_a_crashed_run_has_scored_is_not_scored_again(model, tmp_path):
    path = tmp_path / "reference.npy"
    first = cached_logps(path, model, LISTS, padded(0), **SETTINGS)
    assert [len(values) for values in first] == [1, 2, 1, 1]
    model_gone = None
    assert cached_logps(path, model_gone, LISTS, padded(0), **SETTINGS) == first


def test_a_half_written_file_is_written_again(model, tmp_path):
    """A crash while writing leaves the temporary file, never a torn one under the final name."""
    (tmp_path / ".reference.npy").write_bytes(b"torn")
    logps = cached_logps(tmp_path / "reference.npy", model, LISTS, padded(0), **SETTINGS)
    np.testing.assert_array_equal(np.load(tmp_path / "reference.npy"), [value for values in logps for value in values])
    assert [path.name for path in tmp_path.iterdir()] == ["reference.npy"]
