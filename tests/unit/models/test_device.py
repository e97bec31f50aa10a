import logging

import pytest

from larpo_lib.config import ModelConfig
from larpo_lib.models import device
from larpo_lib.models.device import has_bfloat16_units, tell_precision

LARGE, SMALL = 135_000_000, 100_000


@pytest.fixture
def said(caplog, monkeypatch):
    caplog.set_level(logging.INFO)

    def said(units, parameters, **settings):
        monkeypatch.setattr(device, "has_bfloat16_units", lambda: units)
        caplog.clear()
        tell_precision("sample", ModelConfig(device="cpu", **settings), parameters)
        return caplog.messages

    return said


def test_float32_is_chosen_and_explained_on_a_cpu(said):
    assert said(False, LARGE) == ["sample: computes in float32, because this CPU has no bfloat16 units"]
    [told] = said(True, LARGE)
    assert told.startswith("sample: computes in float32, the default on a CPU. This one has bfloat16 units")


def test_bfloat16_without_units_for_it_is_warned_of_whatever_the_size(said):
    for size in (SMALL, LARGE):
        [told] = said(False, size, dtype="bfloat16")
        assert told.startswith("sample: computes in bfloat16, which is slow here")


def test_nothing_is_said_of_what_was_chosen_or_does_not_matter(said):
    assert said(True, LARGE, dtype="bfloat16") == []
    assert said(False, LARGE, dtype="float32") == []
    assert said(False, SMALL) == []
    assert said(None, LARGE) == []


@pytest.mark.parametrize(
    ("text", "units"),
    [
        ("processor\t: 0\nflags\t\t: fpu avx2 avx512_bf16 sse\n", True),
        ("flags\t\t: fpu avx2 avx512f\nbugs\t: bf16\n", False),
        ("Features\t: fp asimd bf16 i8mm\n", True),
        ("model name\t: unknown\n", None),
    ],
)
def test_units_are_read_from_what_linux_tells(tmp_path, monkeypatch, text, units):
    (tmp_path / "cpuinfo").write_text(text)
    monkeypatch.setattr(device, "Path", lambda _place: tmp_path / "cpuinfo")
    assert has_bfloat16_units() is units
