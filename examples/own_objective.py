"""An objective of your own: a function from a batch of ranked lists to one loss for each list.

Run it with `python examples/own_objective.py`. It trains the built-in example's policy, with random weights, to prefer
the sum of two numbers.
"""

from pathlib import Path

import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer

from larpo_lib import ListBatch, ListwiseConfig, ListwiseTrainer
from larpo_lib.objectives.masked import differences, log_ratios, ordered_pairs
from larpo_lib.objectives.terms import reduce_terms
from larpo_lib.playground.policy import make_policy
from larpo_lib.playground.problems import vocabulary


def hinge(batch: ListBatch, margin: float = 1.0) -> torch.Tensor:
    """In log-ratios of policy and reference (nats), every better response should lead every worse one by a margin."""
    missing = torch.relu(margin - differences(log_ratios(batch)))
    return reduce_terms(missing, ordered_pairs(batch), "mean")


def sums() -> Dataset:
    """Prompts of plain text with three answers, best first: the sum, the first number, and the second."""
    pairs = [(a, b) for a in range(2, 9) for b in range(2, 9)]
    return Dataset.from_list(
        [
            {"prompt": f"{a} + {b} = ", "completions": [f"{a + b}", f"{a}", f"{b}"], "rewards": [1.0, 0.5, 0.0]}
            for a, b in pairs
        ]
    )


def main() -> None:
    """Print the loss, which is the margin before training, and then how much of the order is learnt."""
    policy = Path("runs/random_policy")
    make_policy(policy, vocabulary(), seed=0, hidden=64, layers=2)
    model = AutoModelForCausalLM.from_pretrained(policy, dtype="float32")
    args = ListwiseConfig(output_dir="runs/own_objective", num_train_epochs=6, learning_rate=2e-3)
    tokenizer = AutoTokenizer.from_pretrained(policy)
    trainer = ListwiseTrainer(model, args, sums(), sums(), tokenizer, objective=hinge)
    print(f"before: loss {trainer.evaluate()['eval_loss']:.1f}")
    trainer.train()
    found = trainer.evaluate()
    print(f"after: loss {found['eval_loss']:.1f}, pairs in order {found['eval_rewards/accuracies']:.1f}")


if __name__ == "__main__":
    main()
