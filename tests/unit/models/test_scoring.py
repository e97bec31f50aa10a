import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from small_models import FAMILIES, UNSHARED, VOCABULARY, make_model

from larpo_lib.errors import ModelError
from larpo_lib.models.scoring import attach_scorer, padded_rows

PROMPT_LENGTHS, RESPONSE_LENGTHS = (1, 9, 4, 7, 4), (6, 1, 8, 3, 8)
TOKENS = sum(RESPONSE_LENGTHS)


def _sequences():
    generator = torch.Generator().manual_seed(1)

    def draw(lengths):
        return [torch.randint(3, VOCABULARY, (length,), generator=generator).tolist() for length in lengths]

    return draw(PROMPT_LENGTHS), draw(RESPONSE_LENGTHS)


def _plain_logps(model, prompts, responses):
    """Every response in a row of its own, without padding, by log_softmax of the model's own logits."""
    summed = []
    for prompt, response in zip(prompts, responses, strict=True):
        logits = model(input_ids=torch.tensor([prompt + response]), use_cache=False).logits[0].float()
        logps = logits.log_softmax(-1)[len(prompt) - 1 : -1]
        summed.append(logps[torch.arange(len(response)), torch.tensor(response)].sum())
    return torch.stack(summed)


def _gradients(model, logps):
    weights = torch.linspace(-1.0, 2.0, len(logps))  # so that no two responses can stand in for each other
    model.zero_grad()
    (logps * weights).sum().backward()
    return {name: parameter.grad for name, parameter in model.named_parameters() if parameter.grad is not None}


def _assert_equal(model, chunk_tokens):
    prompts, responses = _sequences()
    scored = attach_scorer(copy.deepcopy(model), chunk_tokens)
    expected = _plain_logps(model, prompts, responses)
    got = scored(**padded_rows(prompts, responses, 0))
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=1e-5)
    plain, chunked = _gradients(model, expected), _gradients(scored, got)
    assert plain.keys() == chunked.keys()
    for name, gradient in plain.items():
        scale = max(1.0, gradient.abs().max().item())
        torch.testing.assert_close(chunked[name] / scale, gradient / scale, atol=1e-5, rtol=0, msg=name)


@pytest.mark.parametrize("family", [*FAMILIES, *UNSHARED])
def test_scores_and_gradients_are_those_of_the_models_own_logits(family):
    _assert_equal(make_model(family), chunk_tokens=7)


@pytest.mark.parametrize("chunk_tokens", [1, 2, 5, TOKENS - 1, TOKENS, TOKENS + 1])
def test_the_chunk_size_changes_nothing(chunk_tokens):
    _assert_equal(make_model("llama"), chunk_tokens)


@pytest.mark.parametrize(
    ("family", "setting", "value"),
    [
        ("gemma2", "final_logit_softcapping", None),
        ("gemma2", "attn_logit_softcapping", None),
        ("mistral", "sliding_window", None),
        ("cohere", "logit_scale", 1.0),
        ("granite", "logits_scaling", 1.0),
    ],
)
def test_what_sets_a_family_apart_shows_in_these_scores(family, setting, value):
    """The guard of the tests above: without it they would pass on models whose peculiarity has no effect."""
    prompts, responses = _sequences()
    rows = padded_rows(prompts, responses, 0)
    own = attach_scorer(make_model(family), 100)(**rows)
    other = attach_scorer(make_model(family, **{setting: value}), 100)(**rows)
    assert (own - other).abs().max() > 1e-2


def test_a_response_of_no_tokens_scores_zero():
    scored = attach_scorer(make_model("llama"), 100)
    logps = scored(**padded_rows([[5], [6, 7]], [[], [8]], 0))
    assert logps[0] == 0
    assert logps[1] < 0


def test_a_scored_policy_saves_as_a_plain_model(tmp_path):
    model = make_model("llama")
    attach_scorer(copy.deepcopy(model), 8).save_pretrained(tmp_path)
    loaded = type(model).from_pretrained(tmp_path)
    ids = torch.tensor([[3, 4, 5]])
    torch.testing.assert_close(loaded(ids).logits, model(ids).logits)


token = st.integers(1, 50)


@given(
    st.lists(st.tuples(st.lists(token, min_size=1, max_size=6), st.lists(token, max_size=6)), min_size=1, max_size=5)
)
def test_rows_hold_every_sequence_and_point_to_every_response_token(pairs):
    prompts, responses = [prompt for prompt, _ in pairs], [response for _, response in pairs]
    rows = padded_rows(prompts, responses, 0)
    flat = rows["input_ids"].flatten().tolist()
    width = rows["input_ids"].shape[1]
    predictors = []
    for row, (prompt, response) in enumerate(pairs):
        tokens = prompt + response[:-1]  # its last token predicts nothing
        length = len(tokens)
        assert flat[row * width : (row + 1) * width] == tokens + [0] * (width - length)
        assert rows["attention_mask"][row].tolist() == [1] * length + [0] * (width - length)
        assert rows["position_ids"][row, :length].tolist() == list(range(length))
        predictors += [row * width + len(prompt) - 1 + i for i in range(len(response))]
    assert width == max(len(prompt + response[:-1]) for prompt, response in pairs)
    assert rows["targets"].tolist() == [token for response in responses for token in response]
    assert rows["predictors"].tolist() == predictors
    assert rows["owners"].tolist() == [row for row, response in enumerate(responses) for _ in response]
    assert rows["num_responses"] == len(pairs)


def test_a_family_whose_logits_are_scaled_in_an_unknown_way_is_refused():
    model = make_model("llama")
    own_forward = model.forward

    def scaled_forward(**inputs):
        output = own_forward(**inputs)
        output.logits = 2 * output.logits
        return output

    model.forward = scaled_forward
    with pytest.raises(ModelError, match="'llama' are not supported"):
        attach_scorer(model, 64)


def test_dropout_is_off_so_that_the_first_log_ratios_are_zero():
    model = make_model("llama", attention_dropout=0.5)
    prompts, responses = _sequences()
    scored = attach_scorer(model, 64).train()
    rows = padded_rows(prompts, responses, 0)
    torch.testing.assert_close(scored(**rows), scored(**rows), atol=0, rtol=0)


def test_a_model_whose_log_probabilities_are_not_finite_is_refused():
    """Every comparison with nan is false, so it would pass as supported."""
    model = make_model("llama")
    with torch.no_grad():
        model.lm_head.weight[0] = float("nan")
    with pytest.raises(ModelError, match=r"log-probability of a test input is nan.*float32"):
        attach_scorer(model, 64)
