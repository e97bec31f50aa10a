"""A thread beside a block ends with it, and what it raises is not lost."""

from threading import Event

import pytest

from larpo_lib.beside import beside


def test_the_thread_works_until_the_block_has_ended() -> None:
    done: list[str] = []
    begun = Event()

    def work(ended: Event) -> None:
        done.append("begun")
        begun.set()
        ended.wait()
        done.append("ended")

    with beside(work):
        begun.wait()
        done.append("block")
    assert done == ["begun", "block", "ended"]


def test_what_it_raises_is_raised_behind_the_block_unless_that_raises_itself() -> None:
    def work(_ended: Event) -> None:
        raise OSError("the thread's")

    reached = False
    with pytest.raises(OSError, match="the thread's"), beside(work):
        reached = True
    assert reached
    with pytest.raises(ValueError, match="the block's"), beside(work):
        raise ValueError("the block's")
