"""Reads prompts, references and demonstrations out of a source's rows, whatever form they have.

Columns are found among their usual names; `ColumnsConfig` names them where they have others. Every reader raises
DataError: a column is missing, or a row holds no usable value.
"""

from collections.abc import Sequence

from larpo_lib.schemas import UNKNOWN, Messages
from larpo_lib.sources.cells import Cell
from larpo_lib.sources.conversations import ending_with_user, follow, lead, split_reply, up_to, without_reply
from larpo_lib.sources.reading import RawRow
from larpo_lib.sources.table import Reader, Table

# The usual names, the likeliest first. `prompt` stands before conversations, which often end with the reply.
CONVERSATION = ("context_messages", "messages", "conversations", "conversation")
PROMPT = ("prompt", *CONVERSATION, "question", "instruction", "problem", "query", "input", "context")
REFERENCE = ("answer", "reference", "target", "ground_truth", "solution")
RESPONSE = ("response", "completion", "output")
DEMONSTRATION = (*RESPONSE, "solution", "answer", "chosen")
CHOSEN = ("chosen", "chosen_response")
_SYSTEM = ("system", "system_prompt")
_HISTORY = ("history",)
_ABOUT = ("input", "context")
"""Alpaca's and Dolly's columns for what an instruction is about."""

FINISH_REASON = ("finish_reason", "stop_reason")

Exchange = tuple[Messages, str]


class Prompts:
    """Reads a row's prompt: its own columns, behind the system prompt and the earlier turns that others hold.

    Args:
        table: the source.
        column: of the prompt; None: there is none.
        conversation: column of a conversation that holds the prompt, perhaps beside `column`; None: there is none.
    """

    def __init__(self, table: Table, column: str | None, conversation: str | None) -> None:
        self._table = table
        self._column, self._conversation = column, conversation
        self._about = None
        if column == "instruction" and table.columns.prompt is None:
            self._about = table.find("prompt", _ABOUT)
        self._system = table.find("system", _SYSTEM, table.columns.system)
        self._history = table.find("history", _HISTORY, table.columns.history)

    @property
    def known(self) -> bool:
        """Whether there is a column for the prompt."""
        return self._column is not None or self._conversation is not None

    def __call__(self, row: RawRow) -> Messages:
        """The row's prompt, which ends with the user's message."""
        column = self._column or self._conversation
        assert column is not None, "there is a column for the prompt"
        return self._led(row, self._own(row), self._table.cell(row, column))

    def exchange(self, row: RawRow, cell: Cell) -> Exchange:
        """The prompt that `cell` answers, and its reply: plain text, or messages that may begin with the prompt."""
        found = cell.conversation()
        if not self.known:
            if found is None:
                raise cell.error("is not a list of messages", "Set columns.prompt to the column with the prompt")
            whole = found
        else:
            # A conversation that begins with the prompt needs no other one beside it.
            own = self._own(row, beside=not found or found[0]["role"] not in ("system", "user"))
            whole = [*own, {"role": "assistant", "content": cell.text()}] if found is None else follow(own, found, cell)
        return split_reply(self._led(row, whole, cell), cell)

    def _own(self, row: RawRow, *, beside: bool = True) -> Messages:
        """The prompt as its own columns have it, which ends with the user's message."""
        if self._column is None:
            return self._of_conversation(row, None)
        cell = self._table.cell(row, self._column)
        own = ending_with_user(cell.conversation() or [{"role": "user", "content": cell.text()}], cell)
        if self._about is not None and not (about := self._table.cell(row, self._about)).blank:
            own[-1]["content"] += "\n\n" + about.text()
        return self._of_conversation(row, own) if beside and self._conversation is not None else own

    def _of_conversation(self, row: RawRow, prompt: Messages | None) -> Messages:
        """The conversation up to `prompt`, or to its last reply; `prompt` itself where there is no conversation."""
        assert self._conversation is not None, "there is a column for the prompt"
        cell = self._table.cell(row, self._conversation)
        if prompt is not None and cell.blank:
            return prompt
        self._table.take(self._conversation, "prompt")
        found = _messages(cell)
        return without_reply(found, cell) if prompt is None else up_to(prompt, found, cell)

    def _led(self, row: RawRow, conversation: Messages, place: Cell) -> Messages:
        system, history = None, []
        if self._system is not None and not (cell := self._table.cell(row, self._system)).blank:
            system = cell.text()
        if self._history is not None and not (cell := self._table.cell(row, self._history)).blank:
            history = _turns(cell)
        return lead(system, history, conversation, place)


def prompts_of(table: Table, *, needed: bool = True) -> Prompts:
    """The reader of prompts, by the columns that the settings name or else those with usual names.

    Args:
        table: the source.
        needed: whether there has to be a column for the prompt.

    Raises:
        DataError: a column is missing.
    """
    columns = table.columns
    if columns.prompt is not None or columns.messages is not None:
        return Prompts(table, table.find("prompt", (), columns.prompt), table.find("messages", (), columns.messages))
    column = table.need("prompt", PROMPT) if needed else table.find("prompt", PROMPT)
    if column in CONVERSATION:
        return Prompts(table, None, column)
    return Prompts(table, column, table.first(CONVERSATION) if column == PROMPT[0] else None)


def prompt_reader(table: Table) -> Reader[Messages]:
    """Reads a row's prompt: text, or messages; a reply is left out. Without one it is what `chosen` answers."""
    named = table.columns.prompt or table.columns.messages
    chosen = None if named else table.columns.chosen or table.first(CHOSEN)
    prompts = prompts_of(table, needed=chosen is None)
    if chosen is None:
        return prompts

    def read(row: RawRow) -> Messages:
        cell = table.cell(row, chosen)
        if prompts.known and (cell.blank or cell.conversation() is None):
            return prompts(row)
        table.take(chosen, "prompt")
        return prompts.exchange(row, cell)[0]

    return read


def reference_reader(table: Table) -> Reader[str | None]:
    """Reads a row's reference answer; None where the source or the row has none."""
    column = table.find("reference", REFERENCE, table.columns.reference)
    return lambda row: table.cell(row, column).reference() if column else None


def demonstration_reader(table: Table) -> Reader[Exchange]:
    """Reads a row's prompt and the response to imitate.

    That is a conversation split before the assistant's last message, if there is one and no setting names other
    columns; else a prompt and a column with the response, which may hold the whole conversation.
    """
    columns = table.columns
    usual = () if columns.prompt or columns.response else CONVERSATION
    conversation = None if columns.response else table.find("messages", usual, columns.messages)
    if conversation is not None:
        whole = Prompts(table, None, None)
        return lambda row: whole.exchange(row, table.cell(row, conversation))
    prompts = prompts_of(table, needed=False)
    response = table.need("response", DEMONSTRATION, columns.response)
    return lambda row: prompts.exchange(row, table.cell(row, response))


def end_reader(table: Table, usual: Sequence[str] = FINISH_REASON, named: str | None = None) -> Reader[str]:
    """Reads how a row's response ended; `unknown` where the source or the row does not say."""
    column = table.find("finish_reason", usual, named)
    return lambda row: table.cell(row, column).finish_reason() if column else UNKNOWN


def _messages(cell: Cell) -> Messages:
    found = cell.conversation()
    if found is None:
        raise cell.error("is not a list of messages", 'Write [{"role": ..., "content": ...}, ...]')
    return found


def _turns(cell: Cell) -> Messages:
    """Earlier turns: messages, or pairs of what was asked and replied."""
    items = cell.items()
    if not all(isinstance(item.value, list) and len(item.value) == 2 for item in items):
        return _messages(cell)
    pairs = (zip(("user", "assistant"), item.items(), strict=True) for item in items)
    return [{"role": role, "content": said.text()} for pair in pairs for role, said in pair]
