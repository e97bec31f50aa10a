import io
import re
from dataclasses import replace
from itertools import combinations
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib import image
from matplotlib.figure import Figure
from reporting.small_report import small_report

from larpo_lib.reporting import drawing
from larpo_lib.reporting.content import HISTORY_SERIES, LengthCurve
from larpo_lib.reporting.figures import panels
from larpo_lib.statistics.estimates import Estimate

SVG = "{http://www.w3.org/2000/svg}"


def named(report, name):
    return next(panel for group in panels(report).values() for panel in group if panel.name == name)


def drawn(panel):
    axes = Figure(figsize=(4.6, 3.1)).add_axes((0.1, 0.15, 0.65, 0.68))
    panel.draw(axes)
    return axes


def lines(axes):
    return {line.get_label(): list(line.get_ydata()) for line in axes.get_lines()}


def test_judged_runs_have_every_panel():
    names = {section: [panel.name for panel in group] for section, group in panels(small_report()).items()}
    assert names == {
        "quality": ["reward", "accuracy"],
        "hacking": ["length", "equal-length"],
        "retrieval": ["pass-at-n", "rewards"],
        "lists": ["reward-length"],
        "training": ["loss", "margin", "ranking-accuracy", "kl", "chosen-logp-drift", "grad-norm"],
    }


def test_without_a_judge_there_is_no_accuracy():
    names = [panel.name for group in panels(small_report(judged=False)).values() for panel in group]
    assert "accuracy" not in names
    assert "best-of-n" in names
    assert "pass-at-n" not in names


def test_series_that_were_not_logged_have_no_panel():
    history = {name: [None, None] for name in HISTORY_SERIES} | {"loss": [1.0, None]}
    assert [panel.name for panel in panels(small_report(histories=[history]))["training"]] == ["loss"]


def test_accuracy_shows_its_values_bands_and_whole_axis():
    axes = drawn(named(small_report(), "accuracy"))
    assert lines(axes) == {"sampled": pytest.approx([1 / 6, 2 / 3]), "greedy": pytest.approx([1 / 3, 1 / 3])}
    assert axes.get_ylim() == (0, 1)
    qualities = small_report().qualities
    bands = [collection.get_paths()[0].get_extents() for collection in axes.collections]
    assert bands[0].y0 == pytest.approx(min(quality.estimates["accuracy"].low for quality in qualities))
    assert bands[0].y1 == pytest.approx(max(quality.estimates["accuracy"].high for quality in qualities))


def test_pass_at_n_shows_the_first_and_the_last_policy():
    axes = drawn(named(small_report(), "pass-at-n"))
    assert lines(axes) == {"start": pytest.approx([1 / 6, 1 / 3]), "iteration 1": pytest.approx([2 / 3, 1.0])}
    assert list(axes.get_lines()[0].get_xdata()) == [1, 2]


def test_histograms_share_their_bins_and_sum_to_one():
    outlines = [patch.get_data() for patch in drawn(named(small_report(), "rewards")).patches]
    assert all(np.array_equal(data.edges, outlines[0].edges) for data in outlines)
    assert [sum(data.values) for data in outlines] == pytest.approx([1.0] * 4)


def test_reward_against_length_has_a_curve_for_each_iteration():
    curves = [LengthCurve(i, [10.0, 20.0 * i], [0.25 * i, 0.5], [0.125, 0.0]) for i in (1, 2, 3)]
    axes = drawn(named(small_report(length_curves=curves), "reward-length"))
    assert [(list(line.get_xdata()), list(line.get_ydata())) for line in axes.get_lines()] == [
        ([10.0, 20.0 * i], [0.25 * i, 0.5]) for i in (1, 2, 3)
    ]
    band = axes.collections[0].get_paths()[0].get_extents()
    assert (band.y0, band.y1) == (0.125, 0.5)
    assert [text.get_text() for text in axes.texts] == ["╌╌ iteration 1", "━━ iteration 3"]


def test_one_length_is_no_curve():
    alone = [LengthCurve(1, [10.0], [0.5], [0.0])]
    assert panels(small_report(length_curves=alone))["lists"] == []


def test_training_curves_follow_one_another():
    first, second = (dict.fromkeys(HISTORY_SERIES, values) for values in ([3.0, 2.0], [5.0, 4.0, 3.0]))
    axes = drawn(named(small_report(histories=[first, second]), "loss"))
    found = [(list(line.get_xdata()), list(line.get_ydata())) for line in axes.get_lines()]
    assert ([1, 2], [3.0, 2.0]) in found
    assert ([3, 4, 5], [5.0, 4.0, 3.0]) in found


def test_long_training_curves_get_a_moving_average_in_the_middle_of_its_window():
    steps = 100
    history = {name: [float(i) for i in range(1, steps + 1)] for name in HISTORY_SERIES}
    average = drawn(named(small_report(histories=[history]), "loss")).get_lines()[1]
    # the average of a straight line is the line itself
    assert list(average.get_ydata()) == pytest.approx(list(average.get_xdata()))


@pytest.mark.parametrize("values", [(0.5, 0.5), (0.999, 1.0), (0.0, 0.001), (0.2, 0.9)])
def test_labels_at_the_lines_ends_never_overlap(values):
    report = small_report()
    sampled, greedy = (Estimate(value, value, value) for value in values)
    last = report.qualities[-1]
    last = replace(last, estimates={**last.estimates, "accuracy": sampled, "greedy_accuracy": greedy})
    axes = drawn(named(replace(report, qualities=[report.qualities[0], last]), "accuracy"))
    axes.figure.canvas.draw()
    boxes = [text.get_window_extent() for text in axes.texts]
    assert len(boxes) == 2
    assert not any(one.overlaps(other) for one, other in combinations(boxes, 2))
    assert all(box.x1 <= axes.figure.bbox.x1 for box in boxes)


def test_undefined_values_leave_no_line():
    report = small_report()
    qualities = [
        replace(quality, estimates={**quality.estimates, "greedy_reward": Estimate(None)})
        for quality in report.qualities
    ]
    axes = drawn(named(replace(report, qualities=qualities), "reward"))
    assert [text.get_text().split("\n")[0] for text in axes.texts] == ["sampled"]


def test_svg_is_well_formed_named_and_takes_its_colours_from_the_page():
    panel = named(small_report(), "pass-at-n")
    text = drawing.svg(panel)
    declared = text.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="x" ', 1)
    root = ElementTree.fromstring(declared)  # noqa: S314 - our own text
    assert root.tag == SVG + "svg"
    assert root.get("aria-label") == "Pass@N"
    words = ["".join(node.itertext()) for node in root.iter(SVG + "text")]
    assert {"Pass@N", "start", "iteration 1"} <= set(words)
    assert set(re.findall(r"(?:fill|stroke): (#\w+)", text)) == set()
    assert {"var(--blue)", "var(--grey)", "var(--grid)"} <= set(re.findall(r"var\(--\w+\)", text))
    ids = [node.get("id") for node in root.iter() if node.get("id")]
    assert all(name.startswith("pass-at-n-") for name in ids)
    used = set(re.findall(r'(?:href="|url\()#([\w-]+)', text))
    assert used <= set(ids)


def test_png_is_a_picture_on_white():
    pixels = image.imread(io.BytesIO(drawing.png(named(small_report(), "loss"))))
    assert pixels.shape[:2] == (620, 920)
    assert np.all(pixels[0, 0, :3] == 1.0)
    assert np.any(pixels[..., 0] < 0.5)


def test_drawing_twice_gives_the_same_bytes_whatever_the_settings_around():
    import matplotlib

    panel = named(small_report(), "reward")
    first = drawing.svg(panel), drawing.png(panel)
    with matplotlib.rc_context({"font.size": 30, "lines.linewidth": 9, "svg.hashsalt": None}):
        assert (drawing.svg(panel), drawing.png(panel)) == first
