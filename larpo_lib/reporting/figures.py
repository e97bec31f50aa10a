"""The report's figures: which panels there are, and what each shows.

Panels are small so that they stay readable one below the other on a telephone. Colours are Okabe and Ito's, which
colour-blind readers can tell apart, and no line is told by its colour alone.
"""

from collections.abc import Iterator

import numpy as np
from matplotlib.axes import Axes

from larpo_lib.reporting import gate
from larpo_lib.reporting.content import Report
from larpo_lib.reporting.drawing import (
    BLUE,
    DASHED,
    GREY,
    ORANGE,
    SOLID,
    Panel,
    draw_band,
    draw_histogram,
    draw_steps,
    label_ends,
    label_outlines,
    whole_numbers,
)
from larpo_lib.reporting.hacking_figures import hacking_panels, iterations_below

_MOST_MARKERS = 16


def panels(report: Report) -> dict[str, list[Panel]]:
    """The panels of each section of the page; those without data are left out."""
    return {
        "quality": list(_quality(report)),
        "hacking": list(hacking_panels(report.hacking, report.confidence)),
        "retrieval": list(_retrieval(report)),
        "lists": list(_lists(report)),
        "training": list(_training(report)),
        **({"gate": [gate.panel(report.promotion)]} if report.promotion and "tests" in report.promotion else {}),
    }


def _quality(report: Report) -> Iterator[Panel]:
    def reward(axes: Axes) -> None:
        _by_iteration(axes, report, "reward")
        axes.margins(y=0.15)
        label_ends(axes)

    def accuracy(axes: Axes) -> None:
        _by_iteration(axes, report, "accuracy")
        axes.set_ylim(0, 1)
        label_ends(axes)

    band = f"Band: {report.confidence:.0%} confidence interval over prompts."
    yield Panel("reward", "Mean reward", f"{band} The axis does not start at zero.", reward, direct_labels=True)
    if report.judged:
        yield Panel("accuracy", "Accuracy", f"{band} The axis spans 0 to 1.", accuracy, direct_labels=True)


def _by_iteration(axes: Axes, report: Report, measure: str) -> None:
    iterations = [quality.iteration for quality in report.qualities]
    sampled, greedy = ([q.estimates[name] for q in report.qualities] for name in (measure, f"greedy_{measure}"))
    draw_band(axes, iterations, sampled, color=BLUE, linestyle=SOLID, marker="o", label="sampled")
    draw_band(axes, iterations, greedy, color=ORANGE, linestyle=DASHED, marker="s", label="greedy")
    iterations_below(axes)


def _retrieval(report: Report) -> Iterator[Panel]:
    policies = ((report.qualities[0], GREY, DASHED, "╌╌"), (report.qualities[-1], BLUE, SOLID, "━━"))

    def curves(axes: Axes) -> None:
        for quality, colour, line, _ in policies:
            numbers = range(1, len(quality.curve) + 1)
            marker = "o" if len(quality.curve) <= _MOST_MARKERS else ""
            draw_band(axes, numbers, quality.curve, color=colour, linestyle=line, marker=marker, label=quality.name)
        whole_numbers(axes, "N, sampled responses per prompt")
        if report.judged:
            axes.set_ylim(0, 1)
        label_ends(axes)

    def histograms(axes: Axes) -> None:
        edges = np.histogram_bin_edges([reward for quality, *_ in policies for reward in quality.rewards], bins=24)
        for quality, colour, line, _ in policies:
            draw_histogram(axes, quality.rewards, edges, color=colour, linestyle=line)
        axes.set_xlabel("reward of a sampled response")
        label_outlines(axes, [(stroke, quality.name, colour) for quality, colour, _, stroke in policies])

    if report.judged:
        caption = "Probability that at least one of N sampled responses is right, over the prompts with N judged ones."
        yield Panel("pass-at-n", "Pass@N", caption, curves, direct_labels=True)
    else:
        caption = (
            "Expected best reward of N sampled responses, over the prompts with N. The axis does not start at zero."
        )
        yield Panel("best-of-n", "Best of N", caption, curves, direct_labels=True)
    yield Panel("rewards", "Rewards of single responses", "Fraction of the sampled responses in each bin.", histograms)


def _lists(report: Report) -> Iterator[Panel]:
    drawn = [curve for curve in report.length_curves if len(curve.lengths) > 1]

    def curves(axes: Axes) -> None:
        for place, curve in enumerate(drawn):
            last = place == len(drawn) - 1
            lengths, means, errors = (np.array(values) for values in (curve.lengths, curve.rewards, curve.errors))
            colour = BLUE if last else GREY
            axes.fill_between(lengths, means - errors, means + errors, color=colour, alpha=0.15, linewidth=0)
            look = {"linestyle": SOLID, "marker": "o"} if last else {"linestyle": DASHED, "marker": ""}
            axes.plot(lengths, means, color=colour, linewidth=2.0 if last or not place else 1.0, **look)
        axes.set_xlabel("characters of a ranked response")
        named = [("╌╌", f"iteration {drawn[0].iteration}", GREY), ("━━", f"iteration {drawn[-1].iteration}", BLUE)]
        label_outlines(axes, named if len(drawn) > 1 else named[1:])

    if drawn:
        caption = (
            "Mean reward of responses of similar length, ± standard error. Thin lines: the other iterations. The "
            "axis does not start at zero."
        )
        yield Panel("reward-length", "Reward and length", caption, curves)


def _training(report: Report) -> Iterator[Panel]:
    def series(name: str, title: str, caption: str, *, share: bool = False, zero: bool = False) -> Iterator[Panel]:
        segments = [history[name] for history in report.histories]

        def draw(axes: Axes) -> None:
            draw_steps(axes, segments)
            if share:
                axes.set_ylim(0, 1)
            if zero:
                axes.axhline(0, color=GREY, linewidth=1, zorder=1)

        if any(value is not None for segment in segments for value in segment):
            yield Panel(name.replace("_", "-"), title, caption, draw)

    yield from series("loss", "Loss", "Mean over the lists of a batch.")
    yield from series("margin", "Margin", "Log-ratio to the reference, best minus worst response, in nats.", zero=True)
    yield from series("ranking_accuracy", "Ranking accuracy", "Fraction of pairs in the reranker's order.", share=True)
    yield from series("kl", "KL divergence", "Mean of log(reference / policy) on the lists' responses.", zero=True)
    yield from series(
        "chosen_logp_drift", "Drift of the best response", "Its log-ratio to the reference, in nats.", zero=True
    )
    yield from series("grad_norm", "Gradient norm", "Before clipping.")
