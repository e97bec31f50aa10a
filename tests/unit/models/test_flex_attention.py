"""FlexAttention has no backward pass on a CPU: what can be tested here are its masks and the forward pass.

Most tests run its reference implementation, which applies the mask to each token. One runs the compiled kernel, which
also goes by the blocks.
"""

import shutil
import sysconfig
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from packed_lists import CASES, LONG, MANY, SIZES, WINDOWED, lists_of, random_lists, rms
from small_models import FAMILIES, make_model

from larpo_lib.models.layout import PROMPT_SHARING_FAMILIES, choose_layout, flex_layout, padded_layout
from larpo_lib.models.packing import attention_masks, visible_keys
from larpo_lib.models.scoring import attach_scorer

SHARING_CASES = [case for case in CASES if FAMILIES[case[0]]().model_type in PROMPT_SHARING_FAMILIES]

_compiles = pytest.mark.skipif(
    shutil.which("g++") is None or not Path(sysconfig.get_paths()["include"], "Python.h").is_file(),
    reason="needs g++ and the headers of Python",
)


@pytest.fixture
def reference_implementation():
    with torch.compiler.set_stance("force_eager"):
        yield


def _on_flex(family, **changes):
    model = make_model(family, **changes)
    model.set_attn_implementation("flex_attention")
    return model


def _dense(mask):
    """What a kernel sees, which goes by the blocks: nothing outside them, all in full ones, else by the mask itself."""
    rows, _, length, _ = mask.shape
    size, _ = mask.BLOCK_SIZE
    seen = torch.zeros(rows, length, length, dtype=torch.bool)
    for counts, indices, full in (
        (mask.kv_num_blocks, mask.kv_indices, False),
        (mask.full_kv_num_blocks, mask.full_kv_indices, True),
    ):
        for row in range(rows):
            for block, count in enumerate(counts[row, 0].tolist()):
                for other in indices[row, 0, block, :count].tolist():
                    query = torch.arange(block * size, min((block + 1) * size, length))[:, None]
                    key = torch.arange(other * size, min((other + 1) * size, length))[None]
                    seen[row, query, key] = full or mask.mask_mod(torch.tensor(row), torch.tensor(0), query, key)
    return seen


@given(lists_of(120), st.integers(1, 200))
@settings(max_examples=20)
def test_block_masks_show_exactly_what_is_visible(lists, window):
    config = FAMILIES["gemma2"]()
    config._attn_implementation = "flex_attention"
    config.sliding_window = window
    rows = flex_layout(0)(lists)
    masks = attention_masks(config, rows, torch.float32)
    assert masks.keys() == {"full_attention", "sliding_attention"}
    assert torch.equal(_dense(masks["full_attention"]), visible_keys(rows))
    assert torch.equal(_dense(masks["sliding_attention"]), visible_keys(rows, window))


def test_blocks_of_different_lists_are_skipped():
    rows = flex_layout(0)([([5] * 256, [[6]]), ([5] * 128, [[6]])])
    config = FAMILIES["llama"]()
    config._attn_implementation = "flex_attention"
    blocks = attention_masks(config, rows, torch.float32).to_dense()[0, 0]
    assert blocks.int().tolist() == [[1, 0, 0], [1, 1, 0], [0, 0, 1]]


@pytest.mark.usefixtures("reference_implementation")
@pytest.mark.parametrize(("family", "changes"), SHARING_CASES)
def test_flex_rows_give_the_log_probabilities_of_separate_rows(family, changes):
    lists = random_lists(LONG if changes else SIZES)
    own, on_flex = attach_scorer(make_model(family, **changes), 64), attach_scorer(_on_flex(family, **changes), 64)
    layout = choose_layout(on_flex, lists, 0)
    assert layout.name == "flex"
    with torch.inference_mode():
        separate = own(**padded_layout(0)(lists))
        torch.testing.assert_close(on_flex(**layout(lists)), separate, atol=1e-5, rtol=1e-5)
        # responses of other lists, for the KL estimate of KTO, come in padded rows
        torch.testing.assert_close(on_flex(**padded_layout(0)(lists)), separate, atol=1e-5, rtol=1e-5)


@pytest.mark.usefixtures("reference_implementation")
@pytest.mark.parametrize("family", WINDOWED)
def test_a_mask_without_windows_would_show(family):
    lists = random_lists(LONG)
    own = attach_scorer(make_model(family, **WINDOWED[family]), 64)
    unlimited = attach_scorer(_on_flex(family, **WINDOWED[family] | {"sliding_window": 1000}), 64)
    with torch.inference_mode():
        assert (own(**padded_layout(0)(lists)) - unlimited(**flex_layout(0)(lists))).abs().min() > 1e-3


@pytest.mark.usefixtures("reference_implementation")
@pytest.mark.parametrize(("family", "changes"), SHARING_CASES)
def test_in_bfloat16_flex_rows_err_no_more_than_separate_rows(family, changes):
    lists = random_lists(MANY)
    own, on_flex = attach_scorer(make_model(family, **changes), 64), attach_scorer(_on_flex(family, **changes), 64)
    with torch.inference_mode():
        exact = own(**padded_layout(0)(lists))
        with torch.autocast("cpu", torch.bfloat16):
            separate, shared = own(**padded_layout(0)(lists)), on_flex(**flex_layout(0)(lists))
    assert rms(separate - exact) > 1e-3  # it did round
    assert rms(shared - exact) < 1.15 * rms(separate - exact)


@_compiles
def test_the_compiled_kernel_gives_the_log_probabilities_of_separate_rows():
    """Gemma 2 has all that can be lost, capped scores and windows; all layers slide, so that one kernel is enough."""
    lists = random_lists([(90, (30, 1, 45)), (140, (25, 60)), (3, (4, 4))])
    changes = {"layer_types": ["sliding_attention"] * 2, "sliding_window": 40}
    own = attach_scorer(make_model("gemma2", **changes), 64)
    with torch.compiler.set_stance("force_eager"):
        on_flex = attach_scorer(_on_flex("gemma2", **changes), 64)
    assert flex_layout(0).cost(lists) == 512  # several blocks
    try:
        with torch.inference_mode():
            torch.testing.assert_close(
                on_flex(**flex_layout(0)(lists)), own(**padded_layout(0)(lists)), atol=1e-5, rtol=1e-5
            )
    finally:
        torch._dynamo.reset()
