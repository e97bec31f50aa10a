import itertools
import json
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure
from scipy import stats

from larpo_lib.config import SearchTemperatureConfig
from larpo_lib.reporting import drawing
from larpo_lib.reporting.temperatures import compared_rewards, panels, summarize
from larpo_lib.statistics.estimates import Estimate


def config(*temperatures, **changes):
    return SearchTemperatureConfig(**{"temperatures": temperatures, "k": 2, "resamples": 200} | changes)


def rows(rewards, *, texts=None):
    """Rows from rewards by prompt and temperature."""
    return [
        {
            "prompt_id": prompt,
            "temperature": temperature,
            "response": f"text {i}" if texts is None else texts[temperature],
            "num_tokens": 3 + i,
            "finish_reason": "length" if i else "stop",
            "reward": reward,
        }
        for prompt, found in rewards.items()
        for temperature, values in found.items()
        for i, reward in enumerate(values)
    ]


COLD_AND_HOT = rows(
    {
        "p0": {0.5: [0.6, 0.6], 1.0: [0.9, 0.1]},
        "p1": {0.5: [0.5, 0.5], 1.0: [0.8, 0.0]},
        "p2": {0.5: [0.4, 0.4], 1.0: [0.7, 0.1]},
    }
)


def test_the_criterion_decides():
    best, mean = (summarize(COLD_AND_HOT, config(0.5, 1.0, criterion=name)) for name in ("best", "mean"))
    assert (best.temperature, mean.temperature) == (1.0, 0.5)
    cold, hot = best.tried
    assert cold.best_reward.value == cold.mean_reward.value == pytest.approx(0.5)
    assert hot.best_reward.value == pytest.approx(0.8)
    assert hot.mean_reward.value == pytest.approx((0.5 + 0.4 + 0.4) / 3)
    assert cold.best_reward_difference.value == pytest.approx(-0.3)
    assert hot.best_reward_difference == Estimate(0.0)
    assert mean.tried[1].mean_reward_difference.value == pytest.approx(-(0.1 + 0.1 + 0.0) / 3)
    assert (cold.responses, cold.truncated_share, cold.mean_tokens) == (6, 0.5, 3.5)


def test_a_lead_that_is_the_same_at_each_of_few_prompts_is_noise():
    """Two prompts, or one, cannot tell how much others would differ; rounding does not make them differ."""
    for prompts in ({"a": 0.0, "b": 0.0}, {"a": 0.0}, {"a": 0.6, "b": 0.5, "c": 0.4}):
        found = summarize(
            rows({p: {0.8: [0.10 + x], 1.0: [0.11 + x], 1.2: [0.09 + x]} for p, x in prompts.items()}),
            config(0.8, 1.0, 1.2, k=1),
        )
        assert (found.temperature, found.within_noise_of) == (1.0, (0.8, 1.2))
        lower = found.tried[0].best_reward_difference
        assert lower == Estimate(pytest.approx(-0.01))
    clear = {f"p{i}": {0.5: [0.1 * i], 1.0: [1.0 + 0.2 * i]} for i in range(4)}
    assert summarize(rows(clear), config(0.5, 1.0, k=1)).within_noise_of == ()


@pytest.mark.parametrize(("confidence", "enough"), [(0.95, 6), (0.99, 8), (0.6, 3)])
def test_a_lead_that_is_the_same_at_enough_prompts_is_certain(confidence, enough):
    """As scipy's sign test says; of equal temperatures, none is below the other at any number of prompts."""
    for n in (enough - 1, enough, 500):
        found = summarize(
            rows({f"p{i}": {1.0: [1.0], 1.5: [1.0], 2.0: [0.0]} for i in range(n)}),
            config(1.0, 1.5, 2.0, k=1, confidence=confidence),
        )
        certain = bool(stats.binomtest(0, n).pvalue <= 1 - confidence)
        assert certain == (n >= enough)
        assert found.within_noise_of == ((1.5,) if certain else (1.5, 2.0))
        assert found.tried[2].best_reward_difference == Estimate(-1.0)


def test_rounding_is_no_lead_however_many_prompts():
    values = {0.5: [0.3, 0.3], 1.0: [0.1 + 0.2, 0.1 + 0.2]}  # which is more than .3 by 6e-17
    found = summarize(rows({f"p{i}": values for i in range(50)}), config(0.5, 1.0))
    assert (found.temperature, found.within_noise_of) == (1.0, (0.5,))


def test_a_lead_that_some_resamples_lose_is_noise():
    found = summarize(
        rows(
            {
                "p0": {0.5: [1.0], 1.0: [0.0], 2.0: [0.0]},
                "p1": {0.5: [0.0], 1.0: [1.0], 2.0: [0.0]},
                "p2": {0.5: [1.0], 1.0: [0.9], 2.0: [0.0]},
                **{f"q{i}": {0.5: [1.0], 1.0: [1.0], 2.0: [0.0]} for i in range(9)},
            }
        ),
        config(0.5, 1.0, 2.0, k=1),
    )
    assert found.temperature == 0.5
    assert found.within_noise_of == (1.0,)
    assert found.metrics()["within_noise"] == 1
    assert found.tried[2].best_reward_difference.high < 0


def test_ties_go_to_the_lower_temperature_whatever_the_order():
    values = [0.1, 0.2, 0.3, 0.7]  # their sum depends on the order where it is not exact
    tied = {f"p{i}": {1.0: [value], 0.8: [values[-1 - i]], 1.2: [value]} for i, value in enumerate(values)}
    for order in ((1.2, 1.0, 0.8), (0.8, 1.0, 1.2)):
        found = summarize(rows(tied), config(*order, k=1))
        assert found.temperature == 0.8
        assert found.within_noise_of == (1.0, 1.2)
        assert [one.temperature for one in found.tried] == [0.8, 1.0, 1.2]


def test_prompts_without_a_reward_at_every_temperature_are_not_compared():
    partial = [*COLD_AND_HOT, *rows({"p9": {0.5: [99.0, 99.0]}})]
    found = summarize(partial, config(0.5, 1.0))
    assert found.prompts == 3
    assert found.temperature == 1.0
    assert compared_rewards(rows({"p9": {0.5: [1.0]}}), config(0.5, 1.0)) == {0.5: [], 1.0: []}


def test_best_rewards_are_of_as_many_responses_as_every_temperature_has() -> None:
    rewards = {
        "p0": {0.5: [0.1, 0.9, 0.5, 0.7], 1.0: [0.8, 0.2]},
        "p1": {0.5: [0.4], 1.0: [0.6, 1.0, 0.2, 0.6]},
        "p2": {0.5: [0.3, 0.5, 0.5, 0.1], 1.0: [0.0, 0.9, 0.2, 0.4]},
    }
    found = summarize(rows(rewards), config(0.5, 1.0, k=4))
    for one in found.tried:
        own = [rewards[prompt][one.temperature] for prompt in rewards]
        drawn = [[max(group) for group in itertools.combinations(v, m)] for v, m in zip(own, (2, 1, 4), strict=True)]
        assert one.best_reward.value == pytest.approx(np.mean([np.mean(of_prompt) for of_prompt in drawn]))
        assert one.mean_reward.value == pytest.approx(np.mean([np.mean(of_prompt) for of_prompt in own]))
    assert (found.prompts, found.prompts_with_k_scored, found.best_of) == (3, 1, (1, 4))
    assert found.metrics()["prompts_with_k_scored"] == json.loads(json.dumps(found.to_json()))["prompts_with_k_scored"]


@pytest.mark.parametrize("criterion", ["best", "mean"])
def test_a_better_temperature_wins_although_many_of_its_responses_are_too_long_to_score(criterion: str) -> None:
    """Rewards are .3 higher at 1.2; of its responses but the first, 60 % have none. The highest of them is lower."""
    random = np.random.default_rng(0)
    rewards = {}
    for i in range(300):
        cold, hot, kept = random.normal(size=4), random.normal(0.3, 1, size=4), [True, *(random.random(3) >= 0.6)]
        rewards[f"p{i}"] = {0.8: cold.tolist(), 1.2: hot[kept].tolist()}
    highest = {t: np.mean([max(found[t]) for found in rewards.values()]) for t in (0.8, 1.2)}
    assert highest[1.2] < highest[0.8]
    found = summarize(rows(rewards), config(0.8, 1.2, k=4, criterion=criterion))
    assert (found.temperature, found.within_noise_of) == (1.2, ())


@given(
    st.lists(
        st.fixed_dictionaries({t: st.lists(st.integers(-3, 3), min_size=2, max_size=2) for t in (0.0, 0.7, 1.0)}),
        min_size=1,
        max_size=6,
    ),
    st.sampled_from(["best", "mean"]),
)
def test_no_temperature_beats_the_choice(drawn, criterion):
    found = summarize(
        rows({f"p{i}": one for i, one in enumerate(drawn)}), config(0.0, 0.7, 1.0, criterion=criterion, resamples=20)
    )
    reward = max if criterion == "best" else sum
    totals = {t: sum(reward(one[t]) for one in drawn) for t in (0.0, 0.7, 1.0)}
    assert found.temperature == min(t for t in totals if totals[t] == max(totals.values()))
    for one in found.tried:
        difference = getattr(one, f"{criterion}_reward_difference")
        assert difference.low is None or difference.low <= difference.value + 1e-9
        assert difference.value <= 1e-9


def test_json_tells_everything_by_name():
    found = json.loads(json.dumps(summarize(COLD_AND_HOT, config(0.5, 1.0)).to_json()))
    assert {name: found[name] for name in ("criterion", "temperature", "within_noise", "within_noise_of")} == {
        "criterion": "best",
        "temperature": 1.0,
        "within_noise": True,
        "within_noise_of": [0.5],
    }
    assert [one["temperature"] for one in found["temperatures"]] == [0.5, 1.0]
    lower = found["temperatures"][0]["best_reward_difference"]
    assert lower == {"mean": pytest.approx(-0.3), "low": None, "high": None}
    assert found["temperatures"][0]["duplicate_share"] == 0.0


def drawn(panel):
    axes = Figure().add_axes((0.1, 0.1, 0.6, 0.6))
    panel.draw(axes)
    return axes


def test_figure_shows_rewards_and_duplicates_at_their_temperatures():
    said = rows(
        {"p0": {0.5: [0.6, 0.6], 1.0: [0.9, 0.1]}, "p1": {0.5: [0.2, 0.4], 1.0: [0.8, 0.0]}},
        texts={0.5: "same", 1.0: "same"},
    )
    reward, duplicates = (drawn(panel) for panel in panels(summarize(said, config(0.5, 1.0))))
    lines = {line.get_label(): line for line in reward.get_lines()}
    assert list(lines["best of 2"].get_xdata()) == [0.5, 1.0]
    assert list(lines["best of 2"].get_ydata()) == pytest.approx([0.5, 0.85])
    assert list(lines["mean"].get_ydata()) == pytest.approx([0.45, 0.45])
    assert [line.get_label() for line in duplicates.get_lines()] == ["repeated"]
    assert list(duplicates.get_lines()[0].get_ydata()) == [1.0, 1.0]
    assert duplicates.get_ylim() == (0, 1)


def test_figure_says_of_how_many_responses_best_rewards_are():
    some = summarize(
        rows({"p0": {0.5: [0.6, 0.6], 1.0: [0.9]}, "p1": {0.5: [0.2, 0.4], 1.0: [0.8, 0.0]}}), config(0.5, 1)
    )
    none = summarize(rows({"p0": {0.5: [0.6, 0.6], 1.0: [0.9]}}), config(0.5, 1.0))
    for found, label, told in ((some, "best of 1\N{EN DASH}2", "1 of 2"), (none, "best of 1", "0 of 1")):
        axes = drawn(next(panels(found)))
        assert label in {line.get_label() for line in axes.get_lines()}
        assert f"all 2 scored at every temperature: {told} prompts" in {text.get_text() for text in axes.texts}
    axes = drawn(next(panels(summarize(COLD_AND_HOT, config(0.5, 1.0)))))
    assert not any("scored" in text.get_text() for text in axes.texts)


def test_sheet_is_png_and_svg_with_the_same_bytes_again():
    group = list(panels(summarize(COLD_AND_HOT, config(0.5, 1.0))))
    first = drawing.sheet(group)
    assert drawing.sheet(group) == first
    assert first["png"].startswith(b"\x89PNG")
    root = ElementTree.fromstring(first["svg"])  # noqa: S314 - our own text
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    words = {"".join(node.itertext()) for node in root.iter("{http://www.w3.org/2000/svg}text")}
    titles = {"Reward, with 95% intervals over prompts", "Repeated responses"}
    assert titles | {"temperature (chosen: 1.0)", "best of 2", "mean", "repeated"} <= words | {
        word.split("\n")[0] for word in words
    }
    assert b"var(--" not in first["svg"]
