"""Reports with the figures that users get."""

import pytest


@pytest.fixture(scope="module", autouse=True)
def with_figures(saved_figures: None) -> None:
    """For all tests of reports."""
