"""A reward of your own, in a whole run: a function in a file, here this one, scores the responses.

Run it with `python examples/own_reward.py`. It writes the built-in example to `runs/world` and the run to
`runs/own_reward`.
"""

from pathlib import Path

import larpo_lib
from larpo_lib.playground.world import make_world, world_sources


def numbers(responses: list[str], wanted: int) -> list[float]:
    """1 for a response with `wanted` numbers or more, and less for one with fewer."""
    counts = [sum(word.isdigit() for word in response.split()) for response in responses]
    return [min(count, wanted) / wanted for count in counts]


def main() -> None:
    """Run two iterations, and print how the mean reward on held-out prompts changes."""
    world = Path("runs/world")
    make_world(world, seed=0)
    sources = world_sources(world)
    config = larpo_lib.load_config(
        settings={
            "name": "own-reward",
            "model.device": "cpu",
            "policy": sources["policy"],  # random weights: it writes random words
            "prepare": {**sources["prepare"], "limit": 32},
            "evaluation_prompts": {**sources["evaluation_prompts"], "limit": 24},
            "rerank.reranker": {"type": "function", "target": f"{__file__}:numbers", "settings": {"wanted": 8}},
            "sample": {"k": 6, "max_new_tokens": 8},
            "lists.selection": {"type": "top_bottom", "top": 2, "bottom": 2},
            "train": {"objective": {"type": "listmle"}, "learning_rate": 1e-3, "batch_size": 8},
            "evaluate": {"n": 4, "resamples": 200},
            "promote": {"model_name": "own-reward", "metric": "reward"},
            "loop.iterations": 2,
        }
    )
    run = larpo_lib.run_loop(config, "runs/own_reward")
    for iteration, evaluation in run.evaluations.items():
        print(f"policy {iteration}: mean reward {evaluation.metrics['mean_reward']:.1f}")
    print(f"{run.promotion.model_name} version {run.promotion.version} is now {run.promotion.alias}")


if __name__ == "__main__":
    main()
