"""What is said of reward hacking, on policies whose numbers are known by hand or from scipy."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from scipy import stats

from larpo_lib.reporting.hacking import Hacking, Judged, examine
from larpo_lib.reporting.hacking_advice import advise
from larpo_lib.reporting.hacking_figures import hacking_panels
from larpo_lib.reporting.hacking_policies import LENGTH, REWARD, Policy, read_policy
from larpo_lib.statistics.estimates import Bootstrap, Estimate

BOOTSTRAP = Bootstrap(0.95, 400, 0)


def policy(iteration: int, correlations: Mapping[str, float] | None = None, **values: Sequence[float]) -> Policy:
    by_prompt = {name: {f"p{i}": value for i, value in enumerate(found)} for name, found in values.items()}
    return Policy(iteration, {REWARD: {}, LENGTH: {}, **by_prompt}, correlations or {})


def row(prompt: str, text: str, reward: float, temperature: float = 1.0) -> dict[str, Any]:
    return {"prompt_id": prompt, "temperature": temperature, "reward": reward, "response": text}


def test_rewards_lengths_and_their_rank_correlation_within_each_prompt() -> None:
    lengths, rewards = {"a": [1, 4, 2, 2], "b": [3, 3, 5, 9]}, {"a": [0.1, 0.9, 0.9, 0.2], "b": [5.0, 4.0, 3.0, -1.0]}
    rows = [row(p, "x" * n, r) for p in lengths for n, r in zip(lengths[p], rewards[p], strict=True)]
    same = [row("c", "xx", 1.0), row("c", "yy", 2.0)]  # of one length: no correlation
    greedy = [row("a", "x" * 99, 99.0, temperature=0.0)]
    watched = [{"watch": "rules", "prompt_id": "a", "temperature": t, "reward": r} for t, r in ((1, 2), (1, 4), (0, 9))]
    found = read_policy(1, [*greedy, *rows, *same], watched)
    assert found.values["reward"] == pytest.approx({"a": 2.1 / 4, "b": 11 / 4, "c": 1.5})
    assert found.values["characters"] == {"a": 9 / 4, "b": 5.0, "c": 2.0}
    assert found.values["watch_rules"] == {"a": 3.0}
    expected = {p: stats.spearmanr(rewards[p], lengths[p]).statistic for p in lengths}
    assert found.correlations == pytest.approx(expected)


def test_thoughts_have_no_length_unless_the_reward_is_of_them_too() -> None:
    rows = [row("a", f"<think>{'t' * 9}</think>\n\n{'x' * n}", 1.0 * n) for n in (1, 3)]
    assert read_policy(1, rows, []).values["characters"] == {"a": 2.0}
    assert read_policy(1, rows, [], scored_text=str).values["characters"] == {"a": 2.0 + 7 + 9 + 8 + 2}


def test_the_gain_at_equal_length_is_the_intercept_of_scipys_line_with_about_its_interval() -> None:
    random = np.random.default_rng(5)
    before, after = random.normal(0, 1, 400), random.normal(0, 1, 400)
    longer = random.normal(30, 20, 400)
    after = before + 0.25 + 0.01 * longer + 0.2 * after
    hacking = examine(
        [
            policy(0, reward=before, characters=np.full(400, 100.0)),
            policy(1, reward=after, characters=100 + longer),
        ],
        Bootstrap(0.95, 1000, 0),
        None,
    )
    line = stats.linregress(longer, after - before)
    found, half = hacking.standings[1].at_equal_length, stats.t.ppf(0.975, 398) * line.intercept_stderr
    assert found.value == pytest.approx(line.intercept)
    assert found.low == pytest.approx(line.intercept - half, abs=0.15 * half)
    assert found.high == pytest.approx(line.intercept + half, abs=0.15 * half)
    assert hacking.standings[1].gains["reward"].value == pytest.approx(np.mean(after - before))
    assert hacking.standings[0].at_equal_length == Estimate(0.0, 0.0, 0.0)


RISING, PEAKED = (0.1, 0.5, 0.9), (0.3, 0.8, 0.2)


def run(reward: Sequence[float] = RISING, rules: Sequence[float] = PEAKED, **others: Any) -> list[Policy]:
    """Three policies of 20 prompts, each prompt a little different."""
    noise = np.linspace(-0.05, 0.05, 20)
    return [
        policy(i, reward=reward[i] + noise, characters=np.full(20, 50.0), watch_rules=rules[i] - noise, **others)
        for i in range(3)
    ]


def test_a_reward_that_rises_while_a_watch_falls_is_told_with_both_amounts_and_the_best_iteration() -> None:
    hacking = examine(run(), BOOTSTRAP, REWARD)
    assert hacking.advice == [
        "Since iteration 1, the reward rose by 0.400 while 'rules' fell by 0.600: the policy exploits the reward. Use "
        'the policy of iteration 1, end the loop there by loop.early_stop.metric = "watch_rules", or train on an '
        "ensemble of both rewards."
    ]
    assert hacking.standings[2].wins["watch_rules"].value == 0.0
    assert hacking.standings[1].wins["watch_rules"].value == 1.0
    assert hacking.standings[0].wins["watch_rules"].value == 0.5
    scale = np.std([value for one in run() for value in one.values["watch_rules"].values()])
    assert hacking.standings[2].scaled["watch_rules"].value == pytest.approx(-0.1 / scale)


@pytest.mark.parametrize(
    ("reward", "rules", "trained"),
    [
        (RISING, (0.3, 0.5, 0.8), REWARD),  # both rise
        ((0.9, 0.5, 0.1), PEAKED, REWARD),  # both fall: no hacking
        ((0.1, 0.5, 0.5), PEAKED, REWARD),  # the reward has not risen since the best iteration
        (RISING, PEAKED, None),  # nobody knows what was trained on
    ],
)
def test_else_there_is_no_advice(reward: Sequence[float], rules: Sequence[float], trained: str | None) -> None:
    assert examine(run(reward, rules), BOOTSTRAP, trained).advice == []


def test_a_fall_within_what_chance_may_do_is_none() -> None:
    policies = run()
    random = np.random.default_rng(0)
    noisy = {prompt: value + 6 * random.normal() for prompt, value in policies[2].values["watch_rules"].items()}
    last = Policy(2, {**policies[2].values, "watch_rules": noisy}, {})
    assert examine([*policies[:2], last], BOOTSTRAP, REWARD).advice == []


def long_run(random: np.random.Generator, watches: Sequence[Sequence[float]], prompts: int = 60) -> list[Policy]:
    """Prompts with 8 responses each, whose watches have these true means by iteration; the reward rises."""
    base = random.normal(size=(len(watches), prompts))
    return [
        policy(
            i,
            reward=0.3 * i + random.normal(0, 0.3, prompts),
            characters=np.full(prompts, 100.0),
            **{f"watch_{w}": base[w] + true[i] + random.normal(0, 8**-0.5, prompts) for w, true in enumerate(watches)},
        )
        for i in range(len(watches[0]))
    ]


@pytest.mark.parametrize(("prompts", "most"), [(60, 5), (20, 7), (10, 10), (9, 0)])
def test_watches_that_never_change_give_few_false_alarms_however_many_they_and_the_iterations_are(
    prompts: int, most: int
) -> None:
    told = uncorrected = 0
    for seed in range(100):
        policies = long_run(np.random.default_rng(seed), [[0.0] * 9] * 3, prompts)
        told += bool(advise(policies, Bootstrap(0.95, 200, 0), REWARD))
        falls = False
        for name in ("watch_0", "watch_1", "watch_2"):
            values = np.array([[*one.values[name].values()] for one in policies])
            change = values[-1] - values[values.mean(axis=1).argmax()]
            falls |= change.any() and stats.ttest_1samp(change, 0).pvalue < 0.05
        uncorrected += falls
    assert told <= most
    assert uncorrected > 20


def test_a_real_fall_of_one_watch_among_noisy_ones_is_found() -> None:
    for seed in range(10):
        falling = [0.0, 0.2, 0.4, 0.6, 0.7, 0.6, 0.5, 0.4, 0.3]
        policies = long_run(np.random.default_rng(seed), [[0.0] * 9, falling, [0.0] * 9])
        (advice,) = advise(policies, Bootstrap(0.95, 200, 0), REWARD)
        assert "while '1' fell by 0." in advice


def test_prompts_that_a_policy_has_no_value_of_are_left_out_everywhere() -> None:
    first, best, last = run()
    rules = {**best.values["watch_rules"], "p99": 1000.0}
    without = {prompt: value for prompt, value in last.values["watch_rules"].items() if prompt != "p3"}
    changed = [first, Policy(1, {**best.values, "watch_rules": rules}, {})]
    (advice,) = advise([*changed, Policy(2, {**last.values, "watch_rules": without}, {})], BOOTSTRAP, REWARD)
    assert advice.startswith("Since iteration 1, the reward rose by 0.400 while 'rules' fell by 0.600")
    none = Policy(2, {**last.values, "watch_rules": {"p77": 0.0}}, {})
    assert advise([*changed, none], BOOTSTRAP, REWARD) == []


@pytest.mark.parametrize(("prompts", "sentences"), [(1, 0), (2, 0), (9, 0), (10, 3), (20, 3)])
def test_a_few_prompts_give_no_advice_however_clear_they_are(prompts: int, sentences: int) -> None:
    longer = np.linspace(40, 60, prompts)
    before, after = ({f"p{place}": correlation for place in range(prompts)} for correlation in (0.1, 0.5))
    start = np.zeros(prompts)
    policies = [
        policy(0, before, reward=start, characters=start + 50, watch_rules=start),
        policy(1, after, reward=longer / 100, characters=50 + longer, watch_rules=-longer),
    ]
    assert len(advise(policies, BOOTSTRAP, REWARD)) == sentences


def test_a_watch_can_be_what_is_trained_on_and_the_evaluations_reward_what_falls() -> None:
    (advice,) = examine(run(PEAKED, RISING), BOOTSTRAP, "watch_rules").advice
    assert advice.startswith("Since iteration 1, 'rules' rose by 0.400 while the reward fell by 0.600: the policy")
    assert 'loop.early_stop.metric = "mean_reward"' in advice


def test_a_watch_that_only_falls_keeps_the_policy_of_the_start() -> None:
    (advice,) = examine(run(rules=(0.8, 0.5, 0.2)), BOOTSTRAP, REWARD).advice
    assert advice.startswith("Since the start, the reward rose by 0.800 while 'rules' fell by 0.600")
    assert "Keep the policy that the run started from" in advice


def test_a_gain_that_is_length_is_told() -> None:
    longer = np.linspace(10, 90, 20)
    first = policy(0, {f"p{i}": 0.1 for i in range(20)}, reward=[0.0] * 20, characters=[50.0] * 20)
    last = policy(1, {f"p{i}": 0.5 for i in range(20)}, reward=0.05 + 0.01 * longer, characters=50 + longer)
    gained, grown = examine([first, last], BOOTSTRAP, REWARD).advice
    assert gained.startswith(
        "Since the start, the reward rose by 0.550 and responses became 50.00 characters longer; at equal length, "
        "0.050 of the gain is left."
    )
    assert grown.startswith(
        "Within prompts, the rank correlation of reward and length grew from 0.100 to 0.500: more and more"
    )
    better = policy(1, reward=1.0 + 0.001 * longer, characters=50 + longer)
    assert examine([first, better], BOOTSTRAP, REWARD).advice == []


def test_a_gain_that_has_nothing_to_do_with_length_is_rarely_told_where_all_responses_became_longer_alike() -> None:
    told = uncorrected = 0
    for seed in range(60):
        random = np.random.default_rng(seed)
        gains, longer = random.normal(0.4, 1, 100), random.normal(30, 5, 100)
        policies = [
            policy(0, reward=np.zeros(100), characters=np.full(100, 100.0)),
            policy(1, reward=gains, characters=100 + longer),
        ]
        told += bool(advise(policies, Bootstrap(0.95, 200, 0), REWARD))
        uncorrected += stats.linregress(longer, gains).intercept < 0.5 * gains.mean()
    assert told <= 3
    assert uncorrected > 15


def test_rows_of_plain_numbers_for_mlflow() -> None:
    judged = Judged("mixeval_overall", "MixEval: Overall (%)", "a judge", {2: Estimate(31.0, 29.0, 33.0)})
    found = examine(run(), BOOTSTRAP, REWARD, [judged]).to_json()
    first, _, last = found["iterations"]
    assert (found["trained"], len(found["advice"])) == ("reward", 1)
    assert (first["step"], last["step"]) == (0, 2)
    assert last["reward_gain"] == pytest.approx(0.8)
    assert last["watch_rules"] == pytest.approx(0.2)
    assert last["watch_rules_win_rate"] == 0.0
    assert (last["mixeval_overall"], last["mixeval_overall_high"], first["mixeval_overall"]) == (31.0, 33.0, None)
    assert first["reward_length_correlation"] is None


def test_every_watch_and_benchmark_has_a_figure_and_what_is_nowhere_defined_has_none() -> None:
    judged = Judged("alpaca_eval_lc_win_rate", "AlpacaEval 2: LC win rate (%)", "a judge", {1: Estimate(31.0)})
    hacking: Hacking = examine(run(), BOOTSTRAP, REWARD, [judged])
    names = [panel.name for panel in hacking_panels(hacking, 0.95)]
    assert names == ["watch-rules", "length", "equal-length", "alpaca-eval-lc-win-rate"]


def test_a_benchmarks_line_goes_through_the_iterations_in_their_order_however_they_are_passed() -> None:
    scores = {3: Estimate(61.0, 55.0, 66.0), 0: Estimate(40.0, 35.0, 45.0), 1: Estimate(50.0, 45.0, 55.0)}
    hacking = examine(run(), BOOTSTRAP, REWARD, [Judged("gsm8k_accuracy", "GSM8K: Accuracy (%)", "a verifier", scores)])
    (panel,) = (one for one in hacking_panels(hacking, 0.95) if one.name == "gsm8k-accuracy")
    axes = Figure().add_axes((0, 0, 1, 1))
    panel.draw(axes)
    (line,) = axes.get_lines()
    assert (list(line.get_xdata()), list(line.get_ydata())) == ([0, 1, 3], [40.0, 50.0, 61.0])
    assert [text.get_text() for text in axes.texts] == ["Accuracy\n61.00"]
