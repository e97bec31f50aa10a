"""A study that runs within seconds: two objectives, a handful of prompts, a policy that knows next to nothing."""

from pathlib import Path

STUDY = """
name = "small"
title = "Small"
question = "Does it run?"
source = "Table 0"
baseline = "pairwise"
orderings = [{ better = "ListMLE", worse = "pairwise" }]

[[axes]]
name = "objective"

[[axes.variants]]
label = "pairwise"
settings = { train = { objective = { type = "dpo" } }, lists = { selection = { type = "best_worst" } } }

[[axes.variants]]
label = "ListMLE"
settings = { train = { objective = { type = "listmle" } } }
as_published = { train = { objective = { type = "contrastive" } } }

[[published]]
cell = ["ListMLE"]
values = { win_rate = 1.5 }

[tiny]
preset = "quickstart"
seeds = 2
measures = ["accuracy", "reward"]
choices = ["Everything is small."]
[tiny.settings]
sft = { max_steps = 8, batch_size = 32 }
sample = { k = 4, prompts_per_iteration = 24 }
evaluate = { n = 2, limit = 12, resamples = 50 }
loop = { iterations = 1 }
[tiny.search]
setting = "train.learning_rate"
values = [1e-5, 1e-4]

[paper]
preset = "mistral-7b-instruct-fsfairx"
measures = ["reward"]
[[paper.axes]]
name = "model"
variants = [{ label = "A", settings = { policy = "a" } }, { label = "B", settings = { policy = "b" } }]
"""


def write_study(directory: Path, text: str = STUDY) -> Path:
    """The study as a file."""
    path = directory / "small.toml"
    path.write_text(text)
    return path
