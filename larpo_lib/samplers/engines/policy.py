"""What all samplers do with a policy's directory, whatever draws from it."""

from larpo_lib.models.chat import find_special_text, message_contents, prompt_ids
from larpo_lib.models.model_dir import ModelDir
from larpo_lib.samplers.base import SamplingLimits
from larpo_lib.schemas import Messages


class PolicySampler:
    """A sampler by what it reads of its policy: the tokenizer, and the tokens that end a response."""

    def __init__(self, policy: ModelDir, limits: SamplingLimits) -> None:
        self._policy, self._limits = policy.path, limits
        self._tokenizer, self._stops = policy.tokenizer, policy.stop_ids

    def prompt_tokens(self, messages: Messages) -> int:
        """Length of a prompt in tokens, by the policy's own tokenizer."""
        return len(prompt_ids(self._tokenizer, messages))

    def has_special_text(self, messages: Messages) -> bool:
        """Whether a prompt's text holds the name of a special token."""
        return find_special_text(self._tokenizer, message_contents(messages)) is not None


def check_limits(policy: ModelDir, limits: SamplingLimits) -> None:
    """Check that the longest prompt and the longest response fit into a policy's context together.

    Raises:
        ConfigError: they do not.
    """
    said = f"max_prompt_tokens = {limits.max_prompt_tokens} and max_new_tokens = {limits.max_new_tokens}"
    policy.check_context(limits.longest, said)
