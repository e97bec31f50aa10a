"""Numbers as text: one way of writing them for the page, the figures and the terminal."""

from collections.abc import Mapping, Sequence

from larpo_lib.artifacts import Metrics
from larpo_lib.statistics.estimates import Estimate

UNDEFINED = "\N{EN DASH}"


def number(value: float | None) -> str:
    """A metric with three decimals (two from 10 on, none from 1000 on); a dash where it is not defined."""
    if value is None:
        return UNDEFINED
    size = abs(value)
    return f"{value:,.{3 if size < 10 else 2 if size < 1000 else 0}f}"


def count(value: float | None) -> str:
    """A number of things; shares, which are no whole numbers, keep their decimals."""
    return f"{value:,}" if isinstance(value, int) else number(value)


def interval(found: Estimate) -> str:
    """`0.512 [0.480, 0.544]`, or the number alone where it has no interval; a dash where it is not defined."""
    if found.low is None or found.high is None:
        return number(found.value)
    return f"{number(found.value)} [{number(found.low)}, {number(found.high)}]"


def difference(found: Estimate) -> str:
    """`+0.012 [-0.003, +0.027]`; a dash where it is not defined."""
    return UNDEFINED if found.value is None else f"{found.value:+.3f} [{found.low:+.3f}, {found.high:+.3f}]"


def summary_table(evaluations: Mapping[int, Metrics]) -> str:
    """One row per policy, as plain text.

    Args:
        evaluations: metrics of each evaluation, by the iteration that made the policy; 0 is the starting policy.

    Returns:
        Lines of equal columns, without a final newline. Where nothing was judged right or wrong the columns of accuracy
        give way to the best reward of N.
    """
    judged = any(metrics["accuracy"] is not None for metrics in evaluations.values())
    most = max(map(_passes, evaluations.values()), default=0)
    columns = ["accuracy", f"pass@{most}", "greedy accuracy"] if judged else ["best of n", "greedy reward"]
    rows = [["policy", "mean reward", *columns]]
    for place, metrics in evaluations.items():
        row = [f"iteration {place}" if place else "start", _estimate(metrics, "mean_reward")]
        if judged:
            row += [_estimate(metrics, "accuracy"), number(metrics.get(f"pass_at_{most}"))]
            row += [number(metrics["greedy_accuracy"])]
        else:
            row += [number(metrics["best_of_n_reward"]), number(metrics["greedy_reward"])]
        rows.append(row)
    return "\n".join(aligned(rows))


def _passes(metrics: Metrics) -> int:
    """The largest N with a defined Pass@N; 0 without any."""
    numbers = [key.removeprefix("pass_at_") for key, value in metrics.items() if value is not None]
    return max((int(text) for text in numbers if text.isdigit()), default=0)


def _estimate(metrics: Metrics, name: str) -> str:
    return interval(Estimate(metrics[name], metrics[f"{name}_low"], metrics[f"{name}_high"]))


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """The cells as lines of equal columns."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
