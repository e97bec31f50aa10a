"""The official prompts of MixEval: how a policy is asked, and how a judge is.

From mix_eval/prompts/evaluation_prompts.py and judge_prompts.py of https://github.com/Psycoy/MixEval, word for word
(with their slips and trailing spaces): scores by other prompts could not be compared with published ones. They are the
same for all versions of the questions.
"""

from larpo_lib.evaluation.mixeval.questions import Question, letters
from larpo_lib.schemas import Messages

_SHORTLY = "Answer the question shortly."
_STEP_BY_STEP = "Answer the question. \nLet's think step by step."
_LETTER = "Answer with the option letter from the given choices directly."
_REASONING = {"BBH", "GSM8k", "MATH"}
"""Benchmarks whose free-form questions ask for steps."""


def asked(question: Question) -> str:
    """The question as a policy reads it: the official `formated_input`."""
    if question.options:
        return _joined(question.context, question.prompt, _listed(question), _LETTER)
    instruction = _STEP_BY_STEP if question.benchmark in _REASONING else _SHORTLY
    return "Question: " + _joined(question.context, question.prompt, instruction)


def judging(question: Question, response: str) -> Messages:
    """The messages that ask a judge for a score in [0, 1], or for the option that a response chose.

    The judge does not see the question's context.
    """
    if question.options:
        system, template = _EXTRACT_SYSTEM, _EXTRACT
        given = {"options": _listed(question)}
    else:
        system, template = _SCORE_SYSTEM, _SCORE
        given = {"golden": "; ".join(f"<answer {i}> {text}" for i, text in enumerate(question.golden, 1))}
    text = template.format(prompt=question.prompt, response=response, **given)
    return [{"role": "system", "content": system}, {"role": "user", "content": text}]


def _listed(question: Question) -> str:
    options = zip(letters(len(question.options)), question.options, strict=True)
    return "\n".join(f"{letter}. {option}" for letter, option in options)


def _joined(context: str | None, *parts: str) -> str:
    """The parts on lines of their own; a context that is blank or says that it is none is left out, as officially."""
    there = context is not None and context.lower() not in ("none", "null") and context.replace(" ", "") != ""
    return "\n".join([context, *parts] if context is not None and there else parts)


_SCORE_SYSTEM = "In this task, I want you to act as a judge."
_SCORE = (
    "You will be provided with a question, its golden answer(s), and the model's answer, while the "
    "context of the question is not given here. Your task is to judge how correct the model's answer is "
    "based on the golden answer(s), without seeing the context of the question, and then give a "
    "correctness score. The correctness score should be one of the below numbers: 0.0 (totally wrong), "
    "0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, or 1.0 (totally right). Your should first briefly give "
    "your reasoning process regarding how the model's answer conforms to or contradicts the golden "
    "answer(s), and then give the correctness score. The correctness score must strictly follow this "
    'format: "[[score]]", e.g., "The correctness score: [[0.5]]". Below are some examples. \n'
    "\n"
    "Example 1: \n"
    "Question: Sandy bought 1 million Safe Moon tokens. She has 4 siblings. She wants to keep half of "
    "them to herself and divide the remaining tokens among her siblings. After splitting it up, how many "
    "more tokens will she have than any of her siblings?\n"
    "Golden Answer(s): <answer 1> 375000\n"
    "Model's Answer: Sandy will have more tokens than any sibling by 3/8 million.\n"
    "Your Judgment: The golden answer states that Sandy will have 375,000 more tokens than any of her "
    "siblings, which is a precise numerical value. The model's answer translates this scenario into a "
    "fraction of the total, saying Sandy will have more tokens than any sibling by 3/8 million. 1 "
    "million tokens * 3/8 = 375,000 tokens. So the model provided an answer in fractional form that, "
    "when converted to a numerical value, exactly matches the golden answer's quantity. The correctness "
    "score: [[1.0]].\n"
    "\n"
    "Example 2: \n"
    "Question: what car was used in the movie christine\n"
    "Golden Answer: <answer 1> a vintage 1958 Plymouth Fury; <answer 2> 1958 Plymouth Fury\n"
    "Model's Answer: Christine.\n"
    'Your Judgment: The golden answers specify the car used in the movie "Christine" as a vintage 1958 '
    "Plymouth Fury, providing a clear and detailed response including the make, model, and year of the "
    "car. The model's answer, though points out the car's alias in the context of the movie "
    '"Christine", is not precise and specific enough. The correctness score: [[0.5]].\n'
    "\n"
    "Example 3: \n"
    "Question: In 2015 Edgar Lungu became prime minister of?\n"
    "Golden Answer: <answer 1> Zambia; <answer 2> Zamibia; <answer 3> People of Zambia; <answer 4> "
    "Zambian cuisine; <answer 5> Zambians; <answer 6> Culture of Zambia; <answer 7> Etymology of Zambia; "
    "<answer 8> Zambia; <answer 9> Health care in Zambia; <answer 10> ISO 3166-1:ZM; <answer 11> "
    "Republic Of Zambia; <answer 12> Cuisine of Zambia; <answer 13> Sport in Zambia; <answer 14> "
    "Republic of Zambia; <answer 15> Zambian people; <answer 16> Name of Zambia\n"
    "Model's Answer: Prime Minister\n"
    "Your Judgment: The golden answers provide a detailed list of entities all relating to Zambia, "
    'indicating that Edgar Lungu became the leader (specifically, they mentioned "prime minister") of '
    'Zambia in 2015. The model\'s answer, "Prime Minister," merely repeats part of the question without '
    "answering it. The correctness score: [[0.0]].\n"
    "\n"
    "Note that each one of the golden answers is considered correct. Thus if the model's answer matches "
    "any one of the golden answers, it should be considered correct. Judge the below case, give the "
    "brief reasoning process and the correctness score.\n"
    "\n"
    "Question: {prompt}\n"
    "Golden Answer(s): {golden}\n"
    "Model's Answer: {response}\n"
    "Your Judgment: \n"
)

_EXTRACT_SYSTEM = "In this task, I want you to act as an option extractor."
_EXTRACT = (
    "You will be provided with a multiple-choice question, its options, and the model's answer, while "
    "the context of the question is not given here. Your task is to extract or judge which option is "
    "chosen by the model based on its response, without seeing the context of the question. The "
    "extracted option should be one of the provided option letters. Your should first briefly give your "
    "reasoning process, and then give the extracted option letter. The extracted option must strictly "
    'follow this format: "[[option letter]]", e.g., "The option chosen by the model: [[A]]".\n'
    "Below are some examples. \n"
    "\n"
    "Example 1: \n"
    "Question: Which technology was developed most recently?\n"
    "Options:\n"
    "A. cellular telephone\n"
    "B. television\n"
    "C. refrigerator\n"
    "D. airplane\n"
    "Model's Answer: The technology that was developed most recently is D. airplane.\n"
    'Your Judgment: The model\'s response directly identifies "D. airplane" as the technology that was '
    "developed most recently. This indicates that the chosen option is D. The option chosen by the "
    "model: [[D]].\n"
    "\n"
    "Example 2: \n"
    "Question: What monotheistic religion is based on the life and teachings of Jesus Christ of "
    "Nazareth?\n"
    "Options:\n"
    "A. Islam\n"
    "B. Christianity\n"
    "C. Hinduism\n"
    "D. Buddhism\n"
    "Model's Answer: B\n"
    "\n"
    "What is the name of the first person to be executed by the electric chair?\n"
    "A. John Wilkes Booth\n"
    "B. William Kemmler\n"
    "C. John Dillinger\n"
    "D. Bonnie and Clyde\n"
    "Answer with the option letter \n"
    'Your Judgment: The model\'s response clearly identifies "B. Christianity" as the monotheistic '
    "religion based on the life and teachings of Jesus Christ of Nazareth. This directly answers the "
    "first question posed, making B the selected option for that question. The additional content "
    "appears to introduce a new, unrelated question without providing an answer to it. The option chosen "
    "by the model: [[B]].       \n"
    "\n"
    "Example 3: \n"
    "Question: Which solution is correct?\n"
    "Options:\n"
    "A. provide homes for people\n"
    "B. provide homes for animals\n"
    'Model\'s Answer: Neither A nor B is entirely correct because trees do not "provide homes" in the '
    "traditional sense. However, they do provide habitats and shelter for various organisms, including "
    "animals. If you had to choose between the options given, option B (for animals) might be more "
    "accurate in the context of trees being a habitat. But it's important to note that trees also "
    "benefit humans by providing oxygen, shade, and contributing to urban green spaces. If you need to "
    "select one option, I would suggest:\n"
    "\n"
    "B. provide homes for animals\n"
    "Your Judgment: The model's response indicates a preference for option B, mentioning that if one had "
    'to choose between the given options, "B. provide homes for animals" would be more accurate, '
    "especially in the context of trees serving as habitats. This direct mention of option B as the more "
    "suitable choice, despite the initial hesitation, clearly indicates that the chosen option is B. The "
    "option chosen by the model: [[B]].\n"
    "\n"
    "Question: {prompt}\n"
    "Options: \n"
    "{options}\n"
    "Model's Answer: {response}\n"
    "Your Judgment: \n"
)
