"""IFEval's instructions as a reranker."""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import PositiveFloat

from larpo_lib.config.kinds import RuleRerankerConfig
from larpo_lib.errors import ColumnError
from larpo_lib.rewards.answers import Scorable
from larpo_lib.rewards.rerankers import Reranker
from larpo_lib.rewards.rerankers._rules import RuleReranker, Verdict, of_row
from larpo_lib.rewards.rules.checks import judged_instructions
from larpo_lib.rewards.rules.ifeval import read_instructions
from larpo_lib.rewards.rules.instruction import Instruction
from larpo_lib.rewards.rules.sentences import DOWNLOAD, has_punkt

_LANGUAGE_UNKNOWN, _OUT_OF_TIME = "ifeval_language_unknown", "ifeval_out_of_time_dropped"


class IfevalConfig(RuleRerankerConfig):
    """Which of a prompt's instructions a response follows, by the rules of IFEval (Zhou et al. 2023).

    The columns are those of IFEval's own data. An instruction that counts sentences or words in capital letters needs
    NLTK's model of English sentences: `python -m nltk.downloader punkt_tab`. A response that takes longer than
    `timeout_s` is dropped and counted.
    """

    does: ClassVar[str] = "how many of the prompt's instructions are followed"
    when: ClassVar[str] = "prompts state how a response must look"
    packages: ClassVar[tuple[str, ...]] = ("langdetect", "nltk")
    execution: ClassVar[frozenset[str]] = frozenset({"timeout_s"})

    type: Literal["ifeval"] = "ifeval"
    mode: Literal["strict", "loose"] = "strict"
    """`strict`: the response as it is. `loose`: an instruction is also followed if the response follows it without its
    first line, its last line, or both, or without `*`."""
    score: Literal["share", "all"] = "share"
    """`share`: the share of instructions that are followed. `all`: 1 if all are followed, else 0."""
    instructions_column: str = "instruction_id_list"
    """Column with the names of the prompt's instructions, a list."""
    arguments_column: str = "kwargs"
    """Column with the arguments of each instruction: a list of tables, or JSON of one. Null: not an argument of it."""
    timeout_s: PositiveFloat = 1.0
    """Seconds of processor time that one response may take."""

    @property
    def columns(self) -> frozenset[str]:
        """The instructions and their arguments."""
        return frozenset({self.instructions_column, self.arguments_column})

    def check_columns(self, columns: Mapping[str, Any]) -> None:
        """Every instruction, and whether what it needs is here."""
        self.instructions(columns)

    def instructions(self, columns: Mapping[str, Any]) -> list[Instruction]:
        """The instructions of a prompt.

        Raises:
            ColumnError: they cannot be read, or need a model that is missing.
        """
        ids, arguments = of_row(columns, self.instructions_column), of_row(columns, self.arguments_column)
        try:
            found = read_instructions(ids, arguments)
        except ValueError as error:
            remedy = "Write instructions and arguments as IFEval's data have them"
            raise ColumnError(str(error), field=self.instructions_column, remedy=remedy) from None
        needing = [each.id for each in found if each.needs_punkt]
        if needing and not has_punkt():
            problem = f"{needing[0]} needs NLTK's model of English sentences, punkt_tab, which is not here"
            raise ColumnError(problem, field=self.instructions_column, remedy=DOWNLOAD)
        return found

    def make(self) -> Reranker:
        """Nothing is loaded."""
        return IfevalReranker(self)


class IfevalReranker(RuleReranker[IfevalConfig]):
    """Scores a response by the instructions that it follows.

    Where an instruction asks for a language, a response without letters counts as following it, as in IFEval; such
    responses are counted.
    """

    counts: ClassVar[tuple[str, ...]] = (_LANGUAGE_UNKNOWN, _OUT_OF_TIME)

    def verdict(self, item: Scorable) -> Verdict:
        """The share of instructions that it follows, or whether it follows all; None if that takes too long to tell."""
        instructions = self._config.instructions(item.columns)
        loose = self._config.mode == "loose"
        told = judged_instructions(instructions, item.response, loose=loose, timeout_s=self._config.timeout_s)
        if told is None:
            return Verdict(None, _OUT_OF_TIME)
        score = float(all(told.kept)) if self._config.score == "all" else sum(told.kept) / len(told.kept)
        return Verdict(score, _LANGUAGE_UNKNOWN if told.language_unknown else None)
