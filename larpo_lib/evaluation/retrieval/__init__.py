"""The policy as a retriever of responses, and retrievers of documents on the same axes."""

from larpo_lib.evaluation.benchmark import POLICY, Benchmark, Number
from larpo_lib.steps.declarations import Input

BENCHMARK = Benchmark(
    name="retrieval",
    title="The policy as a retriever",
    summary="Measure a policy as a retriever of responses, and retrievers of documents on the same axes.",
    settings_class="RetrievalConfig",
    inputs=(
        POLICY,
        Input("prompts", "optional"),
        Input("evaluated", "optional", "What `larpo evaluate` made of the policy and prompts."),
        Input("queries", "optional", "Queries in BEIR's form: queries.jsonl, with _id and text."),
        Input("corpus", "optional", "Documents: corpus.jsonl, with _id, title and text."),
        Input("relevance", "optional", "Relevant documents: a .tsv or .jsonl of query-id, corpus-id and score."),
    ),
    judged_by="as `larpo evaluate`; relevance files",
    needs="an evaluation",
    numbers=(
        Number(
            "pass_at_{n}", "Pass@{n}", "",
            "Chance that at least one of N sampled responses is right, which is what recall among N documents is of one"
            " relevant document. No accuracy: somebody has to know which response is right.",
        ),
        Number(
            "majority_accuracy", "Majority vote", "",
            "Share of prompts on which the number that most responses agree on is right, ties by lot. Not comparable"
            " with votes of another size.",
        ),
        Number(
            "best_of_{n}_reward", "Best of {n}", "",
            "Expected highest reward of N sampled responses. Rewards of another reward model have another unit.",
        ),
        Number(
            "ndcg", "nDCG", "",
            "How well the policy's log-probabilities rank its own distinct responses, gains being rewards above the"
            " prompt's lowest: 1 is the reward model's order. A random order is far above 0, so compare it with that.",
        ),
        Number(
            "kendall_tau", "Kendall's tau", "",
            "Agreement of log-probability and reward over a prompt's distinct responses, from -1 to 1. Log-probability"
            " favours short responses.",
        ),
        Number(
            "kendall_tau_per_token", "Kendall's tau, per token", "",
            "The same of the mean log-probability of a token. Not comparable with the sum's.",
        ),
        Number(
            "recall_at_{n}", "Recall@{n}", "",
            "Share of a prompt's right distinct responses among the N most probable ones, over prompts that have"
            " a right one. It depends on how many were sampled.",
        ),
        Number(
            "{key}_recall_at_{n}", "{retriever}, Recall@{n}", "",
            "Share of a query's relevant documents among the first N that {retriever} finds. Not comparable across"
            " corpora, nor with the policy's Recall@N or Pass@N but in shape.",
            {"key": "bm25", "retriever": "BM25"},
        ),
    ),
    counts={
        "*_low, *_high, *_standard_error": "Bootstrap interval over prompts or queries, and standard error.",
        "responses_without_judgement": "Responses that the judge could not decide.",
        "repeated_responses_dropped": "Equal responses to a prompt, which are ordered once.",
        "responses_without_logprob_dropped": "Responses too long for the policy to score.",
        "prompts_without_order": "Prompts whose rewards or log-probabilities are all equal, which have no tau.",
        "prompts_without_right_response": "Prompts that no right response was sampled for.",
        "queries_without_relevant_dropped": "Queries without a relevant document in the corpus.",
    },
    compare="numbers at other temperatures, n, prompts, reward models or judges; Pass@N and recall_at_n with a"
    " retriever's recall but in shape, as in the paper's figure 2; nDCG with 0, which no random order gets;"
    " log-probabilities with those per token: the sum favours short responses.",
)  # fmt: skip
