"""Arena-Hard v2.0 (Li et al. 2024, arXiv 2406.11939): a judge compares answers to difficult prompts with a baseline's.

The protocol is that of https://github.com/lmarena/arena-hard-auto (Apache-2.0). The code here is our own; the judge's
prompts, the verdicts and what counts as style are facts of the protocol, without which scores could not be compared.
"""

from larpo_lib.evaluation.benchmark import JUDGE_CHECK, JUDGED, POLICY, Benchmark, Number
from larpo_lib.steps.declarations import Input, Option, Step

_HARD = {"category": "hard_prompt", "title": "Hard prompts"}
_SCALE = "Not comparable with scores of another judge, baseline or category."

BENCHMARK = Benchmark(
    name="arena_hard",
    title="Arena-Hard v2.0",
    summary="Let a policy answer Arena-Hard's 500 hard prompts and 250 requests for creative writing, and let "
        "[arena_hard].judge compare each answer with the baseline's, once in each order.",
    settings_class="ArenaHardConfig",
    inputs=(
        Input("questions", help="The published question.jsonl of arena-hard-v2.0, may be .gz."),
        Input(
            "hard_prompt_baseline", "optional",
            "Answers to the hard prompts, officially o3-mini-2025-01-31.jsonl. Without it, these are not asked.",
        ),
        Input(
            "creative_writing_baseline", "optional",
            "Answers to the requests for creative writing, officially gemini-2.0-flash-001.jsonl. Without it, these "
            "are not asked.",
        ),
        POLICY,
        Input("answers", "optional", "Answers in Arena-Hard's format (uid, model, messages), instead of --policy."),
        JUDGE_CHECK,
    ),
    judged_by="an LLM, by comparison with a baseline's answers in both orders",
    needs="a judge's server",
    numbers=(
        Number(
            "{category}_style_controlled", "{title}, style-controlled win rate", "%",
            "Officially the score of hard prompts: the win rate at the mean difference in style (tokens, headers, "
            "lists, bold texts) of all models that were scored together. Of a model that is scored alone, this is its "
            "own style, and the number is close to the win rate; `larpo score arena-hard` scores several. "
            f"{_SCALE}",
            _HARD,
        ),
        Number(
            "{category}_equal_style", "{title}, win rate at equal style", "%",
            "The win rate that the same fit gives for answers in the style of the baseline's: as long, with as many "
            f"headers, lists and bold texts for their length. Not an official number. {_SCALE}",
            _HARD,
        ),
        Number(
            "{category}_win_rate", "{title}, win rate", "%",
            "The fraction of battles won; officially the score of creative writing. A verdict in either order is one "
            f"battle, a clear one (>>) three, a tie half a win. Long and marked-up answers increase it. {_SCALE}",
            _HARD,
        ),
    ),
    counts={
        "*_low, *_high, *_standard_error": "Bootstrap interval over questions, and standard error.",
        "questions": "Questions that the policy was to answer.",
        "not_asked": "Questions of a category without a baseline.",
        "unparsed": "Questions with a verdict that could not be read, or too_long_for_judge. arena_hard.unparsed sets "
            "what becomes of them.",
        "too_long_for_judge": "Questions that the judge's server rejected as too long.",
        "truncated_responses": "Responses that were cut at arena_hard.answers.max_new_tokens; they are judged as far "
        "as they go.",
        "*_dropped": "What was not judged: prompts that were too long, questions without an answer, and answers to "
            "other questions.",
    },
    compare="scores of different judges, against different baselines, of different categories, or for a part of the "
        "questions (arena_hard.partial); a style-controlled win rate with one that was fitted together with other "
        "models.",
    asks_by=("hard_prompt_baseline",),
    options=JUDGED,
    packages={"bpe_openai": "pip install 'larpo[arena-hard]'"},
    rescoring=Step(
        "arena_hard", "larpo_lib.evaluation.arena_hard.rescore:run", None,
        (
            Input("judgments", "many", "Judgements in Arena-Hard's format, of one model or several, may be .gz."),
            Input(
                "answers", "any",
                "Answers of the same models and of the baselines in Arena-Hard's format. Without them there are win "
                "rates alone, without style.",
            ),
        ),
        (),
        "Compute scores from stored judgements: {judge: {category: {model: {win_rate, style_controlled, equal_style, "
        "...}}}}.\n\nThe models of a category are fitted together, as on the official leaderboard. Questions with a "
        "verdict that cannot be read are left out and counted, as officially.",
        (
            Option(
                "ensemble", bool, "Count the verdicts of all judges as those of one, as the official configuration of "
                "creative writing does.", default=False,
            ),
        ),
    ),
)  # fmt: skip
