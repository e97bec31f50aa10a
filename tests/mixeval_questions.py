"""A small set of questions in the published format, and a judge that reads what the prompts give it."""

import json
import re

from server_double import Reply

FREE_FORM = {
    "0": {"problem_type": "free-form", "context": None, "prompt": "Capital of France?", "target": ["Paris", "Paname"],
          "benchmark_name": "TriviaQA"},
    "1": {"problem_type": "free-form", "context": "Ann has 3 pens.", "prompt": "How many pens?", "target": ["3"],
          "benchmark_name": "DROP"},
    "2": {"problem_type": "free-form", "context": None, "prompt": "1 + 1?", "target": ["#### 2"],
          "benchmark_name": "GSM8k"},
    "3": {"problem_type": "free-form", "context": None, "prompt": "Capital of France?", "target": ["Paris", "Paname"],
          "benchmark_name": "TriviaQA"},
}  # fmt: skip
MULTIPLE_CHOICE = {
    "0": {"problem_type": "multiple-choice", "context": None, "prompt": "Which is a fruit?",
          "options": ["stone", "apple", "car"], "target": [1], "benchmark_name": "MMLU"},
    "1": {"problem_type": "multiple-choice", "context": "How to dry a cup", "prompt": "Which solution is correct?",
          "options": ["With a towel", "With water"], "target": [0], "benchmark_name": "PIQA"},
}  # fmt: skip


def write_questions(directory, free_form=FREE_FORM, multiple_choice=MULTIPLE_CHOICE):
    """The two files; returns their paths as `run` takes them."""
    paths = {"free_form": directory / "free-form.json", "multiple_choice": directory / "multiple-choice.json"}
    paths["free_form"].write_text(json.dumps(free_form))
    paths["multiple_choice"].write_text(json.dumps(multiple_choice))
    return paths


def write_answers(path, responses, free_form=FREE_FORM, multiple_choice=MULTIPLE_CHOICE):
    """Answers in the official output format: `responses` holds the free-form ones first."""
    rows = [{**row, "id": number} for part in (free_form, multiple_choice) for number, row in part.items()]
    lines = [json.dumps({**row, "response": text}) for row, text in zip(rows, responses, strict=True)]
    path.write_text("\n".join(lines))
    return path


def completion(text):
    """The body that a server answers with."""
    return {"choices": [{"message": {"role": "assistant", "content": text}, "finish_reason": "stop"}], "usage": {}}


def asked_about(payload):
    """Question and response of a judge's prompt."""
    text = payload["messages"][1]["content"].rsplit("Question: ", 1)[1]
    return re.search(r"(.*)\n(?:.|\n)*Model's Answer: ((?:.|\n)*)\nYour Judgment: \n$", text).groups()


def verdict(asked):
    """A judge to whom responses spell out what it is to say."""
    return Reply(completion(asked_about(asked.payload)[1]))


RESPONSES = ["[[1.0]]", "[[0.2]]", "[[0.6]]", "[[1.0]]", "[[B]]", "[[B]]"]
"""The judge says what they say; the two questions about France are one."""


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]
