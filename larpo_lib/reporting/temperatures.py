"""What a search for the sampling temperature found: the choice, how sure it is, and the figure."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import Any

from matplotlib.axes import Axes

from larpo_lib.config import SearchTemperatureConfig
from larpo_lib.diversity import Diversity
from larpo_lib.reporting.drawing import BLUE, DASHED, GREY, GRID, MUTED, ORANGE, SOLID, Panel, draw_band, label_ends
from larpo_lib.schemas import LENGTH
from larpo_lib.statistics.draws import best_of_n
from larpo_lib.statistics.estimates import Bootstrap, Estimate, told_apart
from larpo_lib.tables import Row


@dataclass(frozen=True)
class Tried:
    """What the responses at one temperature are like.

    Attributes:
        mean_reward: mean over prompts of the mean reward, with its bootstrap interval.
        best_reward: mean over prompts of the expected best reward of `Search.best_of` responses, with its bootstrap
            interval.
        mean_reward_difference: mean over prompts of this temperature's minus the chosen one's, with its interval.
        best_reward_difference: likewise.
        mean_tokens: length of a response; None where the sampler does not tell it.
    """

    temperature: float
    responses: int
    mean_reward: Estimate
    best_reward: Estimate
    mean_reward_difference: Estimate
    best_reward_difference: Estimate
    duplicate_share: float | None
    distinct_2: float | None
    truncated_share: float
    mean_tokens: float | None


@dataclass(frozen=True)
class Search:
    """The outcome of a search.

    Attributes:
        temperature: the chosen one.
        prompts: that were compared: those with a scored response at every temperature.
        prompts_with_k_scored: those of them with k scored responses at every temperature.
        best_of: of a prompt, best rewards are those of as many responses as the temperature with the fewest scored ones
            has; the smallest and the largest such number.
        within_noise_of: temperatures that the interval of the criterion's difference does not tell from the chosen one;
            without an interval, because the difference is the same at every prompt, those that a sign test does not.
        tried: by rising temperature.
    """

    criterion: str
    k: int
    confidence: float
    temperature: float
    prompts: int
    prompts_with_k_scored: int
    best_of: tuple[int, int]
    within_noise_of: Sequence[float]
    tried: Sequence[Tried]

    def to_json(self) -> dict[str, Any]:
        """What `search.json` holds."""
        return {
            **{name: value for name, value in asdict(self).items() if name != "tried"},
            "within_noise": bool(self.within_noise_of),
            "temperatures": [
                {name: value.as_mean() if isinstance(value, Estimate) else value for name, value in vars(one).items()}
                for one in self.tried
            ],
        }

    def metrics(self) -> dict[str, float | int | None]:
        """The choice and each temperature's means, as flat names."""
        found: dict[str, float | int | None] = {
            "temperature": self.temperature,
            "within_noise": int(bool(self.within_noise_of)),
            "prompts_compared": self.prompts,
            "prompts_with_k_scored": self.prompts_with_k_scored,
        }
        for one in self.tried:
            found[f"mean_reward_t{one.temperature}"] = one.mean_reward.value
            found[f"best_reward_t{one.temperature}"] = one.best_reward.value
            found[f"truncated_share_t{one.temperature}"] = one.truncated_share
            found[f"mean_tokens_t{one.temperature}"] = one.mean_tokens
        return found


def compared_rewards(rows: Iterable[Row], config: SearchTemperatureConfig) -> dict[float, list[list[float]]]:
    """The rewards at each temperature, prompt by prompt, over the prompts with a reward at every temperature."""
    rewards: dict[str, dict[float, list[float]]] = {}
    for row in rows:
        rewards.setdefault(row["prompt_id"], {}).setdefault(row["temperature"], []).append(row["reward"])
    compared = [found for _, found in sorted(rewards.items()) if len(found) == len(config.temperatures)]
    return {value: [found[value] for found in compared] for value in sorted(config.temperatures)}


def summarize(rows: Iterable[Row], config: SearchTemperatureConfig) -> Search:
    """Choose a temperature and say how sure the choice is.

    The choice has the highest mean over prompts of the best reward (criterion `best`) or of the mean reward (`mean`);
    of equal ones the lowest temperature. More responses have a higher best one; so, at every temperature, a prompt's
    best reward is the one expected of as many responses as the temperature with the fewest scored ones has.

    Args:
        rows: of the table `ranked`, gone through several times; a prompt's rows stand together. At least one prompt has
            a reward at every temperature.
        config: grid, criterion, and how to bootstrap.
    """
    rewards = compared_rewards(rows, config)
    counts = [min(map(len, of_prompt)) for of_prompt in zip(*rewards.values(), strict=True)]
    best = {value: [*map(best_of_n, prompts, counts)] for value, prompts in rewards.items()}
    mean = {value: [fmean(one) for one in prompts] for value, prompts in rewards.items()}
    criterion = best if config.criterion == "best" else mean
    # fsum: equal values in another order are equal means, so that a tie is seen as one
    chosen = max(criterion, key=lambda value: (math.fsum(criterion[value]), -value))
    diversity, lengths, bootstrap = Diversity(rows).metrics(), _lengths(rows), Bootstrap.of(config)
    tried = [
        Tried(
            temperature=value,
            mean_reward=bootstrap.mean_and_error(mean[value]),
            best_reward=bootstrap.mean_and_error(best[value]),
            mean_reward_difference=bootstrap.mean_and_error(_differences(mean, value, chosen)),
            best_reward_difference=bootstrap.mean_and_error(_differences(best, value, chosen)),
            duplicate_share=diversity[f"duplicate_share_t{value}"],
            distinct_2=diversity[f"distinct_2_t{value}"],
            **lengths[value].measures(),
        )
        for value in rewards
    ]
    by_sign = 2 * 0.5 ** len(counts) <= 1 - config.confidence  # whether differences of one sign are told from noise
    means = {one.temperature: getattr(one, f"{config.criterion}_reward").value for one in tried}
    return Search(
        criterion=config.criterion,
        k=config.k,
        confidence=config.confidence,
        temperature=chosen,
        prompts=len(counts),
        prompts_with_k_scored=counts.count(config.k),
        best_of=(min(counts), max(counts)),
        within_noise_of=tuple(
            one.temperature
            for one in tried
            if one.temperature != chosen
            and not _is_below(
                getattr(one, f"{config.criterion}_reward_difference"),
                without_interval=by_sign and told_apart([means[one.temperature], means[chosen]]),
            )
        ),
        tried=tried,
    )


def _is_below(difference: Estimate, *, without_interval: bool) -> bool:
    return without_interval if difference.high is None else difference.high < 0


def _differences(values: Mapping[float, Sequence[float]], value: float, chosen: float) -> list[float]:
    return [one - other for one, other in zip(values[value], values[chosen], strict=True)]


@dataclass
class _Lengths:
    responses: int = 0
    truncated: int = 0
    told: int = 0
    tokens: int = 0

    def measures(self) -> dict[str, Any]:
        return {
            "responses": self.responses,
            "truncated_share": self.truncated / self.responses,
            "mean_tokens": self.tokens / self.told if self.told else None,
        }


def _lengths(rows: Iterable[Row]) -> dict[float, _Lengths]:
    """The lengths of responses, by their temperature."""
    found: dict[float, _Lengths] = {}
    for row in rows:
        lengths = found.setdefault(row["temperature"], _Lengths())
        lengths.responses += 1
        lengths.truncated += row["finish_reason"] == LENGTH
        lengths.told += row["num_tokens"] is not None
        lengths.tokens += row["num_tokens"] or 0
    return found


def panels(search: Search) -> Iterator[Panel]:
    """Reward and duplicates against temperature."""
    places = [one.temperature for one in search.tried]

    def reward(axes: Axes) -> None:
        _mark(axes, search)
        best, mean = [one.best_reward for one in search.tried], [one.mean_reward for one in search.tried]
        draw_band(axes, places, best, color=BLUE, linestyle=SOLID, marker="o", label=f"best of {_range(search)}")
        draw_band(axes, places, mean, color=ORANGE, linestyle=DASHED, marker="s", label="mean")
        axes.margins(y=0.15)
        label_ends(axes)
        if search.prompts_with_k_scored < search.prompts:
            prompts = f"{search.prompts_with_k_scored} of {search.prompts} prompts"
            told = f"all {search.k} scored at every temperature: {prompts}"
            axes.text(0, 1.03, told, transform=axes.transAxes, color=MUTED, fontsize=9)

    def duplicates(axes: Axes) -> None:
        _mark(axes, search)
        shares = [Estimate(one.duplicate_share) for one in search.tried]
        draw_band(axes, places, shares, color=GREY, linestyle=SOLID, marker="o", label="repeated")
        axes.set_ylim(0, 1)
        label_ends(axes)

    # A sheet shows no captions, so titles and labels say what must be known.
    title = f"Reward, with {search.confidence:.0%} intervals over prompts"
    yield Panel("temperature-reward", title, "Grey: the chosen temperature.", reward, direct_labels=True)
    caption = "Fraction of responses that repeat another response to the same prompt at the same temperature."
    yield Panel("temperature-duplicates", "Repeated responses", caption, duplicates, direct_labels=True)


def _range(search: Search) -> str:
    fewest, most = search.best_of
    return f"{fewest}" if fewest == most else f"{fewest}\N{EN DASH}{most}"


def _mark(axes: Axes, search: Search) -> None:
    axes.axvspan(search.temperature, search.temperature, color=GRID, linewidth=4)
    axes.set_xticks([one.temperature for one in search.tried])
    axes.set_xlabel(f"temperature (chosen: {search.temperature})")
