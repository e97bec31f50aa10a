"""Copies of the overlays, as docs/kubernetes.md makes them, and whose values are in them."""

import re
import shutil
from pathlib import Path

import pytest
import yaml
from built import KUSTOMIZATIONS, ROOT, build_one


def copied(to: Path) -> Path:
    """The manifests with k8s/mine, which holds copies of k8s/overlays."""
    shutil.copytree(ROOT / "k8s", to / "k8s")
    shutil.copytree(ROOT / "k8s" / "overlays", to / "k8s" / "mine")
    return to / "k8s"


def replace(folder: Path, values: dict[str, str]) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            text = path.read_text("utf-8")
            for old, new in values.items():
                text = text.replace(old, new)
            path.write_text(text, "utf-8")


@pytest.mark.parametrize("kustomization", KUSTOMIZATIONS)
def test_a_copy_beside_the_overlays_builds_the_same(kustomization: str, tmp_path: Path) -> None:
    copied(tmp_path)
    for folder in ("", "/training"):
        mine = str(tmp_path / kustomization.replace("overlays", "mine")) + folder
        assert build_one(mine) == build_one(kustomization + folder)


@pytest.mark.parametrize("kustomization", KUSTOMIZATIONS)
def test_no_bucket_and_no_region_come_from_the_base(kustomization: str, tmp_path: Path) -> None:
    replace(copied(tmp_path) / "base", {"us-east-1": "of-the-base", "s3://larpo": "s3://of-the-base"})
    for folder in ("", "/training"):
        built = build_one(str(tmp_path / kustomization) + folder)
        assert "of-the-base" not in yaml.safe_dump_all(built)


@pytest.mark.parametrize("overlay", ["gpu", "eks"])
def test_the_values_of_another_cluster_are_all_set_in_the_two_copies(overlay: str, tmp_path: Path) -> None:
    mine = copied(tmp_path) / "mine"
    values = {
        "us-east-1": "eu-west-3",
        "s3://larpo": "s3://models",
        "registry.example.com/team": "registry.of-mine.example",
        "arn:aws:iam::123456789012:role/larpo": "arn:aws:iam::210987654321:role/mine",
    }
    for name in ("gpu", "eks"):
        replace(mine / name, values)
    for folder in ("", "/training"):
        text = yaml.safe_dump_all(build_one(f"{mine}/{overlay}{folder}"))
        assert [old for old in (*values, "registry.example.com") if old in text] == []
    built = {(one["kind"], one["metadata"]["name"]): one for one in build_one(f"{mine}/{overlay}")}
    assert built["ConfigMap", "larpo-env"]["data"] == {
        "AWS_ENDPOINT_URL_S3": "https://s3.eu-west-3.amazonaws.com",
        "AWS_REGION": "eu-west-3",
        "MLFLOW_TRACKING_URI": "http://mlflow:5000",
    }
    buckets = {bucket for one in built.values() for bucket in re.findall(r"s3://[\w.-]+", yaml.safe_dump(one))}
    assert buckets == {"s3://models"}
