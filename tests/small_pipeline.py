"""A pipeline with a parameter of every type, for tests of what submits pipelines.

Annotations stay objects here: the compiler reads them.
"""

from pathlib import Path
from typing import Any

from larpo_kubeflow.pipelines.functions import distinct


def write_small_pipeline(path: Path, *, times: int = 2, platform: bool = False) -> Path:
    """Compile it to `path`; with `platform` the package has the second document of Kubernetes' settings."""
    from kfp import compiler, dsl, kubernetes

    @dsl.component(base_image="python:3.11", install_kfp_package=False)
    def say(text: str, times: int) -> str:
        return text * times

    @dsl.pipeline(name="small")  # type: ignore[untyped-decorator]
    def small(
        text: str,
        times: int = times,
        rate: float = 0.5,
        fast: bool = False,
        tags: list = ["a"],  # type: ignore[type-arg]  # noqa: B006
        labels: dict = {},  # type: ignore[type-arg]  # noqa: B006
        settings: str = "{}",
    ) -> None:
        task = say(text=text, times=times)
        if platform:
            kubernetes.use_secret_as_env(task, "larpo-s3", {"AWS_ACCESS_KEY_ID": "AWS_ACCESS_KEY_ID"})

    compiler.Compiler().compile(small, str(path))
    return path


def nested_twice() -> Any:
    """A pipeline around two copies of one that holds two copies of another; each calls one component once or twice."""
    from kfp import dsl

    @dsl.component(base_image="python:3.11", install_kfp_package=False)
    def keep(text: str) -> str:
        return text

    @dsl.pipeline(name="inner")  # type: ignore[untyped-decorator]
    def inner(text: str) -> str:
        return keep(text=keep(text=text).output).output

    distinct(inner)

    @dsl.pipeline(name="middle")  # type: ignore[untyped-decorator]
    def middle(text: str) -> str:
        return inner(text=inner(text=keep(text=text).output).output).output

    distinct(middle)

    @dsl.pipeline(name="outer")  # type: ignore[untyped-decorator]
    def outer(text: str) -> None:
        middle(text=middle(text=keep(text=text).output).output)

    return outer
