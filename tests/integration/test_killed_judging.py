"""A judge that refuses, hangs up and hangs, and a step that is killed: no decision is bought twice."""

import threading
import time
from pathlib import Path
from typing import Any

import pytest
from forked import forked_larpo
from judge_double import answered, broken, judging, longer
from server_double import Reply
from tiny_world import files

from larpo_lib.config import RerankConfig
from larpo_lib.steps import rerank

pytestmark = pytest.mark.usefixtures("mlflow_uri")
BEFORE_THE_KILL = 25


class Troubles:
    """What goes wrong: every fifth question is refused first, every seventh loses its connection; then all hang."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.tries: dict[tuple[str, ...], int] = {}
        self.replies = 0
        self.hang = True
        self.killed = threading.Event()

    def __call__(self, responses: list[str]) -> Any:
        with self.lock:
            number = len(self.tries)
            self.tries[*responses] = tries = self.tries.get((*responses,), 0) + 1
            hangs = self.hang and self.replies >= BEFORE_THE_KILL
            refused = tries == 1 and number % 5 == 0
            cut = tries == 1 and number % 7 == 0 and not refused
            self.replies += not (hangs or refused or cut)
        if hangs:
            self.killed.wait()
            return broken("A")  # to nobody
        if refused:
            return Reply({"error": {"message": "slow down"}}, status=429, headers={"retry-after": "0"})
        return broken("A") if cut else answered(longer(responses))


def stored(folder: Path) -> int:
    return sum(file.read_bytes().count(b"\n") for file in folder.rglob("*.jsonl"))


def test_what_was_decided_before_a_kill_is_not_asked_again(here: Path) -> None:
    troubles = Troubles()
    with judging(troubles) as judge:

        def arguments(name: str, decisions: str) -> list[object]:
            settings = judge.config(Path(decisions), mode="pairwise", retries=3, concurrency=8)
            table = ", ".join(
                f'{key} = "{value}"' if isinstance(value, str) else f"{key} = {value}"
                for key, value in settings.model_dump(exclude_defaults=True).items()
            )
            chosen = ["--set", f'rerank.reranker = {{ type = "llm_judge", {table} }}', "--set", "rerank.part_prompts=3"]
            paths = ["--prompts", "prompts", "--candidates", "candidates", "--ranked", name]
            return ["rerank", "--config", "larpo.toml", *chosen, *paths]

        killed = forked_larpo(*arguments("ranked-1", "kept"), output=here / "log")
        deadline = time.monotonic() + 60
        while stored(here / "kept") < BEFORE_THE_KILL:
            assert killed.poll() is None, (here / "log").read_text()
            assert time.monotonic() < deadline, (here / "log").read_text()
            time.sleep(0.05)
        killed.kill()
        assert killed.wait(30) == -9
        troubles.hang = False
        troubles.killed.set()
        assert len(judge.bought) == BEFORE_THE_KILL

        again = forked_larpo(*arguments("ranked-1", "kept"), output=here / "log")
        assert again.wait(60) == 0, (here / "log").read_text()
        assert set(judge.bought.values()) == {1}
        assert stored(here / "kept") == len(judge.bought) > 2 * BEFORE_THE_KILL
        assert f"{BEFORE_THE_KILL} decisions of this judge are already stored" in (here / "log").read_text()

        undisturbed = RerankConfig(reranker=judge.config(here / "others", mode="pairwise"), part_prompts=3)
        metrics = rerank.run(
            undisturbed, prompts=here / "prompts", candidates=[here / "candidates"], ranked=here / "ranked-2"
        )
    assert files(here / "ranked-1") == files(here / "ranked-2")
    assert metrics["judge_decisions"] == len(judge.bought)
    assert metrics["judge_unread"] == 0
