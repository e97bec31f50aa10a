"""The components of small pipelines. KFP's executor needs their annotations as they are, not as texts."""

from kfp import dsl
from small_components import component


@component
def say(word: str) -> str:
    """Say a word."""
    return word


@component
def count(number: int) -> int:
    """Say a number."""
    return number


@component
def words(number: int) -> list:
    """Say numbers, as texts."""
    return [str(i) for i in range(number)]


@component
def sized(word: str, memory: str, gpus: str) -> str:
    """Say a word, and take as arguments what its pod is given."""
    return word


@component
def hold(word: str) -> str:
    """Be where a fault can strike in the middle."""
    from backend_pods import midway

    midway()
    return word


@component
def fail(word: str) -> str:
    """Fail."""
    raise ValueError(word)


@component
def words_of(found: list) -> str:
    """Say words as one."""
    return ",".join(found)


@component
def told(word: str) -> str:
    """Say a word that one was told."""
    return word


@component
def last(status: dsl.PipelineTaskFinalStatus) -> str:
    """Say how the tasks before ended."""
    return status.state


@component
def said_last(word: str) -> str:
    """Run last, and be told nothing."""
    return word
