"""Where a run lives."""

import pytest

from larpo_lib.errors import ConfigError
from larpo_lib.pipeline.run_context import Place

JOB = "0b2c-44"
CLUSTER = f"s3://bucket/v2/artifacts/larpo/{JOB}/start/3f/checked"


def test_a_run_is_below_the_root_by_its_name_or_by_kubeflows():
    assert Place.find("s3://b/runs/", "first", JOB, CLUSTER).root == "s3://b/runs/first"
    assert Place.find("s3://b/runs", "", JOB, CLUSTER).root == f"s3://b/runs/{JOB}"
    assert Place.find("/runs", "first", JOB, "/kfp/larpo-1/start/checked").root == "/runs/first"


def test_without_a_root_it_is_in_the_folder_that_kfp_gave_it():
    place = Place.find("", "", JOB, CLUSTER)
    assert (place.root, place.name) == (f"s3://bucket/v2/artifacts/larpo/{JOB}/run", JOB)
    assert place.root.startswith(str(place.shown))


def test_kfp_can_show_what_is_below_its_own_folder_of_the_run():
    """KFP 2.17's launcher: a URI has to begin with pipeline root, name of the pipeline and identity of the run."""
    assert Place.find("s3://b/runs", "first", JOB, CLUSTER).shown == f"s3://bucket/v2/artifacts/larpo/{JOB}"
    assert Place.find("/runs", "first", JOB, "/kfp/larpo-1/start/checked").shown == ""
    assert Place.find("s3://b/runs", "first", JOB, "minio://elsewhere/checked").shown is None


@pytest.mark.parametrize(
    ("root", "run_id", "example", "message"),
    [
        ("runs", "", CLUSTER, "root is 'runs'"),
        ("gs://b/runs", "", CLUSTER, "root is 'gs://b/runs'"),
        ("s3://b", "a/b", CLUSTER, "run_id is 'a/b'"),
        ("s3://b", "..", CLUSTER, "run_id is '..'"),
        ("", "first", CLUSTER, "but root is empty"),
        ("", "", f"minio://mlpipeline/v2/larpo/{JOB}/start/checked", "cannot be used for runs"),
    ],
)
def test_places_that_cannot_be_used(root, run_id, example, message):
    with pytest.raises(ConfigError, match=message):
        Place.find(root, run_id, JOB, example)
