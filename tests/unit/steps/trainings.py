"""A small training, for the tests of the step `train`."""

import random

from small_models import user
from table_rows import preferences, with_table

from larpo_lib.config import ModelConfig, TrainConfig
from larpo_lib.playground.problems import make_problems, no_reasoning, wrong_final_number
from larpo_lib.steps import train

PLAIN = ModelConfig(device="cpu")
SETTINGS = {
    "model": PLAIN,
    "learning_rate": 1e-3,
    "warmup_ratio": 0.0,
    "batch_size": 4,
    "micro_batch_tokens": 200,
    "max_prompt_tokens": 80,
    "max_tokens": 96,
    "save_steps": 2,
}


def ten_lists(repeated=lambda _number: 1):
    """Lists of a right, a wrong and an empty response; `repeated` says how often a prompt says its question."""
    rng = random.Random(0)
    return [_list(problem, rng, repeated(i)) for i, problem in enumerate(make_problems(10, rng))]


def _list(problem, rng, repeated=1):
    messages = user(" ".join([problem.question] * repeated))
    responses = [problem.solution, wrong_final_number(problem, rng), no_reasoning(problem, rng)]
    return preferences(messages, responses, [1.0, 0.4, 0.1])


def training(policy, folder, rows):
    """Trains, with files or folders by the names of `train.run`'s arguments and settings by theirs."""

    def run(name="trained", rows=rows, log=lambda _row, _step: None, **changes):
        lists = with_table(folder / "lists", "lists", rows)
        paths = {key: changes.pop(key) for key in ("policy", "reference", "reference_logps") if key in changes}
        config = TrainConfig(**SETTINGS | changes)
        return train.run(config, **{"policy": policy} | paths, lists=lists, trained=folder / name, log=log)

    return run


def fail(*_args):
    raise AssertionError("this was done already")
