from __future__ import annotations

import numpy as np
import pytest
from small_models import make_model

from larpo_lib.policies.scoring import attach_scorer, padded_rows
from larpo_lib.training.reference import cached_logps, reference_logps

PAIRS = [([3, 4], [5, 6, 7]), ([8], [9]), ([10, 11, 12, 13], [14, 15]), ([16], [17, 18, 19, 20])]


@pytest.fixture(scope="module")
def model():
    return attach_scorer(make_model("llama"), 64)


@pytest.mark.parametrize("batch_size", [1, 3, 100])
def test_pairs_are_scored_in_their_own_order(model, batch_size):
    expected = [model(**padded_rows([prompt], [response], 0)).item() for prompt, response in PAIRS]
    logps = reference_logps(model, PAIRS, 0, batch_size)
    assert logps.dtype == np.float32
    np.testing.assert_allclose(logps, expected, atol=1e-5)


def test_what_a_crashed_run_has_scored_is_not_scored_again(model, tmp_path):
    path = tmp_path / "reference.npy"
    first = cached_logps(path, model, PAIRS, 0, 2)
    model_gone = None
    assert cached_logps(path, model_gone, PAIRS, 0, 2).tobytes() == first.tobytes()


def test_a_half_written_file_is_written_again(model, tmp_path):
    """A crash while writing leaves the temporary file, never a torn one under the final name."""
    (tmp_path / ".reference.npy").write_bytes(b"torn")
    logps = cached_logps(tmp_path / "reference.npy", model, PAIRS, 0, 2)
    np.testing.assert_array_equal(np.load(tmp_path / "reference.npy"), logps)
    assert [path.name for path in tmp_path.iterdir()] == ["reference.npy"]
