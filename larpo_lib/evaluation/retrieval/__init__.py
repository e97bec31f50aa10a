"""The policy as a retriever of responses, and retrievers of documents on the same axes."""

from larpo_lib.evaluation.benchmark import POLICY, Benchmark, Number
from larpo_lib.steps.declarations import Input

BENCHMARK = Benchmark(
    name="retrieval",
    title="The policy as a retriever",
    summary="Measure a policy as a retriever of responses, and retrievers of documents in the same way.",
    settings_class="RetrievalConfig",
    inputs=(
        POLICY,
        Input("prompts", "optional"),
        Input("evaluated", "optional", "Evaluation that `larpo evaluate` made with the policy and prompts."),
        Input("queries", "optional", "Queries in BEIR's format: queries.jsonl, with _id and text."),
        Input("corpus", "optional", "Documents: corpus.jsonl, with _id, title and text."),
        Input("relevance", "optional", "Relevant documents: a .tsv or .jsonl file with query-id, corpus-id and score."),
    ),
    judged_by="the same as for `larpo evaluate`; relevance files",
    needs="an evaluation",
    numbers=(
        Number(
            "pass_at_{n}", "Pass@{n}", "",
            "Probability that at least one of N sampled responses is right. It corresponds to recall among N "
            "documents with one relevant document. Not an accuracy: choosing the right response needs the answer.",
        ),
        Number(
            "majority_accuracy", "Majority vote", "",
            "Fraction of prompts where the most frequent number among the responses is right; ties are broken "
            "at random. Not comparable with votes of another size.",
            by_n=True,
        ),
        Number(
            "best_of_{n}_reward", "Best of {n}", "",
            "Expected highest reward of N sampled responses. Rewards of different reward models have different units.",
            by_reward=True,
        ),
        Number(
            "ndcg", "nDCG", "",
            "How well the policy's log-probabilities rank its own distinct responses; the gain of a response is "
            "its reward minus the prompt's lowest reward. 1 is the reward model's order. A random order "
            "scores far above 0, so compare with that value.",
            by_n=True, by_reward=True,
        ),
        Number(
            "kendall_tau", "Kendall's tau", "",
            "Rank correlation of log-probability and reward over a prompt's distinct responses, from -1 to 1. "
            "Log-probability favours short responses.",
            by_n=True, by_reward=True,
        ),
        Number(
            "kendall_tau_per_token", "Kendall's tau, per token", "",
            "The same for the mean log-probability of a token. Not comparable with the value for the sum.",
            by_n=True, by_reward=True,
        ),
        Number(
            "recall_at_{n}", "Recall@{n}", "",
            "Fraction of a prompt's right distinct responses that are among the N most probable ones, over "
            "prompts with at least one right response. It depends on how many were sampled.",
            by_n=True,
        ),
        Number(
            "{key}_recall_at_{n}", "{retriever}, Recall@{n}", "",
            "Fraction of a query's relevant documents that are among the first N found by {retriever}. Not "
            "comparable across corpora; with the policy's Recall@N or Pass@N, only the shape is comparable.",
            {"key": "bm25", "retriever": "BM25"},
            by_responses=False,
        ),
    ),
    counts={
        "*_low, *_high, *_standard_error": "Bootstrap interval over prompts or queries, and standard error.",
        "too_long_to_score_dropped": "Responses, greedy ones included, that the evaluation lacks, because its reward "
        "model could not score them.",
        "responses_without_judgement": "Responses that the judge could not judge.",
        "repeated_responses_dropped": "Identical responses to a prompt, which are ranked once.",
        "responses_without_logprob_dropped": "Responses too long for the policy to score.",
        "prompts_without_order": "Prompts without a tau, because all rewards or log-probabilities are equal.",
        "prompts_without_right_response": "Prompts without a right sampled response.",
        "queries_without_relevant_dropped": "Queries without a relevant document in the corpus.",
        "queries_in_corpus": "Queries whose id is that of a document, too. As in BEIR, it is left out of what is found "
        "for this query.",
    },
    compare="numbers at different temperatures, n, prompts, reward models or judges; Pass@N or recall_at_n with a "
        "retriever's recall, except for the shape of the curves, as in the paper's figure 2; nDCG with 0, which "
        "is not the value of a random order; log-probabilities with log-probabilities per token: the sum "
        "favours short responses.",
    asks_by=("prompts", "evaluated"),
)  # fmt: skip
