"""A prompt as the question of a pair."""

from larpo_lib.schemas import Messages


def query_text(messages: Messages) -> str:
    """A prompt as the question of a pair: its message, or where there are several each one with its role before it."""
    if len(messages) == 1:
        return messages[0]["content"]
    return "\n\n".join(f"{message['role']}: {message['content']}" for message in messages)
