import pytest

from larpo_lib.config.load import load_config
from larpo_lib.errors import ConfigError
from larpo_lib.studies.estimate import Assumptions, estimate, sft_gpu_hours

GIVEN = Assumptions(
    parameters=7e9,
    reward_parameters=8e9,
    prompts=1000,
    prompt_tokens=100,
    response_tokens=400,
    sampled_tokens_per_second=2000,
    flops_per_second=4e14,
)


def _config(*settings):
    return load_config(None, ["policy=p", "prepare.source=s", "loop.iterations=2", "sample.k=4", *settings])


def test_worked_by_hand():
    cost = estimate(_config("train.epochs=2", "lists.selection.type=best_worst", "lists.memory=current"), GIVEN)
    assert (cost.prompts, cost.responses) == (2000, 8000)
    assert cost.trained_tokens == 2000 * 2 * (100 + 2 * 400)
    sampling = 8000 * 400 / 2000  # 1,600 s
    ranking = 2 * 8e9 * 8000 * 500 / 4e14  # 160 s
    training = 7 * 7e9 * 3_600_000 / 4e14  # 441 s
    assert cost.gpu_hours == pytest.approx((sampling + ranking + training) / 3600)


@pytest.mark.parametrize(("limit", "prompts"), [(500, 500), (900, 800)])
def test_held_out_prompts_are_taken_before_the_limit_as_prepare_does(limit: int, prompts: int) -> None:
    assert estimate(_config(f"prepare.limit={limit}", "prepare.heldout=200"), GIVEN).prompts == 2 * prompts


def test_memory_trains_on_prompts_of_earlier_iterations_again():
    shares = ("sample.prompts_per_iteration=100", "loop.iterations=3")
    tokens = {
        memory: estimate(_config(*shares, f"lists.memory={memory}"), GIVEN).trained_tokens
        for memory in ("current", "previous", "all")
    }
    assert tokens["previous"] / tokens["current"] == pytest.approx(5 / 3)
    assert tokens["all"] / tokens["current"] == pytest.approx(6 / 3)


def test_settings_that_change_count_as_they_are_in_each_iteration():
    """4 and then 6 responses a prompt, all of them in one list with those of before; two epochs, then one."""
    changes = "loop.changes=[{iteration = 2, sample = {k = 6}, train = {epochs = 1}}]"
    cost = estimate(_config("train.epochs=2", "lists.selection.type=whole_list", changes), GIVEN)
    first, second = 1000 * 2 * (100 + 4 * 400), 1000 * (100 + 10 * 400)
    assert (cost.responses, cost.trained_tokens) == (1000 * 10, first + second)
    sampling, ranking = 10_000 * 400 / 2000, 2 * 8e9 * 10_000 * 500 / 4e14
    training = 7e9 * (7 * first + 8 * second) / 4e14
    assert cost.gpu_hours == pytest.approx((sampling + ranking + training) / 3600)


@pytest.mark.parametrize(
    ("selection", "length"), [("best_worst", 2), ("top_bottom", 4), ("one_vs_rest", 4), ("whole_list", 4)]
)
def test_the_length_of_lists_follows_the_selection(selection, length):
    cost = estimate(_config(f"lists.selection.type={selection}", "train.epochs=1", "lists.memory=current"), GIVEN)
    assert cost.trained_tokens == 2000 * (100 + length * 400)


def test_fine_tuning_on_demonstrations_is_worked_by_hand():
    tuned = _config("demonstrations.source=d", "sft.epochs=2")
    given = GIVEN.model_copy(update={"demonstrations": 10_000, "demonstration_tokens": 500})
    assert sft_gpu_hours(tuned, given) == pytest.approx(6 * 7e9 * 2 * 10_000 * 500 / 4e14 / 3600)
    assert sft_gpu_hours(_config(), given) == 0
    with pytest.raises(ConfigError, match="makes no assumption about its demonstrations"):
        sft_gpu_hours(tuned, GIVEN)
