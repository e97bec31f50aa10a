"""Settings that something else, such as a preset on a cluster, completes before a run."""

import pytest

from larpo_lib.config.load import check_given, parse_settings
from larpo_lib.errors import ConfigError


@pytest.mark.parametrize(
    ("setting", "unknown"),
    [
        ("sample.sampler.tensor_parallel=2", None),  # of a sampler that the preset names
        ("sample.sampler.model.dtype='float32'", None),
        ("sample.sampler.tensor_paralel=2", "sample.sampler.tensor_paralel"),
        ("sample.sampler.model.dtyp='float32'", "sample.sampler.model.dtyp"),
        ("train.objectiv.beta=1", "train.objectiv"),
    ],
)
def test_a_table_may_be_of_the_type_that_something_else_states(setting: str, unknown: str | None) -> None:
    tree = parse_settings([setting])
    if unknown is None:
        check_given(tree)
        return
    with pytest.raises(ConfigError, match=f"unknown setting '{unknown}'"):
        check_given(tree)


def test_a_type_that_is_stated_counts() -> None:
    check_given(parse_settings(["sample.sampler.type=vllm", "sample.sampler.tensor_parallel=2"]))
    with pytest.raises(ConfigError, match=r"unknown setting 'sample\.sampler\.tensor_parallel'"):
        check_given(parse_settings(["sample.sampler.type=hf", "sample.sampler.tensor_parallel=2"]))
    with pytest.raises(ConfigError, match=r"unknown setting 'loop\.changes\.0\.sample\.sampler\.tensor_paralel'"):
        check_given({"loop": {"changes": [{"iteration": 2, "sample": {"sampler": {"tensor_paralel": 2}}}]}})
    check_given({"loop": {"changes": [{"iteration": 2, "sample": {"sampler": {"tensor_parallel": 2}}}]}})
