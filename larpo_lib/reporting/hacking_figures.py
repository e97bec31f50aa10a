"""The report's figures of reward hacking: the reward over iterations beside what it should stand for, and length."""

from collections.abc import Iterator, Mapping, Sequence

from matplotlib.axes import Axes

from larpo_lib.reporting.drawing import (
    BLUE,
    DASHED,
    GREY,
    ORANGE,
    SOLID,
    Panel,
    draw_band,
    label_ends,
    whole_numbers,
)
from larpo_lib.reporting.hacking import Hacking
from larpo_lib.reporting.hacking_policies import LENGTH, REWARD, shown
from larpo_lib.statistics.estimates import Estimate

Lines = Mapping[str, Sequence[Estimate]]
"""The values of each line, one for each policy, by its name."""


def hacking_panels(hacking: Hacking, confidence: float) -> Iterator[Panel]:
    """The panels that have data, one for each further reward and for each benchmark among them.

    Args:
        hacking: what is drawn.
        confidence: of its intervals.
    """
    band = f"Band: {confidence:.0%} confidence interval over prompts."
    places = [one.iteration for one in hacking.standings]
    for name, title, caption, lines in _of_responses(hacking):
        if any(estimate.value is not None for estimates in lines.values() for estimate in estimates):
            yield _panel(name, title, f"{caption} {band}", places, lines, zero=name != "length")
    for one in hacking.judged:
        measured = sorted(one.scores)
        lines = {one.title.partition(": ")[2].partition(" (")[0]: [one.scores[iteration] for iteration in measured]}
        yield _panel(one.name, one.title, f"Judged by {one.judged_by}. {band}", measured, lines)


def _of_responses(hacking: Hacking) -> Iterator[tuple[str, str, str, Lines]]:
    """Name, title, caption and lines of each panel about held-out responses."""
    standings = hacking.standings
    for measure in hacking.watches:
        lines = {shown(name): [one.scaled[name] for one in standings] for name in (REWARD, measure)}
        caption = "Mean change of a prompt since the start, in standard deviations of all prompts' values."
        yield measure, f"Reward and {shown(measure)}", caption, lines
    lengths = {"characters": [one.estimates[LENGTH] for one in standings]}
    yield "length", "Response length", "Characters of a sampled response.", lengths
    correlations = {"correlation": [one.correlation for one in standings]}
    caption = "Spearman's correlation over the sampled responses to a prompt, averaged over prompts."
    yield "within-prompts", "Reward and length within prompts", caption, correlations
    gains = {
        "gain": [one.gains[REWARD] for one in standings],
        "equal length": [one.at_equal_length for one in standings],
    }
    caption = "Gain in reward since the start, and what is left of it at equal length."
    yield "equal-length", "Gain at equal length", caption, gains


def iterations_below(axes: Axes) -> None:
    """Label the horizontal axis with iterations."""
    whole_numbers(axes, "iteration")
    axes.xaxis.set_major_formatter(lambda place, _: f"{place:.0f}" if place else "start")


def _panel(name: str, title: str, caption: str, places: Sequence[int], lines: Lines, *, zero: bool = False) -> Panel:
    def draw(axes: Axes) -> None:
        looks = ((BLUE, SOLID, "o"), (ORANGE, DASHED, "s"))
        for (label, estimates), (color, line, marker) in zip(lines.items(), looks, strict=False):
            draw_band(axes, places, estimates, color=color, linestyle=line, marker=marker, label=label)
        axes.margins(y=0.15)
        iterations_below(axes)
        label_ends(axes)
        if zero:
            axes.axhline(0, color=GREY, linewidth=1, zorder=1)

    return Panel(name.replace("_", "-"), title, caption, draw, direct_labels=True)
