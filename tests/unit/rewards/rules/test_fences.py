import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from larpo_lib.rewards.rules.fences import blocks
from larpo_lib.rewards.rules.schemas import parse_json, without_fences

LINES = [
    "```", "````", "~~~", "~~~~ ", "```python", "``` text \t", "~~~`bash", "```a`b", "```  c``", "a", "", "b ```c``` d",
    " - e", "\tf",
]  # fmt: skip


@given(st.lists(st.sampled_from(LINES), max_size=14))
def test_blocks_are_those_of_commonmark(lines):
    """By markdown-it. Fences at the end close what is open, or make a block that is empty."""
    markdown = pytest.importorskip("markdown_it", reason="compares with markdown-it").MarkdownIt()
    text = "\n".join([*lines, "``````", "~~~~~~"])
    fences = [token for token in markdown.parse(text) if token.type == "fence" and token.content.strip()]
    found = [(block.info, block.content.rstrip("\n")) for block in blocks(text)]
    assert found == [(token.info.strip(), token.content.rstrip("\n")) for token in fences]


INDENTED = [
    "  ```python\n  a\n    b\n  ```",  # the indentation of the fence is none of the content
    "1. Code:\n\n   ```python\n   a\n       b\n   ```\n2. More",
    "- ```python\n  a\n      b\n  ```",
    "- Outer\n  - Inner:\n    ```python\n    a\n        b\n    ```",
    "```python\na\n    ```\nb\n   ```\nc",  # four columns deeper closes nothing, three do
]


@pytest.mark.parametrize("text", INDENTED)
def test_indented_blocks_are_those_of_commonmark(text):
    markdown = pytest.importorskip("markdown_it", reason="compares with markdown-it").MarkdownIt()
    (fence,) = [token for token in markdown.parse(text) if token.type == "fence"]
    assert blocks(text) == [(fence.info, fence.content)]


@pytest.mark.parametrize(
    ("text", "content"),
    [
        ("    ```python\ndef f():\n    return 1\n    ```", "def f():\n    return 1\n"),  # less deep than its fence
        ("```python\na\n```This is it.", "a\n"),
        ("```python\na", "a\n"),
        ("```python\r\na\r\n```\r\n", "a\n"),
    ],
)
def test_careless_fences_are_read_as_they_are_meant(text, content):
    assert blocks(text) == [("python", content)]


INNER = '{"code": "```python\\nprint(1)\\n```", "why": "so ```"}'
VALUE = {"code": "```python\nprint(1)\n```", "why": "so ```"}


@pytest.mark.parametrize(
    "text",
    [
        INNER,
        f"```json\n{INNER}\n```",
        f"Here it is: ```json \n{INNER}\n```\nThat is all.",
        f"```\n{INNER}```",
        f"```json\n{INNER}```\nThat is all.",
        f"````json\n{INNER}\n```` That is all.",
        f"~~~\n{INNER}\n~~~",
        f"```json5\r\n{INNER}\r\n```",
        f"1. ```{{json}}\n   {INNER}\n   ```",
    ],
)
def test_fences_within_json_end_no_block(text):
    assert parse_json(without_fences(text)) == VALUE


@pytest.mark.parametrize("text", ["```\n1\n```\n\n```\n2\n```", "1", "``` 1 ```"])
def test_fences_of_several_blocks_or_none_stay(text):
    assert without_fences(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "`" * 50_000, "`" * 50_000 + " `", "```" + " " * 50_000 + "x", " " * 50_000 + "x", "```a\n" * 20_000,
        "~~~\n```\n" * 10_000, "- " * 50_000 + "x", "a ```\n" * 20_000, "```\n" + "\t" * 50_000, "\n" * 50_000,
    ],
)  # fmt: skip
def test_no_response_takes_long(text):
    start = time.process_time()
    blocks(text)
    without_fences(text)
    assert time.process_time() - start < 1
