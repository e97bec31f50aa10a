"""Offline list-wise training on a preference data set, in place of a script with TRL's `DPOTrainer`.

Run it with `python examples/offline_lists.py`. The policy is that of the built-in example, with random weights.
"""

import random
from pathlib import Path

from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer

from larpo_lib import ListwiseConfig, ListwiseTrainer
from larpo_lib.playground.policy import make_policy
from larpo_lib.playground.problems import demonstrate, make_problems, vocabulary


def preferences(count: int, seed: int) -> Dataset:
    """Word problems with four answers: the right one, one with another result, and two to other problems."""
    rng = random.Random(seed)
    problems = make_problems(count, rng)
    rows = []
    for i, problem in enumerate(problems):
        right = demonstrate(problem, rng)
        wrong = right.rpartition("####")[0] + f"#### {rng.randint(100, 999)}"
        others = [demonstrate(problems[i - step], rng) for step in (1, 2)]
        prompt = [{"role": "user", "content": problem.question}]
        rows.append({"prompt": prompt, "completions": [right, wrong, *others], "rewards": [1.0, 0.5, 0.0, 0.0]})
    return Dataset.from_list(rows)


def main() -> None:
    """Train for two epochs, and print how well held-out lists are ranked before and after."""
    policy = Path("runs/random_policy")
    make_policy(policy, vocabulary(), seed=0, hidden=64, layers=2)
    trainer = ListwiseTrainer(
        AutoModelForCausalLM.from_pretrained(policy, dtype="float32"),
        ListwiseConfig(
            output_dir="runs/offline_lists",
            objective={"type": "listmle", "beta": 0.1},
            num_train_epochs=2,
            learning_rate=2e-3,
            max_length=128,
        ),
        train_dataset=preferences(160, seed=0),
        eval_dataset=preferences(40, seed=1),
        processing_class=AutoTokenizer.from_pretrained(policy),
    )
    print(f"before: loss {trainer.evaluate()['eval_loss']:.1f}")
    trainer.train()
    found = trainer.evaluate()
    print(f"after: loss {found['eval_loss']:.1f}, pairs in order {found['eval_rewards/accuracies']:.1f}")
    trainer.save_model("runs/offline_lists/policy")


if __name__ == "__main__":
    main()
