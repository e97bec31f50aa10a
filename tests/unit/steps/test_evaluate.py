import shutil
from collections import Counter

import pytest
from scripted_sampler import ScriptedSampler
from small_models import user, write_prompts

from larpo_lib.config import EvaluateConfig, ModelConfig, WatchConfig
from larpo_lib.errors import ConfigError, LarpoError
from larpo_lib.rewards.judges.verifier import VerifierJudgeConfig
from larpo_lib.rewards.rerankers.classifier import ClassifierConfig
from larpo_lib.rewards.rerankers.ensemble import EnsembleConfig, EnsembleMember
from larpo_lib.rewards.rerankers.length import LengthConfig
from larpo_lib.rewards.rerankers.pairrm import PairRmConfig
from larpo_lib.rewards.rerankers.regex import RegexConfig
from larpo_lib.rewards.rerankers.verifier import VerifierConfig
from larpo_lib.samplers import Response
from larpo_lib.samplers.hf import HfSamplerConfig
from larpo_lib.schemas import LENGTH, STOP, prompt_id
from larpo_lib.steps import evaluate, sample, watching
from larpo_lib.tables import read_table

QUESTIONS = [("Ann has 3", "#### 3"), ("Ben has 4", "#### 4"), ("Eva has 5", "#### 5")]
EXACT = VerifierConfig(mode="exact")
SETTINGS = {
    "sampler": HfSamplerConfig(model=ModelConfig(device="cpu")),
    "n": 2,
    "max_new_tokens": 6,
    "max_prompt_tokens": 64,
    "reranker": EXACT,
    "judge": VerifierJudgeConfig(),
    "resamples": 100,
}
ANSWERS = {  # two sampled responses and the greedy one
    "Ann has 3": ("#### 3", "#### 33", "#### 3"),
    "Ben has 4": ("#### 1", "#### 2", "#### 4"),
    "Eva has 5": ("#### 5", "#### 5", "#### 0"),
    "Tom has 3 pens": ("#### 3", "#### 3", "#### 3"),
}


class Scripted(ScriptedSampler):
    """A sampler that knows what to answer."""

    def sample(self, requests):
        responses = []
        for request in requests:
            answers = ANSWERS[request.messages[0]["content"]]
            drawn = sum(seen.prompt_id == request.prompt_id and seen.temperature > 0 for seen in self.requests)
            text = answers[2] if request.temperature == 0 else answers[drawn]
            self.requests.append(request)
            responses.append(Response(text, [1] * len(text), len(text), LENGTH if "33" in text else STOP))
        return responses


@pytest.fixture
def run(tiny_policy, tmp_path):
    def run(name="evaluation", questions=QUESTIONS, **changes):
        prompts = tmp_path / f"{name}-prompts"
        write_prompts(prompts, questions)
        config = EvaluateConfig(**SETTINGS | changes)
        metrics = evaluate.run(config, policy=tiny_policy, prompts=prompts, evaluation=tmp_path / name)
        return read_table(tmp_path / name, "evaluated"), metrics

    return run


@pytest.fixture
def scripted(monkeypatch):
    monkeypatch.setattr(sample, "make_sampler", lambda *_args, **_options: Scripted())


def test_metrics_of_a_scripted_policy_by_hand(run, scripted):
    rows, metrics = run()
    assert len(rows) == metrics["responses"] == 9
    assert metrics["prompts"] == 3
    assert metrics["too_long_to_score_dropped"] == metrics["prompts_too_long_dropped"] == 0
    assert metrics["accuracy"] == metrics["mean_reward"] == pytest.approx((0.5 + 0 + 1) / 3)
    assert metrics["pass_at_1"] == pytest.approx((0.5 + 0 + 1) / 3)
    assert metrics["pass_at_2"] == pytest.approx(2 / 3)
    assert metrics["best_of_n_reward"] == pytest.approx(2 / 3)
    assert metrics["greedy_accuracy"] == metrics["greedy_reward"] == pytest.approx(2 / 3)
    assert metrics["accuracy_low"] <= metrics["accuracy"] <= metrics["accuracy_high"]
    assert metrics["truncated_share"] == pytest.approx(1 / 9)
    assert metrics["distinct_share"] == pytest.approx(7 / 9)


def test_every_response_is_published_with_its_judgement(run, scripted):
    rows, _ = run()
    ann = [row for row in rows if row["prompt_id"] == prompt_id(user("Ann has 3"))]
    assert [(row["response"], row["correct"], row["reward"], row["rank"]) for row in ann] == [
        ("#### 3", True, 1.0, 1),
        ("#### 33", False, 0.0, 3),
        ("#### 3", True, 1.0, 1),
    ]
    assert [row["temperature"] for row in ann] == [1.0, 1.0, 0.0]
    assert {row["iteration"] for row in rows} == {0}


def test_the_judge_of_rewards_need_not_judge_right_and_wrong(run, scripted):
    _, metrics = run(reranker=VerifierConfig(mode="graded"))
    assert metrics["mean_reward"] == pytest.approx((0.4 + 0.1 + 0.7) / 3)
    assert metrics["accuracy"] == pytest.approx(0.5)


class Hesitant:
    """A judge that decides short responses only, and calls those right. Remembers what it was shown."""

    name = "hesitant"

    def __init__(self, longest):
        self._longest = longest
        self.shown = []
        self.prompts = []

    def judge(self, items):
        self.shown += items
        self.prompts.append(len({item.prompt_id for item in items}))
        return [True if len(item.response) <= self._longest else None for item in items]


def test_undecided_responses_are_published_as_null_and_counted(run, scripted, monkeypatch):
    monkeypatch.setattr(evaluate, "make_judge", lambda _: Hesitant(len("#### 3")))
    rows, metrics = run()
    assert [row["response"] for row in rows if row["correct"] is None] == ["#### 33"]
    assert metrics["responses_without_judgement"] == 1
    assert metrics["responses"] == 9
    assert metrics["accuracy"] == 1.0
    assert (metrics["pass_at_1_prompts"], metrics["pass_at_2_prompts"]) == (3, 2)
    assert metrics["mean_reward"] == pytest.approx(0.5)  # the verifier still gives the rewards


def test_a_judge_that_decides_nothing_is_no_judge(run, scripted, monkeypatch):
    monkeypatch.setattr(evaluate, "make_judge", lambda _: Hesitant(0))
    with pytest.raises(LarpoError, match="the judge verifier could not judge any of the sampled responses"):
        run()


def test_the_judge_is_shown_what_each_response_answers(run, scripted, monkeypatch):
    judge = Hesitant(99)
    monkeypatch.setattr(evaluate, "make_judge", lambda _: judge)
    run()
    shown = Counter((item.messages[0]["content"], item.response, item.reference) for item in judge.shown)
    assert shown == Counter(
        (question, text, reference) for question, reference in QUESTIONS for text in ANSWERS[question]
    )


def test_shards_have_the_asked_size_and_change_nothing(run, monkeypatch):
    judge = Hesitant(99)
    monkeypatch.setattr(evaluate, "make_judge", lambda _: judge)
    assert run("small", part_prompts=2) == run("large")
    assert judge.prompts == [2, 1, 3]


def test_without_a_judge_rewards_are_all(run, scripted):
    rows, metrics = run(judge=None)
    assert {row["correct"] for row in rows} == {None}
    assert metrics["accuracy"] is metrics["pass_at_1"] is metrics["greedy_accuracy"] is None
    assert metrics["mean_reward"] == pytest.approx(0.5)


def test_limit_takes_the_first_prompts_by_their_ids(run, scripted):
    rows, metrics = run(limit=1)
    assert metrics["prompts"] == 1
    assert {row["prompt_id"] for row in rows} == {min(prompt_id(user(text)) for text, _ in QUESTIONS)}


def test_too_long_prompts_are_dropped_and_counted(run, scripted):
    _, metrics = run(questions=[*QUESTIONS, ("one two three four", "#### 1")], max_prompt_tokens=3)
    assert (metrics["prompts"], metrics["prompts_too_long_dropped"]) == (3, 1)
    with pytest.raises(LarpoError, match=r"no prompt is left to evaluate on\. Increase evaluate.max_prompt_tokens"):
        run("none", max_prompt_tokens=2)


def test_responses_that_cannot_be_scored_are_counted(run, scripted, tiny_classifier):
    def classifier(max_tokens):
        return ClassifierConfig(path=str(tiny_classifier), model=ModelConfig(device="cpu"), max_tokens=max_tokens)

    _, metrics = run(questions=[*QUESTIONS, ("Tom has 3 pens", "#### 3")], reranker=classifier(8))
    assert (metrics["responses"], metrics["too_long_to_score_dropped"]) == (9, 3)  # pens are the ninth token
    with pytest.raises(LarpoError, match=r"no sampled response could be scored\. Increase the reranker's max_tokens"):
        run("none", reranker=classifier(7))


def test_rewards_that_cannot_compare_policies_are_refused(run, tmp_path):
    member = EnsembleMember(reranker=EXACT)
    with pytest.raises(
        ConfigError, match=r"evaluate\.reranker: the scores of 'ensemble' are only comparable .* Set evaluate"
    ):
        run(reranker=EnsembleConfig(members=(member, member)))
    with pytest.raises(ConfigError, match="the scores of 'pairrm' are only comparable within one list"):
        run("other", reranker=PairRmConfig(path=str(tmp_path / "nothing")))


def test_an_ensemble_with_a_fixed_scale_can_compare_policies(run, scripted):
    member = EnsembleMember(reranker=EXACT, mean=0.5, std=0.25)
    rows, _ = run(reranker=EnsembleConfig(members=(member, member)))
    assert {row["reward"] for row in rows} == {-4.0, 4.0}


def test_a_reference_without_number_is_refused_before_anything_is_sampled(run, monkeypatch):
    monkeypatch.setattr(sample, "make_sampler", None)
    with pytest.raises(LarpoError, match="reference None, but the verifier needs a number"):
        run(questions=[("Ann has 3", None)])


def test_a_real_policy_evaluates_to_the_same_bytes(run, tmp_path):
    rows, metrics = run("a")
    run("b")
    assert (tmp_path / "a" / "evaluated.parquet").read_bytes() == (tmp_path / "b" / "evaluated.parquet").read_bytes()
    assert (tmp_path / "a" / "metrics.json").read_bytes() == (tmp_path / "b" / "metrics.json").read_bytes()
    assert len(rows) == 9
    assert metrics["responses"] == 9


def test_a_prompts_responses_do_not_depend_on_the_other_prompts(run):
    alone, _ = run("alone", questions=QUESTIONS[:1])
    among, _ = run("among")
    first = alone[0]["prompt_id"]
    assert alone == [row for row in among if row["prompt_id"] == first]


SHORT = WatchConfig(name="short", reranker=LengthConfig(unit="characters", longest=6))
THREES = WatchConfig(name="threes", reranker=RegexConfig(pattern="3"))


def test_watches_score_the_same_responses_by_hand(run, scripted, tmp_path):
    plain, without = run("plain")
    rows, metrics = run("watched", watch=(SHORT, THREES))
    assert rows == plain
    assert {name: value for name, value in metrics.items() if not name.startswith("watch_")} == without
    assert metrics["watch_short"] == pytest.approx(((1 + 6 / 7) / 2 + 1 + 1) / 3)
    assert metrics["watch_short_greedy"] == 1.0
    assert metrics["watch_threes"] == metrics["watch_threes_greedy"] == pytest.approx(1 / 3)
    assert metrics["watch_threes_low"] <= metrics["watch_threes"] <= metrics["watch_threes_high"]
    assert metrics["watch_threes_too_long_to_score_dropped"] == 0
    watched = read_table(tmp_path / "watched", "watched")
    assert len(watched) == 2 * 9
    ann = [row for row in watched if row["prompt_id"] == prompt_id(user("Ann has 3")) and row["watch"] == "short"]
    assert [(row["sample_index"], row["temperature"], row["reward"]) for row in ann] == [
        (0, 1.0, 1.0), (1, 1.0, pytest.approx(6 / 7)), (2, 0.0, 1.0),
    ]  # fmt: skip
    assert not (tmp_path / "plain" / "watched.parquet").exists()


def test_a_stopped_watch_goes_on_and_samples_and_scores_nothing_again(run, scripted, tmp_path, monkeypatch):
    make, made = watching.make_reranker, []

    def make_or_stop(config):
        if len(made) == 1:
            made.append(config)
            raise KeyboardInterrupt
        made.append(config)
        return make(config)

    monkeypatch.setattr(watching, "make_reranker", make_or_stop)
    with pytest.raises(KeyboardInterrupt):
        run("one", watch=(SHORT, THREES))
    monkeypatch.setattr(sample, "make_sampler", None)
    monkeypatch.setattr(evaluate, "make_reranker", None)
    shutil.rmtree(tmp_path / "one-prompts")  # written again
    _, metrics = run("one", watch=(SHORT, THREES))
    assert made == [SHORT.reranker, THREES.reranker, THREES.reranker]
    assert metrics["watch_threes"] == pytest.approx(1 / 3)


def test_a_watch_that_scores_nothing_or_cannot_compare_policies_is_refused(run, scripted, tiny_classifier, tmp_path):
    short = ClassifierConfig(path=str(tiny_classifier), model=ModelConfig(device="cpu"), max_tokens=7)
    with pytest.raises(
        LarpoError, match=r"evaluate\.watch 'one' could not score any .*Increase the reranker's max_tok"
    ):
        run("none", watch=(WatchConfig(name="one", reranker=short),))
    pairs = WatchConfig(name="pairs", reranker=PairRmConfig(path=str(tmp_path / "nothing")))
    with pytest.raises(ConfigError, match=r"evaluate\.watch pairs: the scores of 'pairrm' are only comparable within"):
        run("other", watch=(pairs,))


def test_what_was_made_without_a_watch_is_found_again():
    assert "watch" not in EvaluateConfig(**SETTINGS).identity()
    assert EvaluateConfig(**SETTINGS, watch=(SHORT,)).identity()["watch"][0]["name"] == "short"


@pytest.mark.parametrize(
    ("watch", "told"),
    [
        ((SHORT, SHORT), "watch contains the name 'short' twice"),
        ((WatchConfig(name="same", reranker=EXACT),), "watch 'same' has the settings of evaluate.reranker"),
    ],
)
def test_watches_that_say_nothing_new_are_refused(watch, told):
    with pytest.raises(ValueError, match=told):
        EvaluateConfig(**SETTINGS, watch=watch)
