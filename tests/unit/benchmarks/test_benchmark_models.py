"""Both sides train the same model on the same tokens."""

import torch

from benchmarks.models import SIZES, random_policy, word_tokenizer, words
from benchmarks.workloads import natural_lists


def test_the_tokenizer_reads_the_words_back_as_the_same_ids() -> None:
    tokenizer = word_tokenizer(60)
    [item] = natural_lists(1, 2, mean_response=40, vocabulary=60, seed=0)
    for response in item.responses:
        whole = f"{words(item.prompt)} {words(response)}"
        assert tokenizer(whole)["input_ids"] == item.prompt + response
        assert whole.endswith(tokenizer.eos_token)


def test_equal_seeds_give_equal_weights() -> None:
    first, again, other = (random_policy(SIZES["tiny"], seed, "cpu").state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["lm_head.weight"], other["lm_head.weight"])


def test_small_spends_as_much_of_its_work_on_the_vocabulary_as_a_model_of_a_billion() -> None:
    def share(name: str) -> float:
        policy = random_policy(SIZES[name], 0, "meta")
        output, embedding = policy.lm_head.weight.numel(), policy.model.embed_tokens.weight.numel()
        return output / (sum(parameter.numel() for parameter in policy.parameters()) - embedding)

    assert abs(share("small") - share("1b")) < 0.05
