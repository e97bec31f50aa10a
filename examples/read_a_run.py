"""The tables of a run with pandas, and its policy with transformers.

Run it behind `python examples/own_reward.py`, whose run it reads; or with the directory of another run as the argument.
"""

import sys

from transformers import pipeline

import larpo_lib


def main(out: str) -> None:
    """Print what the run's tables say, and let its policy answer a prompt."""
    run = larpo_lib.read_run(out)
    ranked = run.table("ranked")
    print(ranked.groupby("iteration")["reward"].agg(["count", "max"]).round(1))

    history = run.table("history")
    last = history.groupby("iteration").last()
    print("ranking accuracy at the end of each training:", last["ranking_accuracy"].round(1).tolist())

    best = ranked.sort_values("reward", ascending=False, kind="stable").iloc[0]
    print(f"a best response has rank {best['rank']} and was sampled in iteration {best['iteration']}")

    policy = run.champion or run.policy
    answers = pipeline("text-generation", model=str(policy), device="cpu")
    prompt = [{"role": "user", "content": "Tom has 5 bags of 3 pens. How many pens does Tom have?"}]
    said = answers(prompt, max_new_tokens=8, do_sample=False)[0]["generated_text"][-1]
    print(f"{policy} says: {said['content']}")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "runs/own_reward")
