"""Images have the same names where they are built, loaded into kind, deployed and compiled into pipelines."""

import re
import runpy

import yaml
from built import ROOT

import larpo_lib
from larpo_kubeflow.components.images import Images

PAGE = (ROOT / "docs" / "kubernetes.md").read_text("utf-8")
TARGETS = runpy.run_path(str(ROOT / "docker" / "build.py"))["TARGETS"]


def test_all_that_are_built_are_loaded_into_kind_by_the_name_and_tag_that_they_are_built_with() -> None:
    (loaded,) = re.findall(r"for image in ([\w ]+); do kind load docker-image \"larpo-\$image:\$TAG\"; done", PAGE)
    assert sorted(loaded.split()) == sorted(TARGETS)
    assert "TAG=$(.venv/bin/python -c 'import larpo_lib; print(larpo_lib.__version__)')" in PAGE
    builds = re.findall(r"^python3 docker/build.py (.*?) +#", PAGE, re.MULTILINE)
    assert builds
    assert all('--tag "$TAG"' in build for build in builds)


def test_pipelines_and_overlays_take_these_names_where_they_are_told_no_other() -> None:
    assert Images().reference("trainer") == f"larpo-trainer:{larpo_lib.__version__}"
    for name, image in (("", "mlflow"), ("/training", "trainer")):
        path = ROOT / "k8s" / "overlays" / f"local{name}" / "kustomization.yaml"
        (named,) = yaml.safe_load(path.read_text("utf-8"))["images"]
        assert (named["newName"], named["newTag"]) == (f"larpo-{image}", larpo_lib.__version__)


def test_what_is_pushed_is_what_overlays_for_registries_and_pipelines_pull() -> None:
    (prefix,) = set(re.findall(r"--(?:image-)?prefix (\S+)", PAGE))
    for overlay in ("gpu", "profile"):
        for folder, image in (("", "mlflow"), ("/training", "trainer")):
            path = ROOT / "k8s" / "overlays" / f"{overlay}{folder}" / "kustomization.yaml"
            (named,) = yaml.safe_load(path.read_text("utf-8"))["images"]
            assert named["name"] == f"registry.example.com/larpo-{image}"  # as base and training have it
            assert (named["newName"], named["newTag"]) == (f"{prefix}/larpo-{image}", larpo_lib.__version__)
