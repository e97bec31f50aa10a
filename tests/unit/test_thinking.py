import pytest
from jinja2.sandbox import ImmutableSandboxedEnvironment

from larpo_lib.thinking import is_unfinished, thinks, thought_counts, with_whole_thoughts, without_thoughts

DEEPSEEK = "{% if '</think>' in content %}{{ content.split('</think>')[-1] }}{% else %}{{ content }}{% endif %}"
"""What the chat template of DeepSeek-R1's distilled models does to an assistant's message."""
QWEN3 = (
    "{% if '</think>' in content %}{{ content.split('</think>')[-1].lstrip('\\n') }}{% else %}{{ content }}{% endif %}"
)
"""What Qwen3's does to one that is followed by another question."""
THOUGHT = "<think>\nThree and four make 7.\n</think>\n\nThe answer is 7."
BEGUN = "Three and four make 7.\n</think>\n\nThe answer is 7."


@pytest.mark.parametrize("response", [THOUGHT, BEGUN, "The answer is 7.", "<think>a</think>b</think>\nc", "</think>"])
@pytest.mark.parametrize("template", [DEEPSEEK, QWEN3])
def test_a_reply_is_what_templates_write_into_a_history(template: str, response: str) -> None:
    written = ImmutableSandboxedEnvironment().from_string(template).render(content=response)
    assert without_thoughts(response) == (written.lstrip("\n") if thinks(response) else written)


@pytest.mark.parametrize(
    ("response", "reply", "whole", "found"),
    [
        (THOUGHT, "The answer is 7.", THOUGHT, (True, False)),
        (BEGUN, "The answer is 7.", f"<think>\n{BEGUN}", (True, False)),
        (f"\n{BEGUN}", "The answer is 7.", f"<think>\n{BEGUN}", (True, False)),
        ("<think>\nThree and four", "", "<think>\nThree and four", (True, True)),
        ("<think>", "", "<think>", (True, True)),
        ("<think></think>", "", "<think></think>", (True, False)),
        ("\n 7\n", "\n 7\n", "\n 7\n", (False, False)),
        ("It is written <think>.", "It is written <think>.", "It is written <think>.", (False, False)),
        ("", "", "", (False, False)),
    ],
)
def test_thoughts_are_told_from_replies(response: str, reply: str, whole: str, found: tuple[bool, bool]) -> None:
    assert without_thoughts(response) == reply
    assert with_whole_thoughts(response) == whole
    assert (thinks(response), is_unfinished(response)) == found


def test_responses_with_thoughts_are_counted() -> None:
    counted = thought_counts([THOUGHT, BEGUN, "7", "<think> 3"])
    assert counted == {"responses_with_thoughts": 3, "thoughts_unfinished": 1}
