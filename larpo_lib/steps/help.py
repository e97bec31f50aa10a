"""Longer help texts of steps' commands."""

PREPARE = """Read prompts, demonstrations or ranked responses from files, directories, a data set's name or s3://.

The output options decide what is made: --prompts (and --heldout) from [prepare], --demonstrations from
[demonstrations], or --prompts with --ranked from a [prepare] source with scored responses.
"""

EVALUATE = """Measure a policy on held-out prompts: mean reward, accuracy, Pass@N, best-of-N.

mean_reward, accuracy: means over prompts of the evaluate.n sampled responses; *_low, *_high: bootstrap
intervals over prompts. pass_at_i: unbiased probability that at least one of i sampled responses is right, over the
pass_at_i_prompts prompts with at least i judged responses. best_of_n_reward: expected highest reward of n, over
best_of_n_prompts prompts. greedy_reward, greedy_accuracy: for one greedy response per prompt.
responses_without_judgement: responses that the judge could not judge, excluded from accuracy and Pass@N.
too_long_to_score_dropped: responses without a reward. responses_with_thoughts, thoughts_unfinished: responses with a
<think> block, and those without its end, which have no reply to score. distinct_share, truncated_share, mean_tokens,
duplicate_share, distinct_2: statistics of all responses, the greedy ones too. watch_NAME, watch_NAME_low,
watch_NAME_high, watch_NAME_greedy: the same means of each further reward in evaluate.watch, and
watch_NAME_too_long_to_score_dropped.

Do not compare rewards of different rerankers, which have no unit; accuracies and Pass@N at different temperatures, n,
length limits or on different prompts; Pass@N with an accuracy; or any of these with the paper's tables, whose numbers
are AlpacaEval 2 win rates, MixEval scores and GSM8K accuracies by other judges. Tables 2 and 3 of the paper use
different judges for the same models and are not comparable with each other either. The reward of the reranker used in
training is not a measure of quality: a policy learns to please it. For benchmarks, use `larpo benchmark`;
docs/evaluation.md explains each number.
"""
