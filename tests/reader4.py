"""Writes and reads model directories with whatever transformers is installed: the tests run it with one of version 4.

python tests/reader4.py write ROOT    writes the families, ROOT/FAMILY, with the tokenizer in ROOT/tokenizer.json
python tests/reader4.py read ROOT     ROOT/read.json: of each directory in ROOT, what model and tokenizer say
"""

import json
import sys
from pathlib import Path
from typing import Any

import torch
from families4 import FAMILIES
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedTokenizerFast,
)

CHAT = [
    {"role": "user", "content": "hello world 1 2 3 ? hello hello 3 1"},
    {"role": "assistant", "content": "world ! 2"},
    {"role": "user", "content": "1 ! unheard"},
]
SPECIAL = {"bos_token": "<bos>", "eos_token": "<|im_end|>", "pad_token": "<pad>", "unk_token": "<unk>"}
TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + ' ' + message['content'] + '<|im_end|>' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant ' }}{% endif %}"
)


def write(root: Path, families: list[str]) -> None:
    """Write models with random weights and their tokenizer, as this version of transformers does."""
    for number, name in enumerate(families):
        family, settings = FAMILIES[name]
        torch.manual_seed(number)
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model(family, **settings))
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.dim() > 1:
                    parameter.normal_(0, 0.2)
        model.save_pretrained(root / name)
        tokenizer = PreTrainedTokenizerFast(
            tokenizer_file=str(root / "tokenizer.json"),
            chat_template=TEMPLATE,
            additional_special_tokens=["<|im_start|>"],
            **SPECIAL,
        )
        tokenizer.save_pretrained(root / name)


@torch.no_grad()
def read(directory: Path) -> dict[str, Any]:
    """The ids of a chat and of its text, the logits of the last place (of a classifier the score), and use_cache."""
    config = AutoConfig.from_pretrained(directory)
    scores = config.architectures[0].endswith("SequenceClassification")
    kind = AutoModelForSequenceClassification if scores else AutoModelForCausalLM
    model = kind.from_pretrained(directory, attn_implementation="eager").eval()
    tokenizer = AutoTokenizer.from_pretrained(directory)
    text = tokenizer.apply_chat_template(CHAT, tokenize=False, add_generation_prompt=True)
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    logits = model(torch.tensor([ids])).logits
    return {
        "text": text,
        "ids": ids,
        "special": sorted(set(tokenizer.all_special_tokens)),
        "logits": (logits[0] if scores else logits[0, -1]).tolist(),
        "use_cache": model.config.use_cache,
        "end": None if scores else model.generation_config.eos_token_id,
    }


if __name__ == "__main__":
    task, root = sys.argv[1], Path(sys.argv[2])
    if task == "write":
        write(root, list(FAMILIES))
    else:
        found = {path.name: read(path) for path in sorted(root.iterdir()) if path.is_dir()}
        (root / "read.json").write_text(json.dumps(found), "utf-8")
