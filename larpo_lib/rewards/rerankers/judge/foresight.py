"""What judging will cost, told and limited before the first call."""

from collections.abc import Iterable, Sequence

from larpo_lib.errors import ConfigError
from larpo_lib.judging.decisions import CHARACTERS_PER_TOKEN, Decisions, shared_decisions
from larpo_lib.progress import tell
from larpo_lib.rewards.answers import Scorable
from larpo_lib.rewards.rerankers.judge.asking import MISSING, stored_reading
from larpo_lib.rewards.rerankers.judge.questions import JudgedList, Questions
from larpo_lib.rewards.rerankers.llm_judge import LlmJudgeRerankerConfig

_REMEDY = "Increase max_calls, or judge fewer responses or, if the mode is pairwise, set a lower max_comparisons"


def foresee(config: LlmJudgeRerankerConfig, label: str, lists: Iterable[Sequence[Scorable]]) -> None:
    """Tell how many calls judging some lists takes at most.

    What is stored is played through. Where a tournament or the windows of a long list depend on an answer that is not
    stored, the most calls that can follow are counted, each as long as the questions that are known.

    Args:
        config: the judge.
        label: of the work, such as "rerank".
        lists: responses to each prompt.

    Raises:
        ConfigError: there may be more calls than `max_calls`.
        LarpoError: as `Questions.lists`.
    """
    questions = Questions(config)
    calls, characters = 0, 0.0
    with shared_decisions(questions.folder) as store:
        for items in lists:
            for one in questions.lists(items).values():
                own, length = _left(config, questions, store, one)
                calls += own * config.attempts
                characters += own * config.attempts * length
        stored = len(store)
    require_affordable(config, label, calls, f", about {round(characters / CHARACTERS_PER_TOKEN):,} input tokens")
    if calls:
        tokens = f"about {round(characters / CHARACTERS_PER_TOKEN):,} input tokens"
        kept = f"{stored} decisions of this judge are already stored in {questions.folder}"
        tell(f"{label}: at most {calls:,} judge calls, {tokens}; {kept}")


def require_affordable(config: LlmJudgeRerankerConfig, label: str, calls: int, more: str = "") -> None:
    """Refuse more calls than `max_calls`.

    Raises:
        ConfigError: there may be more.
    """
    if config.max_calls is not None and calls > config.max_calls:
        raise ConfigError(
            f"{label} needs at most {calls:,} judge calls{more}, but max_calls is {config.max_calls:,}; none was made",
            remedy=_REMEDY,
        )


def _left(config: LlmJudgeRerankerConfig, questions: Questions, store: Decisions, one: JudgedList) -> tuple[int, float]:
    """The most questions about a list that are not stored, each asked once, and how long one of them is."""
    play, known = questions.play(one), 0
    try:
        texts = next(play)
        while True:
            readings = [stored_reading(config, questions, store, text) for text in texts]
            missing = [text for text, reading in zip(texts, readings, strict=True) if reading is MISSING]
            known += len(texts) - len(missing)
            if missing:
                left = questions.most_calls(one) - known
                return left, sum(map(len, missing)) / len(missing)
            texts = play.send(readings)
    except StopIteration:
        return 0, 0.0
