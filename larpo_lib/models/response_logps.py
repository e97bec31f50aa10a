"""Log-probabilities of responses that a policy sampled, by the policy itself."""

import math
from collections.abc import Callable, Sequence

import torch

from larpo_lib.errors import ModelError
from larpo_lib.models.batching import token_batches
from larpo_lib.models.chat import prompt_ids
from larpo_lib.models.model_dir import ModelDir
from larpo_lib.models.replies import encode_reply
from larpo_lib.models.rope import check_scorable
from larpo_lib.models.scoring import attach_scorer, padded_rows, to_device
from larpo_lib.schemas import CandidateRow, PromptRow

LogpScorer = Callable[[Sequence[tuple[PromptRow, CandidateRow]]], list[tuple[float, int] | None]]
"""From responses and what they answer to the log-probability in nats, and the tokens it is the sum over.

None where a response has no token.
"""


def load_logp_scorer(policy: ModelDir, batch_tokens: int) -> LogpScorer:
    """Load a policy that gives log-probabilities.

    The sampled token ids are scored where they are known, end-of-turn token included; a text is tokenized as it
    stands in its conversation, and gets its end-of-turn token if it did not end at its longest.

    Args:
        policy: its directory.
        batch_tokens: of a forward pass, padding included.

    Raises:
        ModelError: it cannot be loaded or scored, has no embedding or position for a response, or a log-probability is
            not finite.
    """
    tokenizer, end = policy.tokenizer, policy.turn_end
    model = attach_scorer(policy.load_policy(), None)
    pad_id = int(tokenizer.pad_token_id)

    @torch.no_grad()
    def score(pairs: Sequence[tuple[PromptRow, CandidateRow]]) -> list[tuple[float, int] | None]:
        prompts = [prompt_ids(tokenizer, prompt["messages"]) for prompt, _ in pairs]
        responses = [
            row["token_ids"]
            if row["token_ids"] is not None
            else encode_reply(tokenizer, asked["messages"], ids, row["response"], row["finish_reason"], end).ids
            for ids, (asked, row) in zip(prompts, pairs, strict=True)
        ]
        found: list[tuple[float, int] | None] = [None] * len(pairs)
        for (asked, row), prompt, response in zip(pairs, prompts, responses, strict=True):
            if problem := policy.unfit(prompt, response):
                raise ModelError(
                    f"candidate {row['candidate_id']} of prompt {asked['prompt_id']} {problem}",
                    remedy="Use the policy that sampled these responses",
                )
            whose = f"candidate {row['candidate_id']} of prompt {asked['prompt_id']}"
            check_scorable(policy, len(prompt) + len(response), whose)
        present = [i for i, response in enumerate(responses) if response]
        lengths = [len(prompts[i]) + len(responses[i]) for i in present]
        for batch in token_batches(lengths, batch_tokens):
            chosen = [present[place] for place in batch]
            rows = padded_rows([prompts[i] for i in chosen], [responses[i] for i in chosen], pad_id)
            for i, logp in zip(chosen, model(**to_device(model.device, rows)).float().tolist(), strict=True):
                if not math.isfinite(logp):
                    raise ModelError(
                        f"{policy.path}: the log-probability of candidate {pairs[i][1]['candidate_id']} of prompt"
                        f" {pairs[i][0]['prompt_id']} is {logp}",
                        remedy="Set model.dtype to float32, or check the policy's weights",
                    )
                found[i] = (logp, len(responses[i]))
        return found

    return score
