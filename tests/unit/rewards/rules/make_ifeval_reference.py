"""Writes `ifeval_reference.json`: which instructions lm-eval's IFEval finds followed in responses of many forms.

    pip download --no-deps lm-eval==0.4.13 && unzip lm_eval-0.4.13-py3-none-any.whl -d lm_eval_wheel
    PYTHONPATH=.:tests/unit python tests/unit/rewards/rules/make_ifeval_reference.py lm_eval_wheel

Its modules of IFEval, which are Google's, are run without the rest of the package. langdetect draws from the seed 0,
and NLTK reads the small Punkt model of the tests.
"""

import json
import logging
import random
import sys
import tempfile
from pathlib import Path
from types import ModuleType
from typing import Any

from small_punkt import write_punkt

OUTPUT = Path(__file__).with_name("ifeval_reference.json")
ROWS = 66
CAPITALS = "NASA AND THE BBC AGREE: WATER BOILS, AND THE FERRY LEAVES AT SEVEN"
TEXTS = (
    "Dear reader, the harbour wakes early. Gulls cry, nets dry, and Dr. Moss counts the boats.\nNobody is in a hurry.",
    "# A plan\n\n* Buy rice, beans and salt.\n* Cook them slowly.\n* Share the pot!\n\nThat is all you need.",
    "The ferry leaves at 7.30 a.m. from pier 4. Is it late? No: it waits for Mr. Bell, who is never on time.",
    "- first, rinse the cup\n- then **dry it**\n- at last put *it* back\n\nDone. Call me [name] at [number].",
    "Water boils at 100 degrees; on a high mountain it boils sooner. NASA and the BBC have both shown it.",
    "Der Zug nach Bremen hat heute Verspätung. Wir warten am Bahnsteig und trinken heißen Tee.",
    "Le marché ouvre à huit heures. Les enfants courent entre les étals et rient beaucoup.",
    "Two friends met in the rain. One had an umbrella. The other had cake. They stayed for hours, and the cake went.",
)
ODD = ("", "   ", "***", "12 34", "*a*", "** **", "- x\n* y", "'Hello' you", '"Hi there"', "******", "<<>>", "{}", "[]")


def changed(number: int, draw: random.Random) -> str:
    """One of the texts, changed into a form that an instruction may ask for; each form in its turn."""
    text = draw.choice(TEXTS)
    lines = text.split("\n")
    forms = (
        text, text.upper(), text.lower(), CAPITALS, f'"{text}"', text.replace(",", ""), "\n***\n".join([*lines, text]),
        f"*** {text} *** end ***", f"{text}\n\nP.S. see you", f"{text}\np. p. s. and more", f"{text} ****** other",
        f"{text} ****** {text}", f"SECTION 1\n{text}\nSECTION 2\n{text}",
        "```json\n" + json.dumps({"a": text}) + "\n```", json.dumps([text]), f"<<a title>>\n{text}",
        f"{text}\nMy answer is no.", f"Sure, here it is:\n{text.lower()}",
        "\n\n".join([*lines, text]), f"{text} Any other questions?", draw.choice(ODD), draw.choice(ODD),
    )  # fmt: skip
    return forms[number % len(forms)]


def arguments(name: str, text: str, draw: random.Random) -> dict[str, Any]:
    """Arguments of an instruction, so that some responses follow it and some do not."""
    words = ["".join(filter(str.isalnum, word)) or "the" for word in text.split()] or ["the"]
    relation, count = draw.choice(("less than", "at least")), draw.randint(1, 5)
    first = draw.choice([words[0], draw.choice(words)])
    known: dict[str, dict[str, Any]] = {
        "keywords:existence": {"keywords": draw.sample([*words, "the", "and"], 2)},
        "keywords:frequency": {"keyword": draw.choice(words), "frequency": count, "relation": relation},
        "keywords:forbidden_words": {"forbidden_words": [draw.choice(words)[: count + 1], "zebra"]},
        "keywords:letter_frequency": {
            "letter": draw.choice("aeTz"), "let_frequency": 4 * count, "let_relation": relation
        },
        "language:response_language": {"language": draw.choice(("en", "de", "fr"))},
        "length_constraints:number_sentences": {"num_sentences": count, "relation": relation},
        "length_constraints:number_paragraphs": {"num_paragraphs": draw.randint(1, 3)},
        "length_constraints:number_words": {"num_words": 6 * count, "relation": relation},
        "length_constraints:nth_paragraph_first_word": {
            "num_paragraphs": count, "nth_paragraph": draw.randint(1, count), "first_word": first
        },
        "detectable_content:number_placeholders": {"num_placeholders": draw.randint(1, 3)},
        "detectable_content:postscript": {"postscript_marker": draw.choice(("P.S.", "P.P.S", "see"))},
        "detectable_format:number_bullet_lists": {"num_bullets": draw.randint(1, 4)},
        "detectable_format:number_highlighted_sections": {"num_highlights": draw.randint(1, 4)},
        "detectable_format:multiple_sections": {
            "section_spliter": draw.choice(("SECTION", "Section")), "num_sections": 2
        },
        "combination:repeat_prompt": {"prompt_to_repeat": draw.choice((text[:20].strip() or "so", "sure"))},
        "startend:end_checker": {"end_phrase": draw.choice((text[-12:].strip() or "so", "Any other questions?"))},
        "change_case:capital_word_frequency": {"capital_frequency": count, "capital_relation": relation},
    }  # fmt: skip
    return known.get(name, {})


def published(wheel: Path) -> Any:
    """lm-eval's module that tests responses."""
    for name in ("lm_eval", "lm_eval.tasks"):
        package = ModuleType(name)
        package.__path__ = [str(wheel / name.replace(".", "/"))]
        sys.modules[name] = package
    frozen = ModuleType("immutabledict")
    frozen.immutabledict = dict  # type: ignore[attr-defined]
    sys.modules["immutabledict"] = frozen
    from lm_eval.tasks.ifeval import utils

    return utils


def main(wheel: Path) -> None:
    import nltk
    from langdetect import DetectorFactory

    DetectorFactory.seed = 0
    logging.disable(logging.CRITICAL)
    nltk.data.path[:] = [str(write_punkt(Path(tempfile.mkdtemp())))]
    theirs, draw, rows = published(wheel), random.Random(0), []
    names = sorted(theirs.instructions_registry.INSTRUCTION_DICT)
    for i in range(ROWS):
        response = changed(i, draw)
        given = [arguments(name, response, draw) for name in names]
        asked = theirs.InputExample(i, names, "", given)
        row = {"response": response, "kwargs": given}
        for mode in ("strict", "loose"):
            told = getattr(theirs, f"test_instruction_following_{mode}")(asked, response)
            row[mode] = [int(bool(each)) for each in told.follow_instruction_list]
        rows.append(row)
    provenance = "lm-eval 0.4.13 from PyPI (IFEval: Google, Apache-2.0), by make_ifeval_reference.py beside this file"
    lines = ",\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    OUTPUT.write_text(
        f'{{"provenance": {json.dumps(provenance)},\n"names": {json.dumps(names)},\n"rows": [\n{lines}\n]}}\n', "utf-8"
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
