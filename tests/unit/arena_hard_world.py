"""Six made-up questions of each category, answers to them, and a judge that likes every second one."""

from judge_double import answered

from larpo_lib.config import LlmJudgeConfig
from larpo_lib.evaluation.arena_hard import step
from larpo_lib.evaluation.arena_hard.settings import ArenaHardConfig

CATEGORIES = ("hard_prompt", "creative_writing")
COUNT = 6


def answers_of(model, longer=0):
    return [
        {"uid": f"{category}-{i}", "model": model, "messages": [{"role": "assistant", "content": {"answer": text}}]}
        for category in CATEGORIES
        for i in range(COUNT)
        for text in [" ".join([model] * (2 + longer * i))]
    ]


def judge_answers(server, files, tmp_path, name="evaluation", judge_check=None, **settings):
    judge = LlmJudgeConfig(base_url=f"{server.url}/v1", model="big", retries=0)
    config = ArenaHardConfig(judge=judge, **{"partial": True, "resamples": 20, **settings})
    return step.run(
        config, **files, evaluation=tmp_path / name, decisions=tmp_path / "kept.jsonl", judge_check=judge_check
    )


def places(payload):
    """The number of the question, and whether the policy's answer is that of assistant B."""
    system, user = payload["messages"]
    assert ("generating your own answer" in system["content"]) == ("hard_prompt" in user["content"])
    number = int(user["content"].split("?")[0][-1])
    return number, "Assistant A's Answer|>\nmine" not in user["content"]


def likes_even(asked):
    """The policy wins clearly on questions of an even number, and loses narrowly on the others."""
    number, second = places(asked.payload)
    better = number % 2 == 0
    return answered(
        "I see. [[" + {True: "B>>A" if second else "A>>B", False: "A>B" if second else "B>A"}[better] + "]]"
    )
