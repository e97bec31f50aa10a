"""A user's own function as a reranker."""

import gzip
import json
import textwrap
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from larpo_lib.config import RerankerConfig
from larpo_lib.config.load import load_config
from larpo_lib.errors import ConfigError, LarpoError
from larpo_lib.rewards.answers import Scorable
from larpo_lib.rewards.rerankers import Reranker, make_reranker
from larpo_lib.rewards.rerankers.ensemble import EnsembleConfig, EnsembleMember
from larpo_lib.rewards.rerankers.function import FunctionRerankerConfig
from larpo_lib.rewards.rerankers.verifier import VerifierConfig

Make = Callable[..., Reranker]


def item(response: str, prompt_id: str = "p", reference: str | None = None) -> Scorable:
    return Scorable(prompt_id, [{"role": "user", "content": f"ask {prompt_id}"}], response, reference)


def items(*responses: str) -> list[Scorable]:
    return [item(response) for response in responses]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    def make(source: str, **settings: Any) -> Reranker:
        (tmp_path / "mine.py").write_text(textwrap.dedent(source))
        return make_reranker(FunctionRerankerConfig(target=f"{tmp_path}/mine.py:f", **settings))

    return make


def scores(reranker: Reranker, given: Sequence[Scorable]) -> list[float | None]:
    return reranker.score(given)


def test_it_is_given_what_it_takes_and_its_settings(make: Make) -> None:
    two = [item("ab", "p", "r"), item("c", "q")]
    reranker = make("def f(responses, *, goal): return [goal - len(r) for r in responses]", settings={"goal": 3})
    assert scores(reranker, two) == [1.0, 2.0]
    everything = make(
        """
        def f(prompts, **others):
            assert prompts == [[{"role": "user", "content": "ask p"}], [{"role": "user", "content": "ask q"}]]
            assert others == {
                "responses": ["ab", "c"],
                "completions": [[{"role": "assistant", "content": text}] for text in ("ab", "c")],
                "references": ["r", None],
            }
            prompts[0].clear()
            return (True, None)
        """
    )
    assert scores(everything, two) == [1.0, None]
    assert two[0].messages  # what the function is given is its own


def test_a_reward_function_of_trl_is_one(make: Make) -> None:
    """TRL's contract: keywords, completions as lists of messages, floats or None; here TRL's own example of it."""
    from trl.rewards import think_format_reward

    reranker = make("from trl.rewards import think_format_reward as f", thinking="keep")
    texts = ["<think>\nhm\n</think>\nyes", "yes"]
    completions: Any = [[{"role": "assistant", "content": text}] for text in texts]
    assert scores(reranker, items(*texts)) == think_format_reward(completions) == [1.0, 0.0]


def test_an_async_function_is_awaited(make: Make) -> None:
    reranker = make(
        """
        import asyncio
        async def one(text):
            await asyncio.sleep(0.05)
            return len(text)
        async def f(responses):
            return await asyncio.gather(*map(one, responses))
        """
    )
    start = time.monotonic()
    assert scores(reranker, items(*(["abc"] * 50))) == [3.0] * 50
    assert time.monotonic() - start < 1  # all at once


def test_numpy_and_torch_are_lists(make: Make) -> None:
    assert scores(make("import numpy\ndef f(responses): return numpy.array([1.5, 2])"), items("a", "b")) == [1.5, 2.0]
    assert scores(make("import torch\ndef f(responses): return torch.ones(2)"), items("a", "b")) == [1.0, 1.0]


def test_batches_are_as_large_as_is_set_and_lists_are_whole(make: Make) -> None:
    source = "{}\ndef f(responses): return [len(responses)] * len(responses)"
    five = [item("a", prompt) for prompt in "pqppq"]
    assert scores(make(source.format(""), batch_responses=2), five) == [2, 2, 2, 2, 1]
    relative = make(source.format("from larpo_lib.rewards import list_relative\n@list_relative"), batch_responses=2)
    assert relative.list_relative
    assert scores(relative, five) == [3, 2, 3, 3, 2]
    assert scores(relative, []) == []


def test_thoughts_are_no_part_of_what_it_sees_unless_kept(make: Make) -> None:
    source = "def f(responses): return [len(r) for r in responses]"
    assert scores(make(source), items("<think>hm</think>abc")) == [3.0]
    assert scores(make(source, thinking="keep"), items("<think>hm</think>abc")) == [20.0]


@pytest.mark.parametrize(
    ("returned", "told"),
    [
        ("[1.0]", r"mine\.py:f gave 1 values for 2 responses; prompt p\. Fix the function"),
        ("None", r"gave NoneType, not a list with one value a response"),
        ("'ab'", r"gave str, not a list"),
        ("{0: 1, 1: 2}", r"gave dict, not a list"),
        ("(x for x in (1, 2))", r"gave generator, not a list"),
        ("[1, float('nan')]", r"gave nan for 'b'; a score is a finite number; prompt q"),
        ("[1, -float('inf')]", r"gave -inf for 'b'; a score is a finite number; prompt q"),
        ("[1, 10 ** 400]", r"for 'b'; a score is a finite number; prompt q"),
        ("[1, '2']", r"gave '2' for 'b'; a score is a number or None; prompt q"),
        ("[1, [2]]", r"gave \[2\] for 'b'; a score is a number or None; prompt q"),
    ],
)
def test_what_is_no_score_is_refused(make: Make, returned: str, told: str) -> None:
    two = [item("a", "p"), item("b", "p" if "1.0]" in returned else "q")]
    with pytest.raises(LarpoError, match=told):
        make(f"def f(responses): return {returned}").score(two)


def test_an_exception_names_function_line_and_prompt(make: Make) -> None:
    reranker = make(
        """
        def helper(text):
            return 1 / (text != "bad")
        def f(responses):
            return [helper(text) for text in responses]
        """
    )
    many = [item("good", f"p{i}") for i in range(20)] + [item("bad", "p20")] + [item("good", "p21")]
    told = r"mine\.py:f raised ZeroDivisionError: division by zero \(.*mine\.py, line 3\); prompt p20\. Fix"
    with pytest.raises(LarpoError, match=told) as caught:
        reranker.score(many)
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


@pytest.mark.parametrize("raised", ["SystemExit", "CancelledError", "KeyError", "TimeoutError"])
def test_whatever_it_raises_is_told(make: Make, raised: str) -> None:
    source = f"from asyncio import CancelledError\n\nasync def f(responses):\n    raise {raised}('x')"
    with pytest.raises(LarpoError, match=rf"raised {raised}: '?x'? \(.*line 4\); prompt p"):
        make(source).score(items("a"))


def test_an_exception_of_a_whole_batch_names_its_first_prompt(make: Make) -> None:
    reranker = make("def f(responses): return [1 / (2 - len(responses))] * len(responses)")
    with pytest.raises(LarpoError, match=r"line 1\); 2 prompts, the first p0"):
        reranker.score([item("a", "p0"), item("a", "p1")])


@pytest.mark.parametrize(
    "waits",
    [
        "def f(responses): time.sleep(9)",
        "async def f(responses): await asyncio.sleep(9)",
        "async def f(responses): time.sleep(9)",
        "def f(responses): re.match(r'(a+)+$', 'a' * 40 + 'b')",
        "def f(responses):\n    while True:\n        try: time.sleep(9)\n        except Exception: pass",
    ],
)
def test_a_call_that_takes_too_long_is_ended(make: Make, waits: str) -> None:
    start = time.monotonic()
    told = r"mine\.py:f took longer than 0\.1 s for 1 responses; prompt p\. Raise timeout_s, or lower batch_responses"
    with pytest.raises(LarpoError, match=told):
        make(f"import asyncio, re, time\n{waits}", timeout_s=0.1).score(items("a"))
    assert time.monotonic() - start < 3


def test_outside_the_main_thread_a_late_answer_is_refused(make: Make) -> None:
    reranker = make("import time\ndef f(responses):\n    time.sleep(0.2)\n    return [1]", timeout_s=0.1)
    found: list[str] = []

    def score() -> None:
        try:
            reranker.score(items("a"))
        except LarpoError as error:
            found.append(str(error))

    thread = threading.Thread(target=score)
    thread.start()
    thread.join()
    assert "took longer than 0.1 s" in found[0]


@pytest.mark.parametrize(
    ("signature", "settings", "told"),
    [
        ("responses", {"goal": 1}, r"mine\.py:f does not take the setting 'goal'"),
        ("responses", {"responses": 1}, r"settings\.responses would hide the responses"),
        ("responses, /", {}, r"takes 'responses' by place alone"),
    ],
)
def test_a_signature_that_does_not_fit_is_refused_at_once(
    tmp_path: Path, signature: str, settings: dict[str, Any], told: str
) -> None:
    (tmp_path / "mine.py").write_text(f"def f({signature}): return [1] * len(responses)")
    with pytest.raises(ConfigError, match=told):
        FunctionRerankerConfig(target=f"{tmp_path}/mine.py:f", settings=settings).check()


def test_it_is_given_the_columns_that_prompts_keep(make: Make) -> None:
    given = [Scorable("p", [], "a", None, {"goal": 3, "level": "x"}), Scorable("q", [], "b", None, {"goal": 4})]
    assert scores(make("def f(responses, goal): return goal"), given) == [3.0, 4.0]
    assert scores(make("def f(goal, **rest): return [len(rest['level'])] * 2"), given) == [2.0, 2.0]
    assert scores(make("def f(goal): return [goal] * 2", settings={"goal": 9}), given) == [9.0, 9.0]  # settings win
    with pytest.raises(LarpoError, match=r"needs 'goals', which is no column that the prompts keep. It can take pro"):
        make("def f(goals): return goals").score(given)


def test_the_target_has_a_form() -> None:
    stated = ["policy=p", "prepare.source=s", "prepare.heldout=1", "rerank.reranker.type=function"]
    with pytest.raises(ConfigError, match=r"rerank\.reranker.*target.*'brevity' names no function"):
        load_config(None, [*stated, "rerank.reranker.target=brevity"])
    chosen = load_config(None, [*stated, "rerank.reranker.target=r.py:f", "rerank.reranker.settings.goal=3"])
    reranker: Any = chosen.rerank.reranker
    assert (reranker.target, reranker.settings) == ("r.py:f", {"goal": 3})
    assert chosen.evaluate.reranker == reranker


def test_its_identity_is_its_content_and_settings_and_not_its_place(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("def f(responses, goal=1): return [1] * len(responses)")
    config = FunctionRerankerConfig(target=f"{tmp_path}/mine.py:f", timeout_s=3, batch_responses=5)
    assert config.identity() == {"type": "function", "target": "mine.py:f", "settings": {}, "thinking": "strip"}
    assert config.source() == tmp_path / "mine.py"
    other = FunctionRerankerConfig(target=f"{tmp_path}/mine.py:f", settings={"goal": 2})
    names = {make_reranker(config).name, make_reranker(other).name}
    (tmp_path / "mine.py").write_text("def f(responses, goal=2): return [1] * len(responses)")
    assert len(names | {make_reranker(config).name}) == 3  # rewards of different functions are never ranked together


VERIFIER = """
from larpo_lib.rewards.answers import Scorable, is_right

def f(prompts, responses, references):
    return [
        is_right(Scorable("", prompt, response, reference))
        for prompt, response, reference in zip(prompts, responses, references)
    ]
"""


def test_the_verifier_written_as_a_function_judges_published_solutions_as_published(
    make: Make, shared_data: Callable[[str], Path]
) -> None:
    with gzip.open(shared_data("gsm8k/example_model_solutions.jsonl.gz"), "rt", encoding="utf-8") as file:
        rows = [json.loads(line)["6b_verification"] | {"reference": json.loads(line)["ground_truth"]} for line in file]
    given = [item(row["solution"], f"p{i}", row["reference"]) for i, row in enumerate(rows)]
    found = scores(make(VERIFIER), given)
    assert found == [float(row["is_correct"]) for row in rows]
    assert round(100 * sum(map(bool, found)) / len(found), 3) == 39.045
    assert found == scores(make_reranker(VerifierConfig(mode="exact")), given)


def test_a_file_that_is_gone_is_told_by_the_check_alone() -> None:
    config: RerankerConfig = FunctionRerankerConfig(target="nowhere.py:f")
    assert not config.list_relative
    with pytest.raises(ConfigError, match=r"nowhere\.py: no such file"):
        config.check()


def test_an_ensemble_takes_it_with_a_weight(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("def f(responses): return [len(r) for r in responses]")
    function = FunctionRerankerConfig(target=f"{tmp_path}/mine.py:f")
    config = EnsembleConfig(
        members=(
            EnsembleMember(reranker=VerifierConfig(mode="exact"), mean=0.0, std=1.0),
            EnsembleMember(reranker=function, weight=-0.5, mean=1.0, std=2.0),
        )
    )
    config.check()
    given = [item("#### 3", reference="3"), item("#### 44", reference="3")]
    assert scores(make_reranker(config), given) == [1 - 0.5 * (6 - 1) / 2, 0 - 0.5 * (7 - 1) / 2]
